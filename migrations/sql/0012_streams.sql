ALTER TABLE public.stream_tickets ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.stream_tickets FROM public, anon, authenticated;
GRANT ALL ON public.stream_tickets TO service_role;

-- Stores a ticket; returns false without such a user.
CREATE OR REPLACE FUNCTION public.backend_add_stream_ticket(
    this_user uuid, this_ticket text, ends_at timestamptz
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM 1 FROM public.users WHERE id = this_user FOR KEY SHARE;
    IF NOT found THEN
        RETURN 'false'::jsonb;
    END IF;
    DELETE FROM public.stream_tickets
    WHERE user_id = this_user AND expires_at <= clock_timestamp();
    INSERT INTO public.stream_tickets (ticket_hash, user_id, expires_at)
    VALUES (this_ticket, this_user, ends_at);
    RETURN 'true'::jsonb;
END
$$;

-- Returns what shows that tasks have changed: the given ones, and those of users changed since then.
CREATE OR REPLACE FUNCTION public.backend_list_task_marks(
    task_ids bigint[], user_ids uuid[], since timestamptz
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(jsonb_agg(marks), '[]')
    FROM (
        SELECT id, user_id, updated_at, (
            SELECT coalesce(max(event.sequence), 0)
            FROM public.task_events event WHERE event.task_id = task.id
        ) AS last_sequence
        FROM public.tasks task
        WHERE id = ANY (task_ids) OR (user_id = ANY (user_ids) AND updated_at >= since)
    ) marks
$$;
REVOKE ALL ON FUNCTION public.backend_add_stream_ticket, public.backend_list_task_marks
  FROM public, anon, authenticated;
GRANT EXECUTE ON FUNCTION public.backend_add_stream_ticket, public.backend_list_task_marks
  TO service_role;
