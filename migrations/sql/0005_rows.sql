-- What the functions of the gateway have in common. Each runs with the rights of its caller.

CREATE OR REPLACE FUNCTION public.backend_revision() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT jsonb_build_object('revision', max(version_num)) FROM public.alembic_version
$$;

-- A task without its diff and patch, and without the contents of files in its metadata.
CREATE OR REPLACE FUNCTION public.backend_task_row(this_task bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT to_jsonb(task)
    FROM (
        SELECT
            id, user_id, project_id, status, agent, repo_url, target_branch, chat_messages,
            created_at, updated_at, started_at, completed_at, pr_branch, pr_number, pr_url,
            container_id, commit_hash, has_patch, changed_files, error, error_code, error_stage,
            stage, attempt, execution_summary AS execution_metadata
        FROM public.tasks
        WHERE id = this_task
    ) task
$$;

-- Sets the columns that `changes` names; what it does not name is not touched, nor read.
CREATE OR REPLACE FUNCTION public.backend_set_columns(
    this_table regclass, this_id bigint, changes jsonb
) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    columns text := (SELECT string_agg(format('%I', name), ', ') FROM jsonb_object_keys(changes) name);
BEGIN
    EXECUTE format(
        'UPDATE %1$s SET (%2$s) = (SELECT %2$s FROM jsonb_populate_record(null::%1$s, $2))'
        ' WHERE id = $1',
        this_table, columns
    ) USING this_id, changes;
END
$$;

-- Appends to the events of a task whose row is locked. What is stored beyond `after_sequence` is
-- the beginning of these events and is skipped.
CREATE OR REPLACE FUNCTION public.backend_append_events(
    this_task bigint, events jsonb, after_sequence integer
) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    last_sequence integer;
BEGIN
    IF jsonb_array_length(events) = 0 THEN
        RETURN;
    END IF;
    SELECT coalesce(max(sequence), 0) INTO last_sequence
    FROM public.task_events WHERE task_id = this_task;
    INSERT INTO public.task_events (task_id, sequence, at, kind, data)
    SELECT
        this_task,
        last_sequence + row_number() OVER (ORDER BY place),
        (event ->> 'at')::timestamptz,
        event ->> 'kind',
        event -> 'data'
    FROM jsonb_array_elements(events) WITH ORDINALITY AS batch (event, place)
    WHERE place > greatest(last_sequence - coalesce(after_sequence, last_sequence), 0);
END
$$;

-- A message with the moment it is appended at, written as clients read it.
CREATE OR REPLACE FUNCTION public.backend_stamped(message jsonb, moment timestamptz) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT message || jsonb_build_object(
        'timestamp', to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
    )
$$;
