-- Moving tasks on and appending to them. The row of a task is locked before anything else, and
-- moments and numbers are taken under that lock: their order is the order of the locks.

CREATE OR REPLACE FUNCTION public.backend_move_task(
    this_task bigint,
    this_server text,
    from_statuses text[],
    new_status text,
    changes jsonb,
    message jsonb DEFAULT NULL,
    file_changes jsonb DEFAULT NULL,
    events jsonb DEFAULT '[]',
    after_sequence integer DEFAULT NULL
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    attempts integer;
    moment timestamptz;
    ends boolean := new_status IN ('completed', 'failed', 'cancelled');
BEGIN
    SELECT attempt INTO attempts FROM public.tasks
    WHERE id = this_task
        AND status::text = ANY(from_statuses)
        AND (server = this_server OR status <> 'running')
    FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN NULL;
    END IF;
    moment := clock_timestamp();
    changes := changes || jsonb_build_object('status', new_status, 'updated_at', moment);
    IF new_status = 'running' THEN
        changes := changes || jsonb_build_object(
            'attempt', attempts + 1, 'started_at', moment, 'stop_requested', FALSE
        );
    ELSIF ends THEN
        changes := changes || jsonb_build_object('completed_at', moment, 'stage', NULL);
    END IF;
    IF file_changes IS NOT NULL THEN
        changes := changes || jsonb_build_object('execution_metadata', (
            SELECT coalesce(execution_metadata, '{}')
                || jsonb_build_object('file_changes', file_changes)
            FROM public.tasks WHERE id = this_task
        ));
    END IF;
    IF message IS NOT NULL THEN
        changes := changes || jsonb_build_object('chat_messages', (
            SELECT chat_messages || jsonb_build_array(public.backend_stamped(message, moment))
            FROM public.tasks WHERE id = this_task
        ));
    END IF;
    PERFORM public.backend_set_columns('public.tasks', this_task, changes);
    PERFORM public.backend_append_events(this_task, events, after_sequence);
    IF new_status <> 'running' THEN
        DELETE FROM public.task_runs WHERE task_id = this_task;
    END IF;
    IF ends THEN
        DELETE FROM public.task_secrets WHERE task_id = this_task;
    END IF;
    RETURN public.backend_task_row(this_task);
END
$$;

CREATE OR REPLACE FUNCTION public.backend_claim_task(
    this_task bigint, this_server text, again boolean
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    found_status text;
BEGIN
    SELECT status INTO found_status FROM public.tasks
    WHERE id = this_task AND server = this_server FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN NULL;
    END IF;
    IF found_status = 'pending' THEN
        PERFORM public.backend_move_task(
            this_task, this_server, array['pending'], 'running', '{"stage": "cloning"}'
        );
    ELSIF found_status <> 'running' OR NOT again THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT jsonb_build_object(
            'task', public.backend_task_row(this_task),
            'ciphertext', secret.ciphertext,
            'user_token', owner.github_token,
            'preferences', owner.preferences,
            'project_settings', project.settings,
            'last_sequence', (
                SELECT coalesce(max(sequence), 0) FROM public.task_events WHERE task_id = this_task
            )
        )
        FROM public.tasks task
        JOIN public.users owner ON owner.id = task.user_id
        LEFT JOIN public.projects project ON project.id = task.project_id
        LEFT JOIN public.task_secrets secret ON secret.task_id = task.id
        WHERE task.id = this_task
    );
END
$$;

CREATE OR REPLACE FUNCTION public.backend_save_progress(
    this_task bigint,
    this_server text,
    changes jsonb,
    run_position jsonb,
    events jsonb,
    after_sequence integer
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM 1 FROM public.tasks
    WHERE id = this_task AND status = 'running' AND server = this_server FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN 'false'::jsonb;
    END IF;
    IF changes <> '{}' THEN
        changes := changes || jsonb_build_object('updated_at', clock_timestamp());
        PERFORM public.backend_set_columns('public.tasks', this_task, changes);
    END IF;
    PERFORM public.backend_append_events(this_task, events, after_sequence);
    IF run_position IS NOT NULL THEN
        UPDATE public.task_runs SET position = run_position, resumes = 0 WHERE task_id = this_task;
    END IF;
    RETURN 'true'::jsonb;
END
$$;

CREATE OR REPLACE FUNCTION public.backend_append_chat_message(
    this_user uuid, this_task bigint, message jsonb, most_messages integer, most_characters integer
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    messages jsonb;
    moment timestamptz;
BEGIN
    SELECT chat_messages INTO messages FROM public.tasks
    WHERE id = this_task AND user_id = this_user FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN jsonb_build_object('outcome', 'no_task');
    END IF;
    moment := clock_timestamp();
    messages := messages || jsonb_build_array(public.backend_stamped(message, moment));
    IF jsonb_array_length(messages) > most_messages
        OR (
            SELECT sum(length(entry ->> 'content')) FROM jsonb_array_elements(messages) entry
        ) > most_characters
    THEN
        RETURN jsonb_build_object('outcome', 'full');
    END IF;
    UPDATE public.tasks SET chat_messages = messages, updated_at = moment WHERE id = this_task;
    RETURN jsonb_build_object('outcome', 'appended', 'task', public.backend_task_row(this_task));
END
$$;

CREATE OR REPLACE FUNCTION public.backend_list_events(
    this_user uuid, this_task bigint, above bigint, page_size integer
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT (
        SELECT coalesce(jsonb_agg(page ORDER BY page.sequence), '[]')
        FROM (
            SELECT kind, data, at, sequence FROM public.task_events
            WHERE task_id = this_task AND sequence > above
            ORDER BY sequence
            LIMIT page_size
        ) page
    )
    FROM public.tasks
    WHERE id = this_task AND user_id = this_user
$$;
