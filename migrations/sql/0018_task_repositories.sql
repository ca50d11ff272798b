ALTER TABLE public.task_repositories ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.task_repositories FROM public, anon, authenticated;
GRANT ALL ON public.task_repositories TO service_role;
GRANT SELECT ON public.task_repositories TO authenticated;
CREATE POLICY "Users read the repositories of their own tasks" ON public.task_repositories
  FOR SELECT TO authenticated USING (EXISTS (
    SELECT FROM public.tasks WHERE tasks.id = task_id AND tasks.user_id = (SELECT auth.uid())
  ));

-- Adds a task with its further repositories, and the answer to the request that asked for it.
CREATE OR REPLACE FUNCTION public.backend_create_task_over(
    task jsonb, repositories jsonb, message jsonb, ciphertext bytea, this_user uuid,
    this_server text, this_key text
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    added jsonb := public.backend_create_task(task, message, ciphertext, this_user, this_server);
BEGIN
    IF added IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO public.task_repositories (
        task_id, position, name, repo_url, target_branch, has_patch
    )
    SELECT
        (added ->> 'id')::bigint, given.position, given.name, given.repo_url,
        given.target_branch, given.has_patch
    FROM jsonb_populate_recordset(NULL::public.task_repositories, repositories) given;
    IF this_key IS NOT NULL THEN
        UPDATE public.request_keys SET answer = jsonb_build_object('task_id', added -> 'id')
        WHERE user_id = this_user AND key = this_key;
    END IF;
    RETURN added;
END
$$;

CREATE OR REPLACE FUNCTION public.backend_list_repositories(
    this_user uuid, this_task bigint, with_texts boolean
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT (
        SELECT coalesce(jsonb_agg(to_jsonb(one) ORDER BY one.position), '[]')
        FROM (
            SELECT
                position, name, repo_url, target_branch, base_commit, tree_hash, commit_hash,
                changed_files, additions, deletions, notes, secret_files, has_patch,
                pr_branch, pr_number, pr_url, pr_commit, pr_state,
                CASE WHEN with_texts THEN git_diff END AS git_diff,
                CASE WHEN with_texts THEN git_patch END AS git_patch
            FROM public.task_repositories
            WHERE task_id = this_task
        ) one
    )
    FROM public.tasks
    WHERE id = this_task AND user_id = this_user
$$;

-- As backend_finish_run, with the results of the task's further repositories.
CREATE OR REPLACE FUNCTION public.backend_finish_run_over(
    this_task bigint,
    this_server text,
    new_status text,
    changes jsonb,
    message jsonb,
    file_changes jsonb,
    events jsonb,
    after_sequence integer,
    turn jsonb,
    goes_on boolean,
    next_fields jsonb,
    usage jsonb,
    repositories jsonb
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    given jsonb;
BEGIN
    PERFORM 1 FROM public.tasks
    WHERE id = this_task AND status = 'running' AND server = this_server FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN NULL;
    END IF;
    FOR given IN SELECT one FROM jsonb_array_elements(repositories) one LOOP
        UPDATE public.task_repositories stored SET (
            target_branch, base_commit, tree_hash, commit_hash, additions, deletions, has_patch,
            changed_files, notes, secret_files, git_diff, git_patch
        ) = (
            SELECT
                changed.target_branch, changed.base_commit, changed.tree_hash,
                changed.commit_hash, changed.additions, changed.deletions, changed.has_patch,
                changed.changed_files, changed.notes, changed.secret_files, changed.git_diff,
                changed.git_patch
            FROM jsonb_populate_record(stored, given) changed
        )
        WHERE task_id = this_task AND position = (given ->> 'position')::integer;
    END LOOP;
    RETURN public.backend_finish_run(
        this_task, this_server, new_status, changes, message, file_changes, events,
        after_sequence, turn, goes_on, next_fields, usage
    );
END
$$;

-- Stores the pull request of a further repository.
CREATE OR REPLACE FUNCTION public.backend_set_repository(
    this_user uuid, this_task bigint, this_position integer, changes jsonb
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    UPDATE public.tasks SET updated_at = clock_timestamp()
    WHERE id = this_task AND user_id = this_user;
    IF NOT found THEN
        RETURN jsonb_build_object('outcome', 'no_task');
    END IF;
    UPDATE public.task_repositories stored
    SET (pr_branch, pr_number, pr_url, pr_commit, pr_state) = (
        SELECT
            changed.pr_branch, changed.pr_number, changed.pr_url, changed.pr_commit,
            changed.pr_state
        FROM jsonb_populate_record(stored, changes) changed
    )
    WHERE task_id = this_task AND position = this_position;
    IF NOT found THEN
        RETURN jsonb_build_object('outcome', 'no_repository');
    END IF;
    RETURN jsonb_build_object('outcome', 'stored', 'task', public.backend_task_row(this_task));
END
$$;

-- Returns tasks with their turns, further repositories and events, each as one text, until the texts are large enough.
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
            'repositories', (
                SELECT coalesce(
                    jsonb_agg(
                        to_jsonb(further) - 'task_id' - 'has_patch' ORDER BY further.position
                    ), '[]'
                )
                FROM public.task_repositories further WHERE further.task_id = one
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
