-- Returns how many unfinished tasks of one user the engine may have: no more than the limit, and
-- for workers with few places so few that a newcomer waits for two rounds at most. Workers that are
-- drained give no places.
CREATE OR REPLACE FUNCTION public.engine_share() RETURNS integer
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
    WHERE worker.seen_at > clock_timestamp() - interval '1 minute' AND NOT worker.is_draining;
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
