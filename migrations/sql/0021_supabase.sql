-- Returns whether the worker is to take no more tasks.
CREATE OR REPLACE FUNCTION public.backend_beat_worker(
    this_server text, version text, places integer, running integer, waiting_reason text
) RETURNS jsonb
LANGUAGE sql SET search_path = '' AS $$
    DELETE FROM public.workers WHERE seen_at < clock_timestamp() - interval '1 day';
    -- What a process of this name left without the engine may be taken over at once.
    DELETE FROM public.servers WHERE id = this_server;
    INSERT INTO public.workers AS worker (
        name, version, places, running, waiting_reason, started_at, seen_at
    ) VALUES (
        this_server, version, places, running, waiting_reason, clock_timestamp(),
        clock_timestamp()
    )
    ON CONFLICT (name) DO UPDATE SET
        version = excluded.version,
        places = excluded.places,
        running = excluded.running,
        waiting_reason = excluded.waiting_reason,
        seen_at = excluded.seen_at
    RETURNING to_jsonb(worker.is_draining)
$$;

CREATE FUNCTION public.backend_drain_worker(worker_name text, is_draining boolean) RETURNS jsonb
LANGUAGE sql SET search_path = '' AS $$
    WITH changed AS (
        UPDATE public.workers SET is_draining = backend_drain_worker.is_draining
        WHERE name = worker_name RETURNING name
    )
    SELECT to_jsonb(EXISTS (SELECT FROM changed))
$$;
