-- Users, their projects and their refresh tokens.

CREATE OR REPLACE FUNCTION public.backend_ensure_user(this_user uuid, this_email text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    found_user jsonb;
BEGIN
    -- Nearly always the user is there, and reads wait for nobody.
    FOR attempt IN 1..2 LOOP
        SELECT to_jsonb(row) INTO found_user
        FROM (
            SELECT id, email, created_at, is_test_user, expires_at, metadata
            FROM public.users WHERE id = this_user
        ) row;
        EXIT WHEN found OR attempt = 2;
        INSERT INTO public.users (id, email, metadata, is_test_user, created_at, updated_at)
        VALUES (this_user, this_email, '{}', FALSE, clock_timestamp(), clock_timestamp())
        ON CONFLICT (id) DO NOTHING;
    END LOOP;
    RETURN found_user;
END
$$;

CREATE OR REPLACE FUNCTION public.backend_list_test_users() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(jsonb_agg(test_user ORDER BY test_user.created_at DESC, test_user.id), '[]')
    FROM (
        SELECT id, email, created_at, is_test_user, expires_at, metadata
        FROM public.users WHERE is_test_user
    ) test_user
$$;

-- Changes columns of a profile that has not changed since it was `seen`. False when it has, null
-- without such a user.
CREATE OR REPLACE FUNCTION public.backend_replace_profile(
    this_user uuid, seen timestamptz, changes jsonb
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    stored public.users;
BEGIN
    SELECT * INTO stored FROM public.users WHERE id = this_user FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN NULL;
    END IF;
    IF stored.updated_at <> seen THEN
        RETURN 'false'::jsonb;
    END IF;
    stored := jsonb_populate_record(stored, changes);
    UPDATE public.users
    SET full_name = stored.full_name, avatar_url = stored.avatar_url,
        github_username = stored.github_username, github_token = stored.github_token,
        preferences = stored.preferences, updated_at = stored.updated_at
    WHERE id = this_user;
    RETURN (
        SELECT to_jsonb(profile)
        FROM (
            SELECT
                stored.id, stored.email, stored.full_name, stored.avatar_url,
                stored.github_username, stored.github_token, stored.preferences,
                stored.created_at, stored.updated_at
        ) profile
    );
END
$$;

-- The user's projects with their counters, newest first; only the one where `this_project` says.
CREATE OR REPLACE FUNCTION public.backend_list_projects(
    this_user uuid, this_project bigint DEFAULT NULL
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(jsonb_agg(counted ORDER BY counted.id desc), '[]')
    FROM (
        SELECT
            project.id, project.user_id, project.name, project.description, project.repo_url,
            project.repo_owner, project.repo_name, project.is_active, project.settings,
            project.created_at, project.updated_at,
            count(task.id) AS task_count,
            count(task.id) FILTER (WHERE task.status = 'completed') AS completed_tasks,
            count(task.id) FILTER (WHERE task.status IN ('pending', 'running')) AS active_tasks
        FROM public.projects project
        LEFT JOIN public.tasks task ON task.project_id = project.id
        WHERE project.user_id = this_user AND (this_project IS NULL OR project.id = this_project)
        GROUP BY project.id
    ) counted
$$;

CREATE OR REPLACE FUNCTION public.backend_update_project(
    this_user uuid, this_project bigint, changes jsonb
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM 1 FROM public.projects
    WHERE id = this_project AND user_id = this_user FOR NO KEY UPDATE;
    IF found THEN
        changes := changes || jsonb_build_object('updated_at', clock_timestamp());
        PERFORM public.backend_set_columns('public.projects', this_project, changes);
    END IF;
    RETURN public.backend_list_projects(this_user, this_project);
END
$$;

-- Whoever changes a user's tokens holds the user's row first. A rotation and a revocation of one
-- family can then not pass each other and leave a live token behind.

CREATE OR REPLACE FUNCTION public.backend_add_refresh_token(token jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    added public.refresh_tokens := jsonb_populate_record(NULL::public.refresh_tokens, token);
BEGIN
    PERFORM 1 FROM public.users WHERE id = added.user_id FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN 'false'::jsonb;
    END IF;
    -- Clients sign in at every page load, so each sign-in clears away what ran out.
    DELETE FROM public.refresh_tokens
    WHERE user_id = added.user_id AND expires_at <= clock_timestamp();
    INSERT INTO public.refresh_tokens SELECT added.*;
    RETURN 'true'::jsonb;
END
$$;

-- Returns the user. A token that was used after `unanswered_since` is used once more, as long as
-- its replacement was not: of the family's tokens that are not revoked, one is the last one used,
-- and one replaces it.
CREATE OR REPLACE FUNCTION public.backend_rotate_refresh_token(
    this_token text, replacement text, replacement_expires_at timestamptz, moment timestamptz,
    unanswered_since timestamptz
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    token public.refresh_tokens;
BEGIN
    PERFORM 1 FROM public.users owner
    JOIN public.refresh_tokens theirs ON theirs.user_id = owner.id
    WHERE theirs.token_hash = this_token FOR NO KEY UPDATE OF owner;
    SELECT * INTO token FROM public.refresh_tokens WHERE token_hash = this_token;
    IF NOT found THEN
        RETURN NULL;
    END IF;
    IF token.used_at <= unanswered_since
        OR (token.used_at IS NOT NULL AND token.revoked_at IS NOT NULL) THEN
        UPDATE public.refresh_tokens SET revoked_at = moment
        WHERE family = token.family AND revoked_at IS NULL;
        RETURN NULL;
    END IF;
    IF token.revoked_at IS NOT NULL OR token.expires_at <= moment THEN
        RETURN NULL;
    END IF;
    -- The token before this one, and a replacement that never arrived: whoever comes with either
    -- is not the owner alone.
    UPDATE public.refresh_tokens SET used_at = coalesce(used_at, moment), revoked_at = moment
    WHERE family = token.family AND revoked_at IS NULL AND token_hash <> this_token;
    UPDATE public.refresh_tokens SET used_at = coalesce(used_at, moment)
    WHERE token_hash = this_token;
    INSERT INTO public.refresh_tokens (token_hash, family, user_id, expires_at)
    VALUES (replacement, token.family, token.user_id, replacement_expires_at);
    RETURN public.backend_ensure_user(token.user_id, NULL);
END
$$;

CREATE OR REPLACE FUNCTION public.backend_revoke_refresh_family(this_token text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM 1 FROM public.users owner
    JOIN public.refresh_tokens theirs ON theirs.user_id = owner.id
    WHERE theirs.token_hash = this_token FOR NO KEY UPDATE OF owner;
    UPDATE public.refresh_tokens SET revoked_at = clock_timestamp()
    WHERE family = (SELECT family FROM public.refresh_tokens WHERE token_hash = this_token)
        AND revoked_at IS NULL;
    RETURN NULL;
END
$$;
