-- Takes back the tasks that users have above their share and that no worker has: the share was
-- larger, or no worker was there to tell how many places there are.
CREATE FUNCTION public.engine_take_back(share integer) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    this_user uuid;
BEGIN
    FOR this_user IN
        SELECT user_id FROM public.engine_tasks GROUP BY user_id HAVING count(*) > share
        ORDER BY user_id
    LOOP
        CONTINUE WHEN NOT pg_try_advisory_xact_lock(20260519, hashtext(this_user::text));
        -- A task that is being claimed is locked, and stays.
        DELETE FROM public.engine_tasks WHERE task_id IN (
            SELECT task.id FROM public.engine_tasks admitted
            JOIN public.tasks task ON task.id = admitted.task_id
            WHERE admitted.user_id = this_user AND admitted.run IS NULL
                AND task.status = 'pending'
            ORDER BY task.queue_rank DESC, task.id DESC
            LIMIT (SELECT count(*) - share FROM public.engine_tasks WHERE user_id = this_user)
            FOR NO KEY UPDATE OF task SKIP LOCKED
        ) AND run IS NULL;
    END LOOP;
END
$$;

-- Admits waiting tasks of a user or, with null, of all; returns how many.
CREATE OR REPLACE FUNCTION public.engine_admit(this_user uuid) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    share integer := public.engine_share();
    added integer;
BEGIN
    IF share = 0 THEN
        RETURN 0;
    END IF;
    IF this_user IS NOT NULL THEN
        RETURN public.engine_admit_user(this_user, share, true);
    END IF;
    PERFORM public.engine_repair();
    PERFORM public.engine_take_back(share);
    added := public.engine_adopt() + public.engine_admit_some(2147483647);
    UPDATE public.engine_limits SET cleaned_at = clock_timestamp()
    WHERE cleaned_at IS NULL OR cleaned_at < clock_timestamp() - interval '1 day';
    IF found THEN
        PERFORM absurd.cleanup_all_queues('tasks');
    END IF;
    RETURN added;
END
$$;

-- A drained worker gets nothing, from the moment on at which somebody has asked for it.
CREATE OR REPLACE FUNCTION public.engine_claim(
    this_server text, lease_seconds integer, places integer
) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    most integer := (SELECT sandboxes FROM public.engine_limits WHERE queue = 'tasks');
BEGIN
    IF EXISTS (SELECT FROM public.workers WHERE name = this_server AND is_draining) THEN
        RETURN '[]'::jsonb;
    END IF;
    IF most IS NULL OR public.engine_share() = 0 THEN
        RETURN public.engine_claim_all(this_server, lease_seconds, places);
    END IF;
    RETURN public.engine_claim_within(this_server, lease_seconds, places, most);
END
$$;

-- Returns how many runs other workers have whose lease is over.
CREATE FUNCTION public.engine_expired(this_server text) RETURNS integer
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF to_regnamespace('absurd') IS NULL THEN
        RETURN 0;
    END IF;
    RETURN (
        SELECT count(*) FROM public.engine_tasks admitted
        JOIN absurd.r_tasks run ON run.run_id = admitted.run
        WHERE admitted.worker <> this_server AND run.state = 'running'
            AND run.claim_expires_at <= absurd.current_time()
    );
END
$$;

REVOKE ALL ON FUNCTION public.engine_take_back, public.engine_expired FROM PUBLIC;
