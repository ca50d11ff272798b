ALTER TABLE public.task_turns ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.task_turns FROM public, anon, authenticated;
GRANT ALL ON public.task_turns TO service_role;

-- A turn without its diff.
CREATE OR REPLACE FUNCTION public.backend_turn_row(turn public.task_turns) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = '' AS $$
    SELECT to_jsonb(turn) - 'task_id' - 'git_diff'
$$;

-- Has the turns follow a change of their task's status.
CREATE OR REPLACE FUNCTION public.backend_move_turns(
    this_task bigint, new_status text, changes jsonb, moment timestamptz
) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    IF new_status = 'running' THEN
        UPDATE public.task_turns SET status = 'running', started_at = moment
        WHERE task_id = this_task AND number = (
            SELECT min(number) FROM public.task_turns
            WHERE task_id = this_task AND status = 'waiting'
        );
    ELSIF new_status = 'pending' THEN
        UPDATE public.task_turns SET status = 'waiting', started_at = NULL
        WHERE task_id = this_task AND status = 'running';
    ELSE
        UPDATE public.task_turns SET
            status = CASE status WHEN 'running' THEN new_status ELSE 'cancelled' END,
            error = changes ->> 'error',
            error_code = changes ->> 'error_code',
            error_stage = changes ->> 'error_stage',
            ended_at = moment
        WHERE task_id = this_task AND status IN ('waiting', 'running');
    END IF;
END
$$;

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
    PERFORM public.backend_move_turns(this_task, new_status, changes, moment);
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

-- Stores the end of the running turn. The task ends with it, or waits for its next turn.
CREATE OR REPLACE FUNCTION public.backend_finish_turn(
    this_task bigint,
    this_server text,
    new_status text,
    changes jsonb,
    message jsonb,
    file_changes jsonb,
    events jsonb,
    after_sequence integer,
    turn jsonb,
    goes_on boolean,
    next_fields jsonb
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM 1 FROM public.tasks
    WHERE id = this_task AND status = 'running' AND server = this_server FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN NULL;
    END IF;
    DELETE FROM public.task_turns
    WHERE task_id = this_task AND number = (turn ->> 'number')::integer;
    INSERT INTO public.task_turns SELECT * FROM jsonb_populate_record(
        null::public.task_turns,
        turn || jsonb_build_object('task_id', this_task, 'ended_at', clock_timestamp())
    );
    IF goes_on AND EXISTS (
        SELECT FROM public.task_turns WHERE task_id = this_task AND status = 'waiting'
    ) THEN
        new_status := 'pending';
        changes := changes || next_fields;
    END IF;
    RETURN public.backend_move_task(
        this_task, this_server, array['running'], new_status, changes, message, file_changes,
        events, after_sequence
    );
END
$$;

-- `first` is the first turn, for a task that has no turns yet. The answer says when it is needed.
CREATE OR REPLACE FUNCTION public.backend_add_turn(
    this_user uuid,
    this_task bigint,
    this_server text,
    first jsonb,
    turn jsonb,
    interrupting boolean,
    ciphertext text,
    next_fields jsonb,
    most_messages integer,
    most_characters integer
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    answer jsonb;
    last_number integer;
    found_status text;
    moment timestamptz;
    begins boolean;
BEGIN
    IF first IS NULL AND EXISTS (
        SELECT FROM public.tasks WHERE id = this_task AND user_id = this_user
    ) AND NOT EXISTS (SELECT FROM public.task_turns WHERE task_id = this_task) THEN
        RETURN jsonb_build_object('outcome', 'no_turns');
    END IF;
    answer := public.backend_append_chat_message(
        this_user, this_task,
        jsonb_build_object('role', 'user', 'content', turn ->> 'prompt'),
        most_messages, most_characters
    );
    IF answer ->> 'outcome' <> 'appended' THEN
        RETURN answer;
    END IF;
    SELECT status::text INTO found_status FROM public.tasks WHERE id = this_task;
    moment := clock_timestamp();
    SELECT max(number) INTO last_number FROM public.task_turns WHERE task_id = this_task;
    IF last_number IS NULL THEN
        INSERT INTO public.task_turns SELECT * FROM jsonb_populate_record(
            null::public.task_turns,
            first || jsonb_build_object('task_id', this_task, 'status', CASE found_status
                WHEN 'pending' THEN 'waiting' WHEN 'running' THEN 'running'
                ELSE first ->> 'status' END)
        );
        last_number := 1;
    END IF;
    turn := turn || jsonb_build_object(
        'task_id', this_task, 'number', last_number + 1, 'created_at', moment,
        'interrupts', CASE WHEN interrupting THEN (
            SELECT number FROM public.task_turns
            WHERE task_id = this_task AND status = 'running'
        ) END
    );
    INSERT INTO public.task_turns
    SELECT * FROM jsonb_populate_record(null::public.task_turns, turn);
    begins := found_status IN ('completed', 'failed', 'cancelled');
    IF begins THEN
        PERFORM public.backend_set_columns('public.tasks', this_task, next_fields
            || jsonb_build_object('status', 'pending', 'server', this_server, 'updated_at', moment));
    END IF;
    IF ciphertext IS NOT NULL THEN
        DELETE FROM public.task_secrets WHERE task_id = this_task;
        INSERT INTO public.task_secrets (task_id, ciphertext)
        VALUES (this_task, backend_add_turn.ciphertext::bytea);
    END IF;
    RETURN jsonb_build_object(
        'outcome', 'added',
        'begins', begins,
        'task', public.backend_task_row(this_task),
        'turn', (
            SELECT public.backend_turn_row(added) FROM public.task_turns added
            WHERE task_id = this_task AND number = last_number + 1
        )
    );
END
$$;

-- A task that waited for this turn alone is again as the turn before has left it.
CREATE OR REPLACE FUNCTION public.backend_take_back_turn(
    this_user uuid, this_task bigint, this_number integer
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    messages jsonb;
    found_status text;
    taken public.task_turns;
    earlier public.task_turns;
    place integer;
BEGIN
    SELECT chat_messages, status::text INTO messages, found_status FROM public.tasks
    WHERE id = this_task AND user_id = this_user FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN jsonb_build_object('outcome', 'no_task');
    END IF;
    SELECT * INTO taken FROM public.task_turns
    WHERE task_id = this_task AND number = this_number;
    IF NOT found THEN
        RETURN jsonb_build_object('outcome', 'no_turn');
    END IF;
    IF taken.status <> 'waiting' OR this_number = 1 THEN
        RETURN jsonb_build_object('outcome', 'started');
    END IF;
    DELETE FROM public.task_turns WHERE task_id = this_task AND number = this_number;
    SELECT max(entry.place) - 1 INTO place
    FROM jsonb_array_elements(messages) WITH ORDINALITY AS entry (message, place)
    WHERE message ->> 'role' = 'user' AND message ->> 'content' = taken.prompt;
    IF place > 0 THEN
        messages := messages - place;
    END IF;
    UPDATE public.tasks SET chat_messages = messages, updated_at = clock_timestamp()
    WHERE id = this_task;
    IF found_status = 'pending' AND NOT EXISTS (
        SELECT FROM public.task_turns WHERE task_id = this_task AND status = 'waiting'
    ) THEN
        SELECT * INTO earlier FROM public.task_turns
        WHERE task_id = this_task ORDER BY number DESC LIMIT 1;
        UPDATE public.tasks SET
            status = earlier.status::public.task_status,
            error = earlier.error,
            error_code = earlier.error_code,
            error_stage = earlier.error_stage,
            started_at = earlier.started_at,
            completed_at = earlier.ended_at,
            stage = NULL
        WHERE id = this_task;
        DELETE FROM public.task_secrets WHERE task_id = this_task;
    END IF;
    RETURN jsonb_build_object('outcome', 'taken', 'task', public.backend_task_row(this_task));
END
$$;

CREATE OR REPLACE FUNCTION public.backend_list_turns(
    this_user uuid, this_task bigint
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT (
        SELECT coalesce(jsonb_agg(public.backend_turn_row(turn) ORDER BY turn.number), '[]')
        FROM public.task_turns turn WHERE turn.task_id = this_task
    )
    FROM public.tasks
    WHERE id = this_task AND user_id = this_user
$$;

CREATE OR REPLACE FUNCTION public.backend_get_turn_diff(
    this_user uuid, this_task bigint, this_number integer
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT jsonb_build_object('git_diff', turn.git_diff)
    FROM public.tasks task JOIN public.task_turns turn ON turn.task_id = task.id
    WHERE task.id = this_task AND task.user_id = this_user AND turn.number = this_number
$$;

-- Claims a task, with the turn to run.
CREATE OR REPLACE FUNCTION public.backend_claim_turn(
    this_task bigint, this_server text, again boolean
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    claimed jsonb := public.backend_claim_task(this_task, this_server, again);
BEGIN
    RETURN claimed || jsonb_build_object(
        'turn', (
            SELECT public.backend_turn_row(turn) FROM public.task_turns turn
            WHERE turn.task_id = this_task AND turn.status = 'running'
        ),
        'is_interrupted', EXISTS (
            SELECT FROM public.task_turns turn
            JOIN public.task_turns later USING (task_id)
            WHERE turn.task_id = this_task AND turn.status = 'running'
                AND later.interrupts = turn.number
        )
    );
END
$$;

-- Sends a heartbeat; the answer also names the running turns that a message interrupts.
CREATE OR REPLACE FUNCTION public.backend_heartbeat(this_server text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    seen jsonb := public.backend_beat(this_server);
BEGIN
    RETURN seen || jsonb_build_object('interrupted', (
        SELECT coalesce(
            jsonb_agg(DISTINCT jsonb_build_object('task_id', task_id, 'number', turn.number)),
            '[]'
        )
        FROM public.tasks task
        JOIN public.task_turns turn ON turn.task_id = task.id
        JOIN public.task_turns later USING (task_id)
        WHERE task.status = 'running' AND task.server = this_server
            AND turn.status = 'running' AND later.interrupts = turn.number
    ));
END
$$;
