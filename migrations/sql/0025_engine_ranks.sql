-- Returns users with pending tasks, at most as many as asked; reads one row of the index for each.
CREATE OR REPLACE FUNCTION public.engine_waiting_users(most integer) RETURNS SETOF uuid
LANGUAGE sql STABLE SET search_path = '' AS $$
    WITH RECURSIVE waiting (user_id) AS (
        (
            SELECT user_id FROM public.tasks WHERE status = 'pending'
            ORDER BY user_id LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT task.user_id FROM public.tasks task
            WHERE task.status = 'pending' AND task.user_id > waiting.user_id
            ORDER BY task.user_id LIMIT 1
        )
        FROM waiting WHERE waiting.user_id IS NOT NULL
    )
    SELECT user_id FROM waiting WHERE user_id IS NOT NULL LIMIT most
$$;

-- Takes back the tasks of a user that no worker has and that the first of the others precedes by
-- its rank, so that all of them are admitted in their order. The caller holds the lock of the user.
CREATE FUNCTION public.engine_make_way(this_user uuid) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    first_rank integer := (
        SELECT task.queue_rank FROM public.tasks task
        WHERE task.user_id = this_user AND task.status = 'pending'
            AND NOT EXISTS (SELECT FROM public.engine_tasks WHERE task_id = task.id)
        ORDER BY task.queue_rank, task.id
        LIMIT 1
    );
BEGIN
    IF first_rank IS NULL THEN
        RETURN;
    END IF;
    -- A task that is being claimed is locked, and stays.
    DELETE FROM public.engine_tasks WHERE task_id IN (
        SELECT task.id FROM public.engine_tasks admitted
        JOIN public.tasks task ON task.id = admitted.task_id
        WHERE admitted.user_id = this_user AND admitted.run IS NULL
            AND task.status = 'pending' AND task.queue_rank > first_rank
        ORDER BY task.id
        FOR NO KEY UPDATE OF task SKIP LOCKED
    ) AND run IS NULL;
END
$$;
REVOKE ALL ON FUNCTION public.engine_make_way FROM public;

-- Admits the waiting tasks of a user in the order of their ranks, the oldest of a rank first, as far
-- as the share of each user allows; returns how many. Without `waits` it leaves a user to another
-- transaction that does the same at the moment. A task that another transaction changes is left to
-- that one, or to the next call.
CREATE OR REPLACE FUNCTION public.engine_admit_user(
    this_user uuid, share integer, waits boolean
) RETURNS integer
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    admitted integer;
    added integer := 0;
    waiting bigint;
BEGIN
    IF waits THEN
        PERFORM pg_advisory_xact_lock(20260519, hashtext(this_user::text));
    ELSIF NOT pg_try_advisory_xact_lock(20260519, hashtext(this_user::text)) THEN
        RETURN 0;
    END IF;
    PERFORM public.engine_make_way(this_user);
    SELECT count(*) INTO admitted FROM public.engine_tasks WHERE user_id = this_user;
    FOR waiting IN
        SELECT task.id FROM public.tasks task
        WHERE task.user_id = this_user AND task.status = 'pending'
            AND NOT EXISTS (SELECT FROM public.engine_tasks WHERE task_id = task.id)
        ORDER BY task.queue_rank, task.id
        LIMIT greatest(share - admitted, 0)
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        PERFORM public.engine_spawn(waiting, this_user);
        added := added + 1;
    END LOOP;
    RETURN added;
END
$$;
