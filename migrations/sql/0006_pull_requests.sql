ALTER TABLE public.webhook_deliveries ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.webhook_deliveries FROM public, anon, authenticated;
GRANT ALL ON public.webhook_deliveries TO service_role;

-- The two that read a task, with the columns of its pull request.
CREATE OR REPLACE FUNCTION public.backend_task_row(this_task bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT to_jsonb(task)
    FROM (
        SELECT
            id, user_id, project_id, status, agent, repo_url, target_branch, chat_messages,
            created_at, updated_at, started_at, completed_at, pr_branch, pr_number, pr_url,
            container_id, commit_hash, has_patch, changed_files, error, error_code, error_stage,
            stage, attempt, pr_commit, pr_state, execution_summary AS execution_metadata
        FROM public.tasks
        WHERE id = this_task
    ) task
$$;

CREATE OR REPLACE FUNCTION public.backend_get_task_status(
    this_user uuid, this_task bigint
) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = '' AS $$
BEGIN
    RETURN (
        SELECT to_jsonb(task)
        FROM (
            SELECT
                id, user_id, project_id, status, agent, repo_url, target_branch, chat_messages,
                created_at, updated_at, started_at, completed_at, pr_branch, pr_number, pr_url,
                container_id, commit_hash, has_patch, changed_files, error, error_code,
                error_stage, stage, attempt, pr_commit, pr_state,
                CASE
                    WHEN status IN ('completed', 'failed', 'cancelled') THEN execution_metadata
                    ELSE execution_summary
                END AS execution_metadata
            FROM public.tasks
            WHERE id = this_task AND user_id = this_user
        ) task
    );
END
$$;

-- Says whether a delivery is new, and remembers it; what is older than `horizon` is forgotten.
CREATE OR REPLACE FUNCTION public.backend_take_delivery(
    delivery text, horizon timestamptz
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    DELETE FROM public.webhook_deliveries WHERE received_at < horizon;
    INSERT INTO public.webhook_deliveries (id, received_at) VALUES (delivery, clock_timestamp())
    ON CONFLICT (id) DO NOTHING;
    RETURN to_jsonb(found);
END
$$;
REVOKE ALL ON FUNCTION public.backend_take_delivery FROM public, anon, authenticated;
GRANT EXECUTE ON FUNCTION public.backend_take_delivery TO service_role;

-- Adds a task and takes the delivery that asked for it, or neither.
CREATE OR REPLACE FUNCTION public.backend_create_task_once(
    task jsonb, message jsonb, ciphertext bytea, this_user uuid, this_server text,
    delivery text, horizon timestamptz
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    added jsonb := public.backend_create_task(task, message, ciphertext, this_user, this_server);
BEGIN
    IF added IS NOT NULL THEN
        DELETE FROM public.webhook_deliveries WHERE received_at < horizon;
        INSERT INTO public.webhook_deliveries (id, received_at)
        VALUES (delivery, clock_timestamp());
    END IF;
    RETURN added;
END
$$;
REVOKE ALL ON FUNCTION public.backend_create_task_once FROM public, anon, authenticated;
GRANT EXECUTE ON FUNCTION public.backend_create_task_once TO service_role;
