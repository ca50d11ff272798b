-- Runs of agents, and the servers that share the tasks.

CREATE OR REPLACE FUNCTION public.backend_start_run(
    run jsonb, this_server text, events jsonb, after_sequence integer
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    started public.task_runs := jsonb_populate_record(NULL::public.task_runs, run);
BEGIN
    PERFORM 1 FROM public.tasks
    WHERE id = started.task_id AND status = 'running' AND server = this_server FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN 'false'::jsonb;
    END IF;
    DELETE FROM public.task_runs WHERE task_id = started.task_id;
    INSERT INTO public.task_runs SELECT started.*;
    PERFORM public.backend_append_events(started.task_id, events, after_sequence);
    RETURN 'true'::jsonb;
END
$$;

CREATE OR REPLACE FUNCTION public.backend_count_resume(this_task bigint) RETURNS jsonb
LANGUAGE sql SET search_path = '' AS $$
    UPDATE public.task_runs SET resumes = resumes + 1 WHERE task_id = this_task;
    SELECT 'null'::jsonb
$$;

CREATE OR REPLACE FUNCTION public.backend_list_run_sandboxes() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(jsonb_agg(sandbox_id), '[]') FROM public.task_runs
$$;

CREATE OR REPLACE FUNCTION public.backend_beat(this_server text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    INSERT INTO public.servers AS server (id, beats, seen_at)
    VALUES (this_server, 1, clock_timestamp())
    ON CONFLICT (id) DO UPDATE SET beats = server.beats + 1, seen_at = excluded.seen_at;
    RETURN jsonb_build_object(
        'others', (
            SELECT coalesce(jsonb_object_agg(id, beats), '{}')
            FROM public.servers WHERE id <> this_server
        ),
        'stops', (
            SELECT coalesce(jsonb_agg(id ORDER BY id), '[]')
            FROM public.tasks
            WHERE status = 'running' AND server = this_server AND stop_requested
        )
    );
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
        RETURNING id, user_id, status, attempt, stage
    )
    SELECT coalesce(jsonb_agg(taken ORDER BY taken.id), '[]') INTO adopted FROM taken;
    RETURN adopted;
END
$$;
