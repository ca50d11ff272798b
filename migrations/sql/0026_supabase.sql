ALTER TABLE public.schedules ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.schedules FROM public, anon, authenticated;
GRANT ALL ON public.schedules TO service_role;
EXECUTE format(
  'REVOKE ALL ON SEQUENCE %s FROM public, anon, authenticated',
  pg_get_serial_sequence('public.schedules', 'id')
);
EXECUTE format(
  'GRANT ALL ON SEQUENCE %s TO service_role', pg_get_serial_sequence('public.schedules', 'id')
);
GRANT SELECT ON public.schedules TO authenticated;
CREATE POLICY "Users read their own schedules" ON public.schedules
  FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));
REVOKE ALL ON FUNCTION public.task_start_schedule FROM public, anon, authenticated;

-- Stores a schedule. Returns false without such a user, null when the user has `maximum` schedules.
CREATE FUNCTION public.backend_add_schedule(
    this_user uuid, added jsonb, maximum integer
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    given public.schedules := jsonb_populate_record(NULL::public.schedules, added);
BEGIN
    PERFORM 1 FROM public.users WHERE id = this_user FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN 'false'::jsonb;
    END IF;
    IF (SELECT count(*) FROM public.schedules WHERE user_id = this_user) >= maximum THEN
        RETURN NULL;
    END IF;
    INSERT INTO public.schedules (
        user_id, name, cron, time_zone, is_enabled, next_run_at, refusals, created_at, updated_at,
        task
    ) VALUES (
        this_user, given.name, given.cron, given.time_zone, given.is_enabled, given.next_run_at, 0,
        given.created_at, given.updated_at, given.task
    ) RETURNING * INTO given;
    RETURN to_jsonb(given);
END
$$;

-- Gives this server the schedule that is due for the longest time, until `until`. One that an
-- earlier process of this server had is due at once. A user without an account is not blocked.
CREATE FUNCTION public.backend_claim_schedule(this_server text, until timestamptz) RETURNS jsonb
LANGUAGE sql SET search_path = '' AS $$
    UPDATE public.schedules claimed SET server = this_server, claimed_until = until
    WHERE id = (
        SELECT due.id FROM public.schedules due
        WHERE due.is_enabled AND due.next_run_at <= clock_timestamp() AND (
            due.claimed_until IS NULL OR due.claimed_until <= clock_timestamp()
            OR due.server = this_server
        )
        ORDER BY due.next_run_at
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    RETURNING to_jsonb(claimed) || jsonb_build_object(
        'is_blocked', public.account_state(claimed.user_id, NULL) IN ('banned', 'deleted')
    )
$$;
