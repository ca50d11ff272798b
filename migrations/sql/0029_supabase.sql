-- What was seen lately is told by the clock of the database, not by that of a server.

CREATE FUNCTION public.backend_join_engine(
    this_server text, most integer, oldest integer[], silence_seconds double precision,
    ended jsonb, version text
) RETURNS jsonb
LANGUAGE sql SET search_path = '' AS $$
    SELECT public.backend_join_engine(
        this_server, most, oldest, clock_timestamp() - make_interval(secs => silence_seconds),
        ended, version
    )
$$;

CREATE FUNCTION public.backend_leave_engine(
    this_server text, silence_seconds double precision
) RETURNS jsonb
LANGUAGE sql SET search_path = '' AS $$
    SELECT public.backend_leave_engine(
        this_server, clock_timestamp() - make_interval(secs => silence_seconds)
    )
$$;

-- A worker may have claimed tasks since it told what it does.
CREATE FUNCTION public.backend_list_workers(silence_seconds double precision) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(jsonb_agg(to_jsonb(worker) || jsonb_build_object('running', greatest(
        running, (SELECT count(*) FROM public.engine_tasks WHERE engine_tasks.worker = name)
    )) ORDER BY name), '[]')
    FROM public.workers worker
    WHERE seen_at >= clock_timestamp() - make_interval(secs => silence_seconds)
$$;
DROP FUNCTION public.backend_list_workers(timestamptz);

REVOKE ALL ON FUNCTION public.engine_take_back, public.engine_expired
  FROM public, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.engine_expired TO service_role;
