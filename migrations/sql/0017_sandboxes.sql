ALTER TABLE public.sandboxes ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sandbox_operations ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.sandboxes, public.sandbox_operations FROM public, anon, authenticated;
GRANT ALL ON public.sandboxes, public.sandbox_operations TO service_role;
EXECUTE format(
  'REVOKE ALL ON SEQUENCE %s, %s FROM public, anon, authenticated',
  pg_get_serial_sequence('public.sandboxes', 'id'),
  pg_get_serial_sequence('public.sandbox_operations', 'id')
);
EXECUTE format(
  'GRANT ALL ON SEQUENCE %s, %s TO service_role',
  pg_get_serial_sequence('public.sandboxes', 'id'),
  pg_get_serial_sequence('public.sandbox_operations', 'id')
);
GRANT SELECT ON public.sandboxes, public.sandbox_operations TO authenticated;
CREATE POLICY "Users read their own sandboxes" ON public.sandboxes
  FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));
CREATE POLICY "Users read the operations on their own sandboxes" ON public.sandbox_operations
  FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));

-- Returns the added sandbox, false without such a user, and null when the user has `maximum` ones.
CREATE FUNCTION public.backend_add_sandbox(
    this_user uuid, added jsonb, maximum integer
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    sandbox public.sandboxes := jsonb_populate_record(NULL::public.sandboxes, added);
BEGIN
    PERFORM 1 FROM public.users WHERE id = this_user FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN 'false'::jsonb;
    END IF;
    IF (
        SELECT count(*) FROM public.sandboxes
        WHERE user_id = this_user AND status IN ('created', 'running', 'paused')
            AND task_id IS NULL
    ) >= maximum THEN
        RETURN NULL;
    END IF;
    INSERT INTO public.sandboxes (
        user_id, provider, server, template, repositories, status, commands, running_ms,
        created_at, updated_at, expires_at
    ) VALUES (
        this_user, sandbox.provider, sandbox.server, sandbox.template, sandbox.repositories,
        sandbox.status, 0, 0, clock_timestamp(), clock_timestamp(), sandbox.expires_at
    ) RETURNING * INTO sandbox;
    RETURN to_jsonb(sandbox);
END
$$;

-- Moves a locked row to another status, with the times that follow from it.
CREATE FUNCTION public.backend_set_sandbox(
    this_sandbox bigint, new_status text, changes jsonb
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    sandbox public.sandboxes;
    moment timestamptz := clock_timestamp();
BEGIN
    UPDATE public.sandboxes SET
        status = new_status,
        updated_at = moment,
        running_ms = CASE
            WHEN running_since IS NOT NULL AND new_status <> 'running' THEN
                running_ms
                    + greatest(floor(extract(epoch FROM moment - running_since) * 1000), 0)::bigint
            ELSE running_ms
        END,
        running_since = CASE
            WHEN new_status <> 'running' THEN NULL ELSE coalesce(running_since, moment)
        END,
        paused_at = CASE
            WHEN new_status = status THEN paused_at WHEN new_status = 'paused' THEN moment
        END,
        ended_at = CASE
            WHEN new_status = status THEN ended_at
            WHEN new_status NOT IN ('created', 'running', 'paused') THEN moment
        END
    WHERE id = this_sandbox;
    IF changes <> '{}' THEN
        PERFORM public.backend_set_columns('public.sandboxes', this_sandbox, changes);
    END IF;
    SELECT * INTO sandbox FROM public.sandboxes WHERE id = this_sandbox;
    RETURN to_jsonb(sandbox);
END
$$;

CREATE FUNCTION public.backend_move_sandbox(
    this_sandbox bigint, from_statuses text[], new_status text, changes jsonb
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM 1 FROM public.sandboxes
    WHERE id = this_sandbox AND status = ANY(from_statuses) FOR UPDATE;
    IF NOT found THEN
        RETURN NULL;
    END IF;
    RETURN public.backend_set_sandbox(this_sandbox, new_status, changes);
END
$$;

CREATE FUNCTION public.backend_mark_sandboxes(
    this_provider text, provider_ids text[], from_statuses text[], new_status text, changes jsonb
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    marked bigint[] := '{}';
    found_id bigint;
BEGIN
    FOR found_id IN SELECT id FROM public.sandboxes
        WHERE provider = this_provider AND provider_id = ANY(provider_ids)
            AND status = ANY(from_statuses)
        ORDER BY id FOR UPDATE
    LOOP
        PERFORM public.backend_set_sandbox(found_id, new_status, changes);
        marked := marked || found_id;
    END LOOP;
    RETURN to_jsonb(marked);
END
$$;

-- Returns false without such a task.
CREATE FUNCTION public.backend_record_task_sandbox(added jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    sandbox public.sandboxes := jsonb_populate_record(NULL::public.sandboxes, added);
    known bigint;
BEGIN
    SELECT user_id, project_id INTO sandbox.user_id, sandbox.project_id
    FROM public.tasks WHERE id = sandbox.task_id FOR KEY SHARE;
    IF NOT found THEN
        RETURN 'false'::jsonb;
    END IF;
    SELECT id INTO known FROM public.sandboxes
    WHERE provider = sandbox.provider AND provider_id = sandbox.provider_id FOR UPDATE;
    IF found THEN
        PERFORM public.backend_set_sandbox(known, 'running', jsonb_build_object(
            'expires_at', sandbox.expires_at, 'server', sandbox.server, 'error', NULL
        ));
        RETURN 'true'::jsonb;
    END IF;
    INSERT INTO public.sandboxes (
        user_id, task_id, project_id, provider, provider_id, server, template, repositories,
        status, commands, running_ms, running_since, created_at, updated_at, expires_at
    ) VALUES (
        sandbox.user_id, sandbox.task_id, sandbox.project_id, sandbox.provider,
        sandbox.provider_id, sandbox.server, sandbox.template, sandbox.repositories, 'running',
        0, 0, clock_timestamp(), clock_timestamp(), clock_timestamp(), sandbox.expires_at
    );
    RETURN 'true'::jsonb;
END
$$;

CREATE FUNCTION public.backend_list_live_sandboxes(due timestamptz) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(jsonb_agg(to_jsonb(live) ORDER BY live.id), '[]')
    FROM public.sandboxes live
    WHERE live.status IN ('created', 'running', 'paused')
        AND (due IS NULL OR (live.task_id IS NULL AND live.expires_at <= due))
$$;

-- Returns false without such a sandbox.
CREATE FUNCTION public.backend_record_sandbox_operation(added jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    operation public.sandbox_operations
        := jsonb_populate_record(NULL::public.sandbox_operations, added);
BEGIN
    UPDATE public.sandboxes SET
        last_used_at = clock_timestamp(),
        commands = commands + (operation.kind = 'execute')::integer
    WHERE id = operation.sandbox_id;
    IF NOT found THEN
        RETURN 'false'::jsonb;
    END IF;
    INSERT INTO public.sandbox_operations (
        sandbox_id, user_id, kind, command, exit_code, duration_ms, error_code, created_at
    ) VALUES (
        operation.sandbox_id, operation.user_id, operation.kind, operation.command,
        operation.exit_code, operation.duration_ms, operation.error_code, operation.created_at
    );
    RETURN 'true'::jsonb;
END
$$;

-- Returns null without such a sandbox.
CREATE FUNCTION public.backend_list_sandbox_operations(
    this_user uuid, this_sandbox bigint, below bigint, page_size integer
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT (
        SELECT coalesce(jsonb_agg(to_jsonb(page) ORDER BY page.id desc), '[]')
        FROM (
            SELECT * FROM public.sandbox_operations
            WHERE sandbox_id = this_sandbox AND (below IS NULL OR id < below)
            ORDER BY id desc
            LIMIT page_size
        ) page
    )
    FROM public.sandboxes
    WHERE id = this_sandbox AND user_id = this_user
$$;

CREATE FUNCTION public.backend_delete_old_sandboxes(
    horizon timestamptz, batch_size integer
) RETURNS jsonb
LANGUAGE sql SET search_path = '' AS $$
    WITH deleted AS (
        DELETE FROM public.sandboxes WHERE id IN (
            SELECT id FROM public.sandboxes
            WHERE ended_at < horizon AND task_id IS NULL
            ORDER BY ended_at
            LIMIT batch_size
        ) RETURNING id
    )
    SELECT to_jsonb(count(*)) FROM deleted
$$;

REVOKE ALL ON FUNCTION
  public.backend_add_sandbox, public.backend_set_sandbox, public.backend_move_sandbox,
  public.backend_mark_sandboxes, public.backend_record_task_sandbox,
  public.backend_list_live_sandboxes, public.backend_record_sandbox_operation,
  public.backend_list_sandbox_operations, public.backend_delete_old_sandboxes
  FROM public, anon, authenticated;
GRANT EXECUTE ON FUNCTION
  public.backend_add_sandbox, public.backend_set_sandbox, public.backend_move_sandbox,
  public.backend_mark_sandboxes, public.backend_record_task_sandbox,
  public.backend_list_live_sandboxes, public.backend_record_sandbox_operation,
  public.backend_list_sandbox_operations, public.backend_delete_old_sandboxes
  TO service_role;
