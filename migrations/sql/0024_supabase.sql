-- Only the backend reads and writes them: they hold tokens.
ALTER TABLE public.automatic_pulls ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.automatic_pulls FROM public, anon, authenticated;
GRANT ALL ON public.automatic_pulls TO service_role;
REVOKE ALL ON FUNCTION public.task_pull_follow FROM public, anon, authenticated;

-- Gives this server the pull request that is due for the longest time, until `until`. One that an
-- earlier process of this server had is due at once.
CREATE FUNCTION public.backend_claim_automatic_pull(
    this_server text, until timestamptz
) RETURNS jsonb
LANGUAGE sql SET search_path = '' AS $$
    UPDATE public.automatic_pulls claimed
    SET server = this_server, due_at = until, tries = claimed.tries + 1
    WHERE task_id = (
        SELECT pull.task_id FROM public.automatic_pulls pull
        JOIN public.tasks task ON task.id = pull.task_id
        WHERE task.status = 'completed'
            AND (pull.due_at <= clock_timestamp() OR pull.server = this_server)
        ORDER BY pull.due_at
        LIMIT 1
        FOR UPDATE OF pull SKIP LOCKED
    )
    RETURNING to_jsonb(claimed)
$$;

-- Forgets a pull request that this server has, or makes it due again; nothing if it has another
-- one by now, because the task has gone on.
CREATE FUNCTION public.backend_end_automatic_pull(
    this_task bigint, this_server text, until timestamptz, again_at timestamptz
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    IF again_at IS NULL THEN
        DELETE FROM public.automatic_pulls
        WHERE task_id = this_task AND server = this_server AND due_at = until;
    ELSE
        UPDATE public.automatic_pulls SET due_at = again_at, server = NULL
        WHERE task_id = this_task AND server = this_server AND due_at = until;
    END IF;
    RETURN to_jsonb(found);
END
$$;
