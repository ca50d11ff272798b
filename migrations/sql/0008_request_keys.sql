ALTER TABLE public.request_keys ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.request_keys FROM public, anon, authenticated;
GRANT ALL ON public.request_keys TO service_role;

-- Reserves a key for a request, or tells what became of the request with this key.
CREATE OR REPLACE FUNCTION public.backend_begin_request(
    this_user uuid, this_key text, this_fingerprint text,
    horizon timestamptz, broken_off timestamptz
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    stored public.request_keys;
BEGIN
    DELETE FROM public.request_keys WHERE created_at < horizon;
    INSERT INTO public.request_keys (user_id, key, fingerprint, created_at, claimed_at)
    VALUES (this_user, this_key, this_fingerprint, clock_timestamp(), clock_timestamp())
    ON CONFLICT (user_id, key) DO NOTHING;
    IF found THEN
        RETURN jsonb_build_object('outcome', 'begun', 'answer', NULL);
    END IF;
    SELECT * INTO stored FROM public.request_keys
    WHERE user_id = this_user AND key = this_key FOR UPDATE;
    IF stored.fingerprint <> this_fingerprint THEN
        RETURN jsonb_build_object('outcome', 'other');
    END IF;
    IF stored.answer IS NOT NULL THEN
        RETURN jsonb_build_object('outcome', 'answered', 'answer', stored.answer);
    END IF;
    IF stored.claimed_at > broken_off THEN
        RETURN jsonb_build_object('outcome', 'running');
    END IF;
    UPDATE public.request_keys SET claimed_at = clock_timestamp()
    WHERE user_id = this_user AND key = this_key;
    RETURN jsonb_build_object('outcome', 'begun', 'answer', NULL);
END
$$;
REVOKE ALL ON FUNCTION public.backend_begin_request FROM public, anon, authenticated;
GRANT EXECUTE ON FUNCTION public.backend_begin_request TO service_role;

-- Adds a task and stores its id as the answer to the request that asked for it, or neither.
CREATE OR REPLACE FUNCTION public.backend_create_task_for_request(
    task jsonb, message jsonb, ciphertext bytea, this_user uuid, this_server text, this_key text
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    added jsonb := public.backend_create_task(task, message, ciphertext, this_user, this_server);
BEGIN
    IF added IS NOT NULL THEN
        UPDATE public.request_keys SET answer = jsonb_build_object('task_id', added -> 'id')
        WHERE user_id = this_user AND key = this_key;
    END IF;
    RETURN added;
END
$$;
REVOKE ALL ON FUNCTION public.backend_create_task_for_request FROM public, anon, authenticated;
GRANT EXECUTE ON FUNCTION public.backend_create_task_for_request TO service_role;

-- The reads of pages: without the contents of files, and without long conversations.
CREATE OR REPLACE FUNCTION public.backend_get_task_status(
    this_user uuid, this_task bigint
) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    RETURN (
        SELECT to_jsonb(task)
        FROM (
            SELECT
                id, user_id, project_id, status, agent, repo_url, target_branch,
                created_at, updated_at, started_at, completed_at, pr_branch, pr_number, pr_url,
                container_id, commit_hash, has_patch, changed_files, error, error_code,
                error_stage, stage, attempt, pr_commit, pr_state,
                execution_summary AS execution_metadata,
                CASE WHEN NOT is_long THEN chat_messages END AS chat_messages,
                CASE WHEN is_long THEN chat_messages -> 0 END AS first_message
            FROM public.tasks, LATERAL (
                SELECT octet_length(chat_messages::text) > 32768 AS is_long
            ) size
            WHERE id = this_task AND user_id = this_user
        ) task
    );
END
$$;

CREATE OR REPLACE FUNCTION public.backend_list_project_tasks(
    this_user uuid, this_project bigint, below bigint, page_size integer
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT (
        SELECT coalesce(jsonb_agg(to_jsonb(page) ORDER BY page.id desc), '[]')
        FROM (
            SELECT
                id, user_id, project_id, status, agent, repo_url, target_branch,
                created_at, updated_at, started_at, completed_at, pr_branch, pr_number, pr_url,
                container_id, commit_hash, has_patch, changed_files, error, error_code,
                error_stage, stage, attempt, pr_commit, pr_state,
                execution_summary AS execution_metadata, prompt_preview, prompt_characters,
                CASE WHEN octet_length(chat_messages::text) <= 8192 THEN chat_messages END
                    AS chat_messages
            FROM public.tasks
            WHERE project_id = this_project AND (below IS NULL OR id < below)
            ORDER BY id desc
            LIMIT page_size
        ) page
    )
    FROM public.projects
    WHERE id = this_project AND user_id = this_user
$$;

DROP FUNCTION public.backend_list_tasks(uuid, bigint, bigint, integer);
CREATE OR REPLACE FUNCTION public.backend_list_tasks(
    this_user uuid, this_project bigint, this_status text, this_agent text, this_repository text,
    this_text text, below bigint, page_size integer
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    WITH wanted AS (
        SELECT
            id, project_id, status, agent, repo_url, target_branch, prompt_preview,
            prompt_characters, has_patch, commit_hash, error, pr_number, pr_url,
            created_at, updated_at, completed_at
        FROM public.tasks
        WHERE user_id = this_user
            AND (this_project IS NULL OR project_id = this_project)
            AND (this_status IS NULL OR status = this_status::public.task_status)
            AND (this_agent IS NULL OR agent = this_agent)
            AND (this_repository IS NULL OR repo_url = this_repository)
            AND (this_text IS NULL OR strpos(lower(prompt_preview), lower(this_text)) > 0)
    )
    SELECT jsonb_build_object(
        'total', (SELECT count(*) FROM wanted),
        'tasks', (
            SELECT coalesce(jsonb_agg(page ORDER BY page.id desc), '[]')
            FROM (
                SELECT * FROM wanted
                WHERE below IS NULL OR id < below
                ORDER BY id desc
                LIMIT page_size
            ) page
        )
    )
$$;
REVOKE ALL ON FUNCTION public.backend_list_tasks FROM public, anon, authenticated;
GRANT EXECUTE ON FUNCTION public.backend_list_tasks TO service_role;
