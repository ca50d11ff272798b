-- A limit of sandboxes over all workers. They are counted from rows, under a lock that claims share,
-- so that nothing can drift.

-- Returns the sandboxes that run: of tasks that run or that a worker has, and those of users.
CREATE FUNCTION public.engine_sandboxes() RETURNS integer
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
    SELECT (
        SELECT count(*) FROM public.engine_tasks admitted
        JOIN public.tasks task ON task.id = admitted.task_id
        WHERE task.status = 'running' OR admitted.claim IS NOT NULL
    )::integer + (
        SELECT count(*) FROM public.sandboxes
        WHERE task_id IS NULL AND status IN ('created', 'running')
    )::integer
$$;

-- Sets the limit, or with null none, where the engine is in use.
CREATE FUNCTION public.engine_limit_sandboxes(most integer) RETURNS jsonb
LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    UPDATE public.engine_limits SET sandboxes = most
    WHERE queue = 'tasks' AND sandboxes IS DISTINCT FROM most;
    SELECT 'null'::jsonb
$$;

-- Gives back the tasks whose lease is over. The caller holds no lock on a row.
CREATE FUNCTION public.engine_return_expired() RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    this_claim text;
BEGIN
    FOR this_claim IN
        SELECT admitted.claim FROM public.engine_tasks admitted
        JOIN absurd.r_tasks run ON run.run_id = admitted.run
        WHERE run.state = 'running' AND run.claim_expires_at <= absurd.current_time()
        ORDER BY admitted.task_id
    LOOP
        PERFORM public.engine_later(this_claim, 0);
    END LOOP;
END
$$;

-- Claims runs, and admits more tasks where there are fewer than places.
CREATE FUNCTION public.engine_claim_all(
    this_server text, lease_seconds integer, places integer
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
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

-- Claims runs as far as the limit allows. A task that another worker has left counts already, and is
-- claimed at the limit as well: otherwise nobody would ever go on with it.
CREATE FUNCTION public.engine_claim_within(
    this_server text, lease_seconds integer, places integer, most integer
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    free integer;
    begun integer;
    run jsonb;
    runs jsonb := '[]';
BEGIN
    PERFORM pg_advisory_xact_lock(20260528);
    free := most - public.engine_sandboxes();
    IF free >= places THEN
        RETURN public.engine_claim_all(this_server, lease_seconds, places);
    END IF;
    PERFORM public.engine_return_expired();
    free := greatest(most - public.engine_sandboxes(), 0);
    SELECT count(*) INTO begun FROM public.engine_tasks admitted
    JOIN public.tasks task ON task.id = admitted.task_id
    WHERE task.status = 'running' AND admitted.claim IS NULL;
    IF free + begun = 0 THEN
        RETURN runs;
    END IF;
    FOR run IN
        SELECT jsonb_array_elements(
            public.engine_claim_all(this_server, lease_seconds, least(places, free + begun))
        )
    LOOP
        IF run -> 'task' ->> 'status' = 'running' THEN
            runs := runs || run;
        ELSIF free > 0 THEN
            free := free - 1;
            runs := runs || run;
        ELSE
            -- It was before a task that has begun.
            PERFORM public.engine_later(run ->> 'id', 1);
        END IF;
    END LOOP;
    RETURN runs;
END
$$;

CREATE OR REPLACE FUNCTION public.engine_claim(
    this_server text, lease_seconds integer, places integer
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    most integer := (SELECT sandboxes FROM public.engine_limits WHERE queue = 'tasks');
BEGIN
    IF most IS NULL OR public.engine_share() = 0 THEN
        RETURN public.engine_claim_all(this_server, lease_seconds, places);
    END IF;
    RETURN public.engine_claim_within(this_server, lease_seconds, places, most);
END
$$;

REVOKE ALL ON FUNCTION
  public.engine_sandboxes, public.engine_limit_sandboxes, public.engine_return_expired,
  public.engine_claim_all, public.engine_claim_within
  FROM PUBLIC;
