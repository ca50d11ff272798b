-- Has the engine take tasks, unless it is missing or too old, or servers without it are at work. A
-- server that is at work has sent a heartbeat since those of `ended` were read; where workers are,
-- the engine is in use already. With a version this server becomes a worker. Returns who was found,
-- and writes nothing where the engine is not used, nor with null for `most`.
CREATE FUNCTION public.backend_join_engine(
    this_server text, most integer, oldest integer[], since timestamptz, ended jsonb, version text
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    known text;
    workers jsonb;
    others jsonb;
    is_used boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(20260527);
    -- No engine is as new as that, so this only asks for its version.
    known := public.engine_use(1, ARRAY[2147483647]) ->> 'version';
    SELECT coalesce(jsonb_agg(name ORDER BY name), '[]') INTO workers
    FROM public.workers WHERE name <> this_server AND seen_at >= since;
    SELECT coalesce(jsonb_object_agg(id, beats), '{}') INTO others
    FROM public.servers
    WHERE id <> this_server AND (ended ->> id) IS DISTINCT FROM beats::text;
    is_used := coalesce(
        known ~ '^[0-9.]+$' AND string_to_array(known, '.')::integer[] >= oldest, false
    ) AND (workers <> '[]' OR others = '{}');
    IF is_used AND most IS NOT NULL THEN
        -- Their tasks may be taken over at once.
        DELETE FROM public.servers
        WHERE id = this_server OR (ended ->> id) = beats::text;
        PERFORM public.engine_use(most, oldest);
        IF version IS NOT NULL THEN
            PERFORM public.backend_beat_worker(this_server, version, 0, 0, NULL);
        END IF;
    END IF;
    RETURN jsonb_build_object(
        'uses_engine', is_used, 'version', known, 'workers', workers, 'servers', others
    );
END
$$;

-- Has the engine take no tasks, and sends the first heartbeat of this server, unless workers are at
-- work; returns those.
CREATE FUNCTION public.backend_leave_engine(this_server text, since timestamptz) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    found_workers jsonb;
BEGIN
    PERFORM pg_advisory_xact_lock(20260527);
    SELECT coalesce(jsonb_agg(name ORDER BY name), '[]') INTO found_workers
    FROM public.workers WHERE name <> this_server AND seen_at >= since;
    IF found_workers = '[]' THEN
        DELETE FROM public.workers WHERE name = this_server;
        PERFORM public.engine_use(NULL, ARRAY[0]);
        PERFORM public.backend_beat(this_server);
    END IF;
    RETURN found_workers;
END
$$;
