-- A group ends with its last task. Whoever may delete the task may have no right to the group.
CREATE OR REPLACE FUNCTION delete_empty_group() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $function$
BEGIN
  DELETE FROM public.task_groups WHERE id = old.group_id
    AND NOT EXISTS (SELECT FROM public.tasks WHERE group_id = old.group_id);
  RETURN old;
END
$function$;
CREATE OR REPLACE TRIGGER tasks_delete_empty_group AFTER DELETE ON tasks
  FOR EACH ROW WHEN (old.group_id IS NOT NULL) EXECUTE FUNCTION delete_empty_group();
