-- A completed task that asks for a pull request makes it due, with the token that the task had. It
-- belongs to the status of the row, whichever verb writes it.
CREATE FUNCTION public.task_pull_follow() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF new.status <> 'completed' THEN
        DELETE FROM public.automatic_pulls WHERE task_id = new.id;
    ELSIF old.status = 'running' AND new.execution_metadata -> 'auto_pr' = 'true'::jsonb THEN
        INSERT INTO public.automatic_pulls AS pull (task_id, user_id, ciphertext, due_at, tries)
        VALUES (
            new.id, new.user_id,
            (SELECT ciphertext FROM public.task_secrets WHERE task_id = new.id),
            coalesce(new.completed_at, clock_timestamp()), 0
        )
        ON CONFLICT (task_id) DO UPDATE SET
            ciphertext = coalesce(excluded.ciphertext, pull.ciphertext),
            due_at = excluded.due_at, tries = 0, server = NULL;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER tasks_pull_follow AFTER UPDATE OF status ON tasks
  FOR EACH ROW WHEN (new.status IN ('completed', 'failed', 'cancelled'))
  EXECUTE FUNCTION public.task_pull_follow();
