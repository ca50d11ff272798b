-- The engine's part follows the rows of tasks, in their transactions, whichever verb writes them.

-- Ends the engine's task of a row that is deleted: with its end, with its task, or given back.
CREATE FUNCTION public.engine_end() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    IF to_regnamespace('absurd') IS NULL THEN
        RETURN NULL;
    END IF;
    -- Deleting what was never claimed, or is another's by now, cancels it. A refusal says that the
    -- engine has ended it or does not know it any more.
    BEGIN
        IF old.run IS NOT NULL THEN
            PERFORM absurd.complete_run('tasks', old.run);
            RETURN NULL;
        END IF;
    EXCEPTION WHEN SQLSTATE 'AB001' OR SQLSTATE 'AB002' OR raise_exception THEN
        NULL;
    END;
    BEGIN
        PERFORM absurd.cancel_task('tasks', old.engine_task);
    EXCEPTION WHEN raise_exception THEN
        NULL;
    END;
    RETURN NULL;
END
$$;
CREATE TRIGGER engine_tasks_end AFTER DELETE ON engine_tasks
  FOR EACH ROW EXECUTE FUNCTION public.engine_end();

CREATE FUNCTION public.engine_follow() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    share integer;
BEGIN
    IF new.status NOT IN ('pending', 'running') THEN
        DELETE FROM public.engine_tasks WHERE task_id = new.id;
    END IF;
    share := public.engine_share();
    IF share > 0 THEN
        PERFORM public.engine_admit_user(new.user_id, share, true);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER tasks_engine_added AFTER INSERT ON tasks
  FOR EACH ROW WHEN (new.status = 'pending') EXECUTE FUNCTION public.engine_follow();
CREATE TRIGGER tasks_engine_moved AFTER UPDATE OF status ON tasks
  FOR EACH ROW WHEN (old.status <> new.status AND new.status <> 'running')
  EXECUTE FUNCTION public.engine_follow();
