-- What workers ask for. A run is claimed by a worker for the time of its lease. Each claim has a
-- name of its own, because the engine gives out a run that was put off once more: it is the
-- `server` of the task, which fences the writes of all others, and what workers call their runs.

CREATE FUNCTION public.engine_take(
    this_server text, lease_seconds integer, places integer
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    claimed record;
    task record;
    this_claim text;
    runs jsonb := '[]';
BEGIN
    IF places < 1 OR public.engine_share() = 0 THEN
        RETURN runs;
    END IF;
    FOR claimed IN
        SELECT run_id, task_id, attempt, (params ->> 'task_id')::bigint AS number
        FROM absurd.claim_task('tasks', this_server, lease_seconds, places)
    LOOP
        -- The transaction that holds this row may wait for the engine's, which is held here.
        SELECT one.id, one.user_id, one.status, one.attempt, one.stage INTO task
        FROM public.tasks one JOIN public.engine_tasks admitted ON admitted.task_id = one.id
        WHERE one.id = claimed.number AND admitted.engine_task = claimed.task_id
            AND one.status IN ('pending', 'running')
        FOR NO KEY UPDATE OF one SKIP LOCKED;
        IF found THEN
            this_claim := gen_random_uuid();
            UPDATE public.tasks SET server = this_claim WHERE id = task.id;
            UPDATE public.engine_tasks
            SET run = claimed.run_id, claim = this_claim, worker = this_server
            WHERE task_id = task.id;
            runs := runs || jsonb_build_object(
                'id', this_claim, 'attempt', claimed.attempt, 'task', to_jsonb(task)
            );
        ELSIF EXISTS (SELECT FROM public.engine_tasks WHERE engine_task = claimed.task_id) THEN
            PERFORM absurd.schedule_run(
                'tasks', claimed.run_id, absurd.current_time() + interval '1 second'
            );
        ELSE
            PERFORM absurd.complete_run('tasks', claimed.run_id);
        END IF;
    END LOOP;
    RETURN runs;
END
$$;

CREATE FUNCTION public.engine_claim(
    this_server text, lease_seconds integer, places integer
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    runs jsonb := public.engine_take(this_server, lease_seconds, places);
    free integer := places - jsonb_array_length(runs);
BEGIN
    IF free > 0 AND public.engine_admit_some(free) > 0 THEN
        runs := runs || public.engine_take(this_server, lease_seconds, free);
    END IF;
    RETURN runs;
END
$$;

-- Extends the leases of claims; returns those that are not fine. The row is what counts: a worker of
-- which it knows nothing has no result to give.
CREATE FUNCTION public.engine_beat(claims text[], lease_seconds integer) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    is_used boolean := public.engine_share() > 0;
    known record;
    cancelled text[] := '{}';
    lost text[] := '{}';
BEGIN
    FOR known IN
        SELECT given.claim, admitted.run, task.id IS NOT NULL AS is_here,
            task.status = 'running' AND task.stop_requested AS is_stopped
        FROM unnest(claims) WITH ORDINALITY AS given (claim, place)
        LEFT JOIN public.engine_tasks admitted ON admitted.claim = given.claim
        LEFT JOIN public.tasks task
            ON task.id = admitted.task_id AND task.server = given.claim
            AND task.status IN ('pending', 'running')
        ORDER BY given.place
    LOOP
        IF NOT (is_used AND known.is_here) THEN
            lost := lost || known.claim;
            CONTINUE;
        END IF;
        BEGIN
            PERFORM absurd.extend_claim('tasks', known.run, lease_seconds);
            IF known.is_stopped THEN
                cancelled := cancelled || known.claim;
            END IF;
        EXCEPTION
            WHEN SQLSTATE 'AB001' THEN
                cancelled := cancelled || known.claim;
            WHEN SQLSTATE 'AB002' OR raise_exception THEN
                lost := lost || known.claim;
        END;
    END LOOP;
    RETURN jsonb_build_object('cancelled', cancelled, 'lost', lost, 'interrupted', (
        SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_object(
            'task_id', turn.task_id, 'number', turn.number
        )), '[]')
        FROM public.tasks task
        JOIN public.task_turns turn ON turn.task_id = task.id AND turn.status = 'running'
        JOIN public.task_turns message
            ON message.task_id = task.id AND message.interrupts = turn.number
        WHERE task.status = 'running' AND task.server = ANY(claims)
    ));
END
$$;

-- Returns the task of a claim with its row locked, or null when it belongs to another claim by now.
CREATE FUNCTION public.engine_lock(this_claim text) RETURNS bigint
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    task bigint := (SELECT task_id FROM public.engine_tasks WHERE claim = this_claim);
BEGIN
    PERFORM 1 FROM public.tasks WHERE id = task FOR NO KEY UPDATE;
    RETURN (SELECT task_id FROM public.engine_tasks WHERE claim = this_claim AND task_id = task);
END
$$;

CREATE FUNCTION public.engine_later(
    this_claim text, seconds double precision
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    task bigint := public.engine_lock(this_claim);
    moment timestamptz;
BEGIN
    IF task IS NULL THEN
        RETURN false;
    END IF;
    moment := absurd.current_time() + make_interval(secs => seconds);
    IF seconds <= 0 THEN
        -- What runs already goes on before others begin.
        moment := coalesce(
            (SELECT created_at FROM public.tasks WHERE id = task AND status = 'running'), moment
        );
    END IF;
    BEGIN
        PERFORM absurd.schedule_run(
            'tasks', (SELECT run FROM public.engine_tasks WHERE task_id = task), moment
        );
    EXCEPTION WHEN raise_exception THEN
        RETURN false;
    END;
    UPDATE public.engine_tasks SET run = NULL, claim = NULL, worker = NULL
    WHERE task_id = task;
    UPDATE public.tasks SET server = NULL WHERE id = task;
    RETURN true;
END
$$;

CREATE FUNCTION public.engine_done(this_claim text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    number bigint := public.engine_lock(this_claim);
    task record;
BEGIN
    IF number IS NULL THEN
        RETURN false;
    END IF;
    DELETE FROM public.engine_tasks WHERE task_id = number;
    UPDATE public.tasks SET server = NULL WHERE id = number RETURNING user_id, status INTO task;
    -- What runs already keeps its place.
    IF task.status = 'running' THEN
        PERFORM public.engine_spawn(number, task.user_id);
    END IF;
    PERFORM public.engine_admit_user(task.user_id, public.engine_share(), true);
    RETURN true;
END
$$;

-- Gives back all runs of a worker except those that it names; returns how many.
CREATE FUNCTION public.engine_release(this_server text, kept text[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    released integer := 0;
    this_claim text;
BEGIN
    FOR this_claim IN
        SELECT claim FROM public.engine_tasks
        WHERE worker = this_server AND claim <> ALL(kept) ORDER BY task_id
    LOOP
        released := released + public.engine_later(this_claim, 0)::integer;
    END LOOP;
    RETURN released;
END
$$;
