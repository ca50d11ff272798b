-- Appends events to a task that need not run, for example when its pull request is opened.
CREATE OR REPLACE FUNCTION public.backend_add_events(
    this_user uuid, this_task bigint, events jsonb
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM 1 FROM public.tasks WHERE id = this_task AND user_id = this_user FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN 'false'::jsonb;
    END IF;
    PERFORM public.backend_append_events(this_task, events, NULL);
    RETURN 'true'::jsonb;
END
$$;
REVOKE ALL ON FUNCTION public.backend_add_events FROM public, anon, authenticated;
GRANT EXECUTE ON FUNCTION public.backend_add_events TO service_role;
