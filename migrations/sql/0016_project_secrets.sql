-- Only the backend reads and writes them: a value is never shown again.
ALTER TABLE public.project_secrets ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.project_secrets FROM public, anon, authenticated;
GRANT ALL ON public.project_secrets TO service_role;

-- Stores a secret, in place of an earlier one of its name. Returns false without such a project, and
-- null when the project has `maximum` secrets.
CREATE OR REPLACE FUNCTION public.backend_put_project_secret(
    this_user uuid, added jsonb, maximum integer
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    secret public.project_secrets := jsonb_populate_record(NULL::public.project_secrets, added);
BEGIN
    PERFORM 1 FROM public.projects
    WHERE id = secret.project_id AND user_id = this_user FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN 'false'::jsonb;
    END IF;
    IF maximum <= (
        SELECT count(*) FROM public.project_secrets
        WHERE project_id = secret.project_id AND name <> secret.name
    ) THEN
        RETURN NULL;
    END IF;
    INSERT INTO public.project_secrets (project_id, name, sealed, for_agent, updated_at)
    VALUES (secret.project_id, secret.name, secret.sealed, secret.for_agent, secret.updated_at)
    ON CONFLICT (project_id, name) DO UPDATE
    SET sealed = excluded.sealed, for_agent = excluded.for_agent, updated_at = excluded.updated_at;
    RETURN 'true'::jsonb;
END
$$;

-- Returns the secrets of a project by name, null without such a project.
CREATE OR REPLACE FUNCTION public.backend_list_project_secrets(
    this_user uuid, this_project bigint
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT (
        SELECT coalesce(jsonb_agg(to_jsonb(secret) ORDER BY secret.name), '[]')
        FROM public.project_secrets secret WHERE secret.project_id = this_project
    )
    FROM public.projects WHERE id = this_project AND user_id = this_user
$$;

-- Returns false when the user has no such secret.
CREATE OR REPLACE FUNCTION public.backend_delete_project_secret(
    this_user uuid, this_project bigint, this_name text
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    DELETE FROM public.project_secrets
    WHERE project_id = this_project AND name = this_name AND EXISTS (
        SELECT 1 FROM public.projects WHERE id = this_project AND user_id = this_user
    );
    RETURN to_jsonb(found);
END
$$;

-- Replaces the stored text of a secret that is still the same, for a new key. The others do not see
-- it as a change.
CREATE OR REPLACE FUNCTION public.backend_reseal_project_secret(
    this_project bigint, this_name text, seen text, resealed text
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    UPDATE public.project_secrets SET sealed = resealed
    WHERE project_id = this_project AND name = this_name AND sealed = seen;
    RETURN to_jsonb(found);
END
$$;

-- Returns the projects above an id that have secrets, with their users.
CREATE OR REPLACE FUNCTION public.backend_list_secret_projects(
    above bigint, page_size integer
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_array(page.id, page.user_id) ORDER BY page.id), '[]')
    FROM (
        SELECT project.id, project.user_id FROM public.projects project
        WHERE project.id > above AND EXISTS (
            SELECT 1 FROM public.project_secrets secret WHERE secret.project_id = project.id
        )
        ORDER BY project.id
        LIMIT page_size
    ) page
$$;

REVOKE ALL ON FUNCTION
  public.backend_put_project_secret, public.backend_list_project_secrets,
  public.backend_delete_project_secret, public.backend_reseal_project_secret,
  public.backend_list_secret_projects
  FROM public, anon, authenticated;
GRANT EXECUTE ON FUNCTION
  public.backend_put_project_secret, public.backend_list_project_secrets,
  public.backend_delete_project_secret, public.backend_reseal_project_secret,
  public.backend_list_secret_projects
  TO service_role;
