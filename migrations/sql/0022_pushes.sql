-- Stores a pushed commit with the projects of its repository; returns how many there are.
CREATE OR REPLACE FUNCTION public.backend_record_push(
    repo_urls text[], this_commit text
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    marked bigint;
BEGIN
    UPDATE public.projects SET pushed_commit = this_commit
    WHERE lower(rtrim(repo_url, '/')) = ANY (repo_urls);
    GET DIAGNOSTICS marked = ROW_COUNT;
    RETURN to_jsonb(marked);
END
$$;

-- Claims a task, with the turn to run and the newest push to its project's repository.
CREATE OR REPLACE FUNCTION public.backend_claim_turn(
    this_task bigint, this_server text, again boolean
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    claimed jsonb := public.backend_claim_task(this_task, this_server, again);
BEGIN
    RETURN claimed || jsonb_build_object(
        'turn', (
            SELECT public.backend_turn_row(turn) FROM public.task_turns turn
            WHERE turn.task_id = this_task AND turn.status = 'running'
        ),
        'is_interrupted', EXISTS (
            SELECT FROM public.task_turns turn
            JOIN public.task_turns later USING (task_id)
            WHERE turn.task_id = this_task AND turn.status = 'running'
                AND later.interrupts = turn.number
        ),
        'pushed_commit', (
            SELECT project.pushed_commit FROM public.tasks task
            JOIN public.projects project ON project.id = task.project_id
            WHERE task.id = this_task
        )
    );
END
$$;
