ALTER TABLE public.archived_tasks ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.archived_tasks FROM public, anon, authenticated;
GRANT ALL ON public.archived_tasks TO service_role;

-- Returns the marks of ended tasks that have not changed since then, the oldest first.
CREATE OR REPLACE FUNCTION public.backend_list_old_tasks(
    since timestamptz, page_size integer
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(jsonb_agg(to_jsonb(old) ORDER BY old.updated_at, old.id), '[]')
    FROM (
        SELECT id, user_id, updated_at, (
            SELECT coalesce(max(event.sequence), 0)
            FROM public.task_events event WHERE event.task_id = task.id
        ) AS last_sequence
        FROM public.tasks task
        WHERE status IN ('completed', 'failed', 'cancelled') AND updated_at < since
        ORDER BY updated_at, id
        LIMIT page_size
    ) old
$$;

-- Returns tasks with their turns and events, each as one text, until the texts are large enough.
CREATE OR REPLACE FUNCTION public.backend_get_task_records(
    task_ids bigint[], max_bytes bigint
) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
DECLARE
    records jsonb := '[]';
    size bigint := 0;
    one bigint;
    content text;
BEGIN
    FOREACH one IN ARRAY task_ids LOOP
        SELECT jsonb_build_object(
            'task', to_jsonb(task)
                - '{has_patch,execution_summary,server,stop_requested}'::text[],
            'turns', (
                SELECT coalesce(jsonb_agg(to_jsonb(turn) - 'task_id' ORDER BY turn.number), '[]')
                FROM public.task_turns turn WHERE turn.task_id = one
            ),
            'events', (
                SELECT coalesce(
                    jsonb_agg(to_jsonb(event) - 'task_id' ORDER BY event.sequence), '[]'
                )
                FROM public.task_events event WHERE event.task_id = one
            )
        )::text INTO content
        FROM public.tasks task WHERE task.id = one;
        IF content IS NOT NULL THEN
            records := records || jsonb_build_array(jsonb_build_object('id', one, 'text', content));
            size := size + length(content);
        END IF;
        EXIT WHEN size > max_bytes;
    END LOOP;
    RETURN records;
END
$$;

-- Deletes ended tasks that have not changed; returns their numbers. They are locked in one order
-- and without waiting, so that servers never block each other.
CREATE OR REPLACE FUNCTION public.backend_delete_old_tasks(
    marks jsonb, this_file text, moment timestamptz, this_server text
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    locked bigint[];
    gone jsonb;
BEGIN
    SELECT array_agg(found.id) INTO locked
    FROM (
        SELECT task.id FROM public.tasks task
        WHERE task.id IN (SELECT (mark ->> 'id')::bigint FROM jsonb_array_elements(marks) mark)
        ORDER BY task.id
        FOR UPDATE SKIP LOCKED
    ) found;
    WITH deleted AS (
        DELETE FROM public.tasks task
        USING jsonb_to_recordset(marks)
            AS mark (id bigint, updated_at timestamptz, last_sequence integer)
        WHERE task.id = mark.id
            AND task.id = ANY (locked)
            AND task.status IN ('completed', 'failed', 'cancelled')
            AND task.updated_at = mark.updated_at
            AND mark.last_sequence = (
                SELECT coalesce(max(event.sequence), 0)
                FROM public.task_events event WHERE event.task_id = task.id
            )
        RETURNING task.id, task.user_id
    ), remembered AS (
        INSERT INTO public.archived_tasks (user_id, task_id, archived_at, file, server)
        SELECT user_id, id, moment, this_file, this_server FROM deleted
        WHERE this_file IS NOT NULL
    )
    SELECT coalesce(jsonb_agg(id), '[]') INTO gone FROM deleted;
    RETURN gone;
END
$$;
REVOKE ALL ON FUNCTION
  public.backend_list_old_tasks, public.backend_get_task_records, public.backend_delete_old_tasks
  FROM public, anon, authenticated;
GRANT EXECUTE ON FUNCTION
  public.backend_list_old_tasks, public.backend_get_task_records, public.backend_delete_old_tasks
  TO service_role;
