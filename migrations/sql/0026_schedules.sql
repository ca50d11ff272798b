-- The task of a moment of a schedule is created while the moment is due, and once: two servers that
-- start it wait for each other here. Of a group the first task has the moment.
CREATE FUNCTION public.task_start_schedule() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    UPDATE public.schedules SET
        started_for = next_run_at, last_run_at = new.created_at, last_task_id = new.id,
        last_error = NULL, last_error_code = NULL, refusals = 0
    WHERE id = (new.execution_metadata ->> 'schedule_id')::bigint
        AND user_id = new.user_id AND is_enabled AND started_for IS DISTINCT FROM next_run_at
        AND next_run_at = (new.execution_metadata ->> 'scheduled_for')::timestamptz;
    IF NOT found THEN
        RAISE EXCEPTION 'the moment of the schedule is not due' USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER tasks_start_schedule AFTER INSERT ON tasks
  FOR EACH ROW WHEN (
    new.status = 'pending' AND new.execution_metadata -> 'scheduled_for' IS NOT NULL
  )
  EXECUTE FUNCTION public.task_start_schedule();
