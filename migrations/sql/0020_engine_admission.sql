-- Which tasks the engine has. It gives them out in order; fairness between users is decided here,
-- by how many of each it is given. Row locks are taken in one order: task, engine_tasks, engine.

-- Returns how many unfinished tasks of one user the engine may have: no more than the limit, and
-- for workers with few places so few that a newcomer waits for two rounds at most.
CREATE FUNCTION public.engine_share() RETURNS integer
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    most integer := (SELECT per_user FROM public.engine_limits WHERE queue = 'tasks');
    places integer;
    users integer;
BEGIN
    -- Without a limit the engine is not in use, and perhaps not there.
    IF most IS NULL OR to_regnamespace('absurd') IS NULL THEN
        RETURN 0;
    END IF;
    SELECT coalesce(sum(worker.places), 0) INTO places FROM public.workers worker
    WHERE worker.seen_at > clock_timestamp() - interval '1 minute';
    IF places = 0 THEN
        RETURN most;
    END IF;
    SELECT count(*) INTO users FROM (
        SELECT user_id FROM public.engine_tasks
        UNION
        SELECT public.engine_waiting_users(2 * places)
    ) active;
    RETURN greatest(1, least(most, 2 * places / greatest(users, 1)));
END
$$;

-- Returns users with pending tasks, at most as many as asked; reads one row of the index for each.
CREATE FUNCTION public.engine_waiting_users(most integer) RETURNS SETOF uuid
LANGUAGE sql STABLE SET search_path = '' AS $$
    WITH RECURSIVE waiting (user_id) AS (
        (
            SELECT user_id FROM public.tasks WHERE status = 'pending'
            ORDER BY user_id, id LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT task.user_id FROM public.tasks task
            WHERE task.status = 'pending' AND task.user_id > waiting.user_id
            ORDER BY task.user_id, task.id LIMIT 1
        )
        FROM waiting WHERE waiting.user_id IS NOT NULL
    )
    SELECT user_id FROM waiting WHERE user_id IS NOT NULL LIMIT most
$$;

-- Gives the engine a task that it does not have; the caller holds the lock on its row.
CREATE FUNCTION public.engine_spawn(this_task bigint, this_user uuid) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    INSERT INTO public.engine_tasks (task_id, user_id, engine_task)
    SELECT this_task, this_user, spawned.task_id
    FROM absurd.spawn_task('tasks', 'task', jsonb_build_object('task_id', this_task)) spawned;
END
$$;

-- Admits the oldest waiting tasks of a user, as far as the share of each user allows; returns how
-- many. Without `waits` it leaves a user to another transaction that does the same at the moment.
-- A task that another transaction changes is left to that one, or to the next call.
CREATE FUNCTION public.engine_admit_user(
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
    SELECT count(*) INTO admitted FROM public.engine_tasks WHERE user_id = this_user;
    FOR waiting IN
        SELECT task.id FROM public.tasks task
        WHERE task.user_id = this_user AND task.status = 'pending'
            AND NOT EXISTS (SELECT FROM public.engine_tasks WHERE task_id = task.id)
        ORDER BY task.id
        LIMIT greatest(share - admitted, 0)
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        PERFORM public.engine_spawn(waiting, this_user);
        added := added + 1;
    END LOOP;
    RETURN added;
END
$$;

-- Admits tasks of all users until there are as many as wanted; returns how many.
CREATE FUNCTION public.engine_admit_some(wanted integer) RETURNS integer
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    share integer := public.engine_share();
    added integer := 0;
    this_user uuid;
BEGIN
    IF share = 0 THEN
        RETURN 0;
    END IF;
    FOR this_user IN SELECT public.engine_waiting_users(NULL) LOOP
        EXIT WHEN added >= wanted;
        added := added + public.engine_admit_user(this_user, share, false);
    END LOOP;
    RETURN added;
END
$$;

-- Gives the engine the running tasks that no server looks after: those of the scheme without it.
CREATE FUNCTION public.engine_adopt() RETURNS integer
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    added integer := 0;
    task record;
BEGIN
    FOR task IN
        SELECT one.id, one.user_id FROM public.tasks one
        WHERE one.status = 'running'
            AND NOT EXISTS (SELECT FROM public.engine_tasks WHERE task_id = one.id)
            AND NOT EXISTS (
                SELECT FROM public.servers
                WHERE id = one.server AND seen_at > clock_timestamp() - interval '1 minute'
            )
        ORDER BY one.id
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        PERFORM public.engine_spawn(task.id, task.user_id);
        added := added + 1;
    END LOOP;
    RETURN added;
END
$$;

-- Forgets tasks that the engine has ended by itself, for instance because an operator cancelled
-- them there: they are admitted again. Those that a worker still reports on are left to it.
CREATE FUNCTION public.engine_repair() RETURNS integer
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    repaired integer := 0;
    task record;
BEGIN
    FOR task IN
        SELECT one.id, one.status, admitted.engine_task FROM public.tasks one
        JOIN public.engine_tasks admitted ON admitted.task_id = one.id
        WHERE one.status NOT IN ('pending', 'running')
            OR one.updated_at < clock_timestamp() - interval '5 minutes'
        ORDER BY one.id
        FOR NO KEY UPDATE OF one SKIP LOCKED
    LOOP
        CONTINUE WHEN task.status IN ('pending', 'running') AND EXISTS (
            SELECT FROM absurd.get_task_result('tasks', task.engine_task) known
            WHERE known.state IN ('pending', 'running', 'sleeping')
        );
        DELETE FROM public.engine_tasks WHERE task_id = task.id;
        UPDATE public.tasks SET server = NULL
        WHERE id = task.id AND status IN ('pending', 'running');
        repaired := repaired + 1;
    END LOOP;
    RETURN repaired;
END
$$;

-- Admits waiting tasks of a user or, with null, of all; returns how many.
CREATE FUNCTION public.engine_admit(this_user uuid) RETURNS integer
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
    added := public.engine_adopt() + public.engine_admit_some(2147483647);
    UPDATE public.engine_limits SET cleaned_at = clock_timestamp()
    WHERE cleaned_at IS NULL OR cleaned_at < clock_timestamp() - interval '1 day';
    IF found THEN
        PERFORM absurd.cleanup_all_queues('tasks');
    END IF;
    RETURN added;
END
$$;

-- Has the engine take tasks, unless it is older than `oldest`, or with null no longer. Returns its
-- version, which is null where it is not installed.
CREATE FUNCTION public.engine_use(most integer, oldest integer[]) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    version text;
    task bigint;
BEGIN
    IF to_regprocedure('absurd.get_schema_version()') IS NOT NULL THEN
        version := absurd.get_schema_version();
    END IF;
    IF most IS NULL THEN
        DELETE FROM public.engine_limits;
        FOR task IN
            SELECT one.id FROM public.tasks one
            WHERE EXISTS (SELECT FROM public.engine_tasks WHERE task_id = one.id)
            ORDER BY one.id FOR NO KEY UPDATE
        LOOP
            DELETE FROM public.engine_tasks WHERE task_id = task;
            UPDATE public.tasks SET server = NULL
            WHERE id = task AND status IN ('pending', 'running');
        END LOOP;
    ELSIF version ~ '^[0-9.]+$' AND string_to_array(version, '.')::integer[] >= oldest THEN
        INSERT INTO public.engine_limits (queue, per_user) VALUES ('tasks', most)
        ON CONFLICT (queue) DO UPDATE SET per_user = excluded.per_user;
        PERFORM public.engine_admit(NULL);
    END IF;
    RETURN jsonb_build_object('version', version);
END
$$;
