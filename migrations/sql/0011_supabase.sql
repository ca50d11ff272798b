ALTER TABLE public.task_groups ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.task_groups FROM public, anon, authenticated;
GRANT ALL ON public.task_groups TO service_role;
EXECUTE format(
  'REVOKE ALL ON SEQUENCE %s FROM public, anon, authenticated',
  pg_get_serial_sequence('public.task_groups', 'id')
);
EXECUTE format(
  'GRANT ALL ON SEQUENCE %s TO service_role', pg_get_serial_sequence('public.task_groups', 'id')
);
GRANT SELECT ON public.task_groups TO authenticated;
CREATE POLICY "Users read their own groups of tasks" ON public.task_groups
  FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));
REVOKE ALL ON FUNCTION public.delete_empty_group() FROM public, anon, authenticated;
GRANT EXECUTE ON FUNCTION public.delete_empty_group() TO service_role;

-- The reads of tasks, with their group.
CREATE OR REPLACE FUNCTION public.backend_task_row(this_task bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT to_jsonb(task)
    FROM (
        SELECT
            id, user_id, project_id, status, agent, repo_url, target_branch, chat_messages,
            created_at, updated_at, started_at, completed_at, pr_branch, pr_number, pr_url,
            container_id, commit_hash, has_patch, changed_files, error, error_code, error_stage,
            stage, attempt, pr_commit, pr_state, group_id, workspace_until,
            execution_summary AS execution_metadata
        FROM public.tasks
        WHERE id = this_task
    ) task
$$;

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
                error_stage, stage, attempt, pr_commit, pr_state, group_id, workspace_until,
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
                error_stage, stage, attempt, pr_commit, pr_state, group_id, workspace_until,
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

CREATE OR REPLACE FUNCTION public.backend_list_tasks(
    this_user uuid, this_project bigint, this_status text, this_agent text, this_repository text,
    this_text text, below bigint, page_size integer
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    WITH wanted AS (
        SELECT
            id, project_id, status, agent, repo_url, target_branch, prompt_preview,
            prompt_characters, has_patch, commit_hash, error, pr_number, pr_url,
            created_at, updated_at, completed_at, group_id
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

-- Adds a group with its tasks, and the answer to the request that asked for them, or nothing.
CREATE FUNCTION public.backend_create_task_group(
    task_group jsonb, tasks jsonb, message jsonb, ciphertext bytea, this_user uuid,
    this_server text, this_key text
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    given public.task_groups := jsonb_populate_record(NULL::public.task_groups, task_group);
    added_group bigint;
    added_tasks bigint[] := '{}';
    task jsonb;
    added bigint;
BEGIN
    IF given.project_id IS NOT NULL THEN
        PERFORM 1 FROM public.projects
        WHERE id = given.project_id AND user_id = this_user FOR KEY SHARE;
        IF NOT found THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO public.task_groups (
        user_id, project_id, prompt, repo_url, branch, check_command, created_at
    ) VALUES (
        this_user, given.project_id, given.prompt, given.repo_url, given.branch,
        given.check_command, clock_timestamp()
    ) RETURNING id INTO added_group;
    FOR task IN SELECT one FROM jsonb_array_elements(tasks) WITH ORDINALITY AS given_tasks (one, place)
        ORDER BY place
    LOOP
        added := public.backend_create_task(task, message, ciphertext, this_user, this_server)
            -> 'id';
        UPDATE public.tasks SET group_id = added_group WHERE id = added;
        added_tasks := added_tasks || added;
    END LOOP;
    IF this_key IS NOT NULL THEN
        UPDATE public.request_keys SET answer = jsonb_build_object(
            'task_id', added_tasks[1], 'task_ids', to_jsonb(added_tasks), 'group_id', added_group
        )
        WHERE user_id = this_user AND key = this_key;
    END IF;
    RETURN (
        SELECT jsonb_agg(public.backend_task_row(number) ORDER BY place)
        FROM unnest(added_tasks) WITH ORDINALITY AS numbers (number, place)
    );
END
$$;

CREATE FUNCTION public.backend_get_task_group(this_user uuid, this_group bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT to_jsonb(stored) || jsonb_build_object('tasks', (
        SELECT coalesce(
            jsonb_agg(public.backend_get_task_status(this_user, task.id) ORDER BY task.id), '[]'
        )
        FROM public.tasks task
        WHERE task.group_id = this_group AND task.user_id = this_user
    ))
    FROM public.task_groups stored
    WHERE stored.id = this_group AND stored.user_id = this_user
$$;

CREATE FUNCTION public.backend_list_task_groups(
    this_user uuid, below bigint, page_size integer
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(jsonb_agg(to_jsonb(page) ORDER BY page.id desc), '[]')
    FROM (
        SELECT
            stored.id, stored.project_id, left(stored.prompt, 200) AS prompt_preview,
            length(stored.prompt) AS prompt_characters, stored.repo_url, stored.branch,
            stored.chosen_task_id, stored.created_at, counted.*
        FROM public.task_groups stored, LATERAL (
            SELECT
                count(*) AS task_count,
                count(*) FILTER (WHERE status = 'completed') AS completed_tasks,
                count(*) FILTER (WHERE status IN ('pending', 'running')) AS active_tasks
            FROM public.tasks WHERE group_id = stored.id
        ) counted
        WHERE stored.user_id = this_user AND (below IS NULL OR stored.id < below)
        ORDER BY stored.id desc
        LIMIT page_size
    ) page
$$;

CREATE FUNCTION public.backend_choose_task(
    this_user uuid, this_group bigint, this_task bigint
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM 1 FROM public.task_groups WHERE id = this_group AND user_id = this_user;
    IF NOT found THEN
        RETURN jsonb_build_object('outcome', 'no_group');
    END IF;
    UPDATE public.task_groups SET chosen_task_id = this_task
    WHERE id = this_group
        AND EXISTS (SELECT FROM public.tasks WHERE id = this_task AND group_id = this_group);
    RETURN jsonb_build_object('outcome', CASE WHEN found THEN 'chosen' ELSE 'no_task' END);
END
$$;

REVOKE ALL ON FUNCTION
  public.backend_create_task_group, public.backend_get_task_group,
  public.backend_list_task_groups, public.backend_choose_task
  FROM public, anon, authenticated;
GRANT EXECUTE ON FUNCTION
  public.backend_create_task_group, public.backend_get_task_group,
  public.backend_list_task_groups, public.backend_choose_task
  TO service_role;
