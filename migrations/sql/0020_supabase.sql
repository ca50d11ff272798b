ALTER TABLE public.engine_tasks ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.engine_limits ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.workers ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.engine_tasks, public.engine_limits, public.workers
  FROM public, anon, authenticated;
GRANT ALL ON public.engine_tasks, public.engine_limits, public.workers TO service_role;

CREATE FUNCTION public.backend_beat_worker(
    this_server text, version text, places integer, running integer, waiting_reason text
) RETURNS jsonb
LANGUAGE sql SET search_path = '' AS $$
    DELETE FROM public.workers WHERE seen_at < clock_timestamp() - interval '1 day';
    -- What a process of this name left without the engine may be taken over at once.
    DELETE FROM public.servers WHERE id = this_server;
    INSERT INTO public.workers AS worker VALUES (
        this_server, version, places, running, waiting_reason, clock_timestamp(),
        clock_timestamp()
    )
    ON CONFLICT (name) DO UPDATE SET
        version = excluded.version,
        places = excluded.places,
        running = excluded.running,
        waiting_reason = excluded.waiting_reason,
        seen_at = excluded.seen_at;
    SELECT 'null'::jsonb
$$;

CREATE FUNCTION public.backend_remove_worker(this_server text) RETURNS jsonb
LANGUAGE sql SET search_path = '' AS $$
    DELETE FROM public.workers WHERE name = this_server;
    SELECT 'null'::jsonb
$$;

CREATE FUNCTION public.backend_list_workers(since timestamptz) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(jsonb_agg(to_jsonb(worker) ORDER BY name), '[]')
    FROM public.workers worker WHERE seen_at >= since
$$;

-- Nobody but the owner of the functions needs rights in the engine's schema. Supabase opens new
-- functions to each of its roles.
DECLARE
    signature regprocedure;
BEGIN
    FOR signature IN
        SELECT oid FROM pg_catalog.pg_proc
        WHERE pronamespace = 'public'::regnamespace AND starts_with(proname, 'engine_')
    LOOP
        EXECUTE format(
            'REVOKE ALL ON FUNCTION %s FROM public, anon, authenticated, service_role', signature
        );
    END LOOP;
END;
GRANT EXECUTE ON FUNCTION
  public.engine_use, public.engine_admit, public.engine_claim, public.engine_beat,
  public.engine_later, public.engine_done, public.engine_release
  TO service_role;
