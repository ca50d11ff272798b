-- The list of tasks, with what each has cost.
CREATE OR REPLACE FUNCTION public.backend_list_tasks(
    this_user uuid, this_project bigint, this_status text, this_agent text, this_repository text,
    this_text text, below bigint, page_size integer
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    WITH wanted AS (
        SELECT
            id, project_id, status, agent, repo_url, target_branch, prompt_preview,
            prompt_characters, has_patch, commit_hash, error, pr_number, pr_url,
            created_at, updated_at, completed_at, group_id,
            -- Rows of older backends may have any value here, also a number that no float holds.
            CASE WHEN jsonb_typeof(execution_summary -> 'cost_usd') = 'number' THEN
                CASE WHEN abs((execution_summary ->> 'cost_usd')::numeric) < 1e300
                THEN round((execution_summary ->> 'cost_usd')::numeric, 9)::double precision END
            END AS cost_usd
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
