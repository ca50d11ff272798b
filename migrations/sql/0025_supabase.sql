REVOKE ALL ON FUNCTION public.engine_make_way FROM public, anon, authenticated, service_role;

-- Adds a task with its rank, which older servers do not send.
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
        execution_metadata, created_at, updated_at, prompt_preview, prompt_characters, server,
        queue_rank
    ) VALUES (
        this_user, given.project_id, 'pending', given.agent, given.repo_url, given.target_branch,
        0, jsonb_build_array(public.backend_stamped(message, moment)), given.execution_metadata,
        moment, moment, given.prompt_preview, given.prompt_characters, this_server,
        coalesce(given.queue_rank, 0)
    ) RETURNING id INTO added;
    IF ciphertext IS NOT NULL THEN
        INSERT INTO public.task_secrets (task_id, ciphertext) VALUES (added, ciphertext);
    END IF;
    RETURN public.backend_task_row(added);
END
$$;

CREATE OR REPLACE FUNCTION public.backend_adopt_tasks(
    this_server text, silent text[], own boolean
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    adopted jsonb;
BEGIN
    DELETE FROM public.servers WHERE id = ANY(silent);
    WITH taken AS (
        UPDATE public.tasks task SET server = this_server
        WHERE status IN ('pending', 'running')
            AND (
                server IS NULL
                OR server = ANY(silent)
                OR (own AND server = this_server)
                OR (
                    server <> this_server
                    AND NOT EXISTS (SELECT FROM public.servers WHERE servers.id = task.server)
                )
            )
        RETURNING id, user_id, status, attempt, stage, queue_rank
    )
    SELECT coalesce(jsonb_agg(taken ORDER BY taken.id), '[]') INTO adopted FROM taken;
    RETURN adopted;
END
$$;
