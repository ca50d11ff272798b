-- Adding and reading tasks.

CREATE OR REPLACE FUNCTION public.backend_create_task(
    task jsonb, message jsonb, ciphertext bytea, this_user uuid, this_server text
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    given public.tasks := jsonb_populate_record(NULL::public.tasks, task);
    moment timestamptz := clock_timestamp();
    added bigint;
BEGIN
    IF given.project_id IS NOT NULL THEN
        -- Held, so that the project is not deleted before its task is there.
        PERFORM 1 FROM public.projects
        WHERE id = given.project_id AND user_id = this_user FOR KEY SHARE;
        IF NOT found THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO public.tasks (
        user_id, project_id, status, agent, repo_url, target_branch, attempt, chat_messages,
        execution_metadata, created_at, updated_at, prompt_preview, prompt_characters, server
    ) VALUES (
        this_user, given.project_id, 'pending', given.agent, given.repo_url, given.target_branch,
        0, jsonb_build_array(public.backend_stamped(message, moment)), given.execution_metadata,
        moment, moment, given.prompt_preview, given.prompt_characters, this_server
    ) RETURNING id INTO added;
    IF ciphertext IS NOT NULL THEN
        INSERT INTO public.task_secrets (task_id, ciphertext) VALUES (added, ciphertext);
    END IF;
    RETURN public.backend_task_row(added);
END
$$;

-- What pages poll: the metadata as a whole once the task has ended, until then without what it
-- does not have yet. In PL/pgSQL for its plan, which a session makes once.
CREATE OR REPLACE FUNCTION public.backend_get_task_status(
    this_user uuid, this_task bigint
) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    RETURN (
        SELECT to_jsonb(task)
        FROM (
            SELECT
                id, user_id, project_id, status, agent, repo_url, target_branch, chat_messages,
                created_at, updated_at, started_at, completed_at, pr_branch, pr_number, pr_url,
                container_id, commit_hash, has_patch, changed_files, error, error_code,
                error_stage, stage, attempt,
                CASE
                    WHEN status IN ('completed', 'failed', 'cancelled') THEN execution_metadata
                    ELSE execution_summary
                END AS execution_metadata
            FROM public.tasks
            WHERE id = this_task AND user_id = this_user
        ) task
    );
END
$$;

CREATE OR REPLACE FUNCTION public.backend_list_tasks(
    this_user uuid, this_project bigint, below bigint, page_size integer
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT jsonb_build_object(
        'total', (
            SELECT count(*) FROM public.tasks
            WHERE user_id = this_user AND (this_project IS NULL OR project_id = this_project)
        ),
        'tasks', (
            SELECT coalesce(jsonb_agg(page ORDER BY page.id desc), '[]')
            FROM (
                SELECT
                    id, project_id, status, agent, repo_url, target_branch, prompt_preview,
                    prompt_characters, has_patch, commit_hash, error, pr_number, pr_url,
                    created_at, updated_at, completed_at
                FROM public.tasks
                WHERE user_id = this_user
                    AND (this_project IS NULL OR project_id = this_project)
                    AND (below IS NULL OR id < below)
                ORDER BY id desc
                LIMIT page_size
            ) page
        )
    )
$$;

CREATE OR REPLACE FUNCTION public.backend_list_project_tasks(
    this_user uuid, this_project bigint, below bigint, page_size integer
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT (
        SELECT coalesce(jsonb_agg(public.backend_task_row(page.id) ORDER BY page.id desc), '[]')
        FROM (
            SELECT id FROM public.tasks
            WHERE project_id = this_project AND (below IS NULL OR id < below)
            ORDER BY id desc
            LIMIT page_size
        ) page
    )
    FROM public.projects
    WHERE id = this_project AND user_id = this_user
$$;

CREATE OR REPLACE FUNCTION public.backend_import_tasks(
    this_user uuid, projects bigint[], tasks jsonb
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    held bigint;
    fresh jsonb;
    columns text;
BEGIN
    -- Holding the user's row makes two imports of one user wait for each other.
    PERFORM 1 FROM public.users WHERE id = this_user FOR UPDATE;
    IF NOT found THEN
        RETURN jsonb_build_object('outcome', 'no_user');
    END IF;
    SELECT count(*) INTO held FROM (
        SELECT 1 FROM public.projects project
        WHERE project.id = ANY(projects) AND project.user_id = this_user FOR KEY SHARE
    ) own;
    IF held < cardinality(projects) THEN
        RETURN jsonb_build_object('outcome', 'no_project');
    END IF;
    -- Numbers and texts are one kind here: JSON of another age may have written either.
    SELECT coalesce(jsonb_agg(task ORDER BY place), '[]') INTO fresh
    FROM (
        SELECT DISTINCT ON (task -> 'execution_metadata' ->> 'legacy_id') task, place
        FROM jsonb_array_elements(tasks) WITH ORDINALITY AS given (task, place)
        ORDER BY task -> 'execution_metadata' ->> 'legacy_id', place
    ) distinct_ones
    WHERE NOT EXISTS (
        SELECT 1 FROM public.tasks stored
        WHERE stored.user_id = this_user
            AND stored.execution_summary ->> 'legacy_id'
                = distinct_ones.task -> 'execution_metadata' ->> 'legacy_id'
    );
    SELECT string_agg(format('%I', name), ', ') INTO columns FROM jsonb_object_keys(fresh -> 0) name;
    IF columns IS NOT NULL THEN
        EXECUTE format(
            'INSERT INTO public.tasks (%1$s)'
            ' SELECT %1$s FROM jsonb_populate_recordset(null::public.tasks, $1)',
            columns
        ) USING fresh;
    END IF;
    RETURN jsonb_build_object('outcome', 'imported', 'count', jsonb_array_length(fresh));
END
$$;

CREATE OR REPLACE FUNCTION public.backend_count_tasks() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_array(status, agent, number)), '[]')
    FROM (SELECT status, agent, count(*) AS number FROM public.tasks GROUP BY status, agent) counted
$$;
