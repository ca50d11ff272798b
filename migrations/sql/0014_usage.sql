ALTER TABLE public.usage_records ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.usage_records FROM public, anon, authenticated;
GRANT ALL ON public.usage_records TO service_role;

-- Stores a record in place of an earlier one of the same run, which keeps its day.
CREATE OR REPLACE FUNCTION public.backend_store_usage(usage jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    INSERT INTO public.usage_records
    SELECT * FROM jsonb_populate_record(null::public.usage_records, usage)
    ON CONFLICT (task_id, run) DO UPDATE SET
        sandbox_milliseconds = excluded.sandbox_milliseconds,
        sandbox_micro_usd = excluded.sandbox_micro_usd,
        model_micro_usd = excluded.model_micro_usd,
        input_tokens = excluded.input_tokens,
        cached_input_tokens = excluded.cached_input_tokens,
        output_tokens = excluded.output_tokens,
        unpriced_tokens = excluded.unpriced_tokens,
        git_operations = excluded.git_operations,
        failed_git_operations = excluded.failed_git_operations;
END
$$;

CREATE OR REPLACE FUNCTION public.backend_record_usage(
    this_server text, usage jsonb
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM 1 FROM public.tasks
    WHERE id = (usage ->> 'task_id')::bigint AND status = 'running' AND server = this_server
    FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN 'false'::jsonb;
    END IF;
    PERFORM public.backend_store_usage(usage);
    RETURN 'true'::jsonb;
END
$$;

CREATE OR REPLACE FUNCTION public.backend_add_usage(this_user uuid, usage jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    PERFORM 1 FROM public.tasks
    WHERE id = (usage ->> 'task_id')::bigint AND user_id = this_user;
    IF NOT found THEN
        RETURN 'false'::jsonb;
    END IF;
    PERFORM public.backend_store_usage(usage);
    RETURN 'true'::jsonb;
END
$$;

-- Stores the end of a turn with what its run has used.
CREATE OR REPLACE FUNCTION public.backend_finish_run(
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
    usage jsonb
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    answer jsonb;
BEGIN
    answer := public.backend_finish_turn(
        this_task, this_server, new_status, changes, message, file_changes, events,
        after_sequence, turn, goes_on, next_fields
    );
    IF answer IS NOT NULL AND usage IS NOT NULL THEN
        PERFORM public.backend_store_usage(usage);
    END IF;
    RETURN answer;
END
$$;

-- The sums of the records of a user, or of all users, by one of their columns.
CREATE OR REPLACE FUNCTION public.backend_list_usage(
    this_user uuid, first_day text, last_day text, group_by text, most integer
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(jsonb_agg(to_jsonb(page) - 'place' ORDER BY place), '[]')
    FROM (
        SELECT
            row_number() OVER (ORDER BY number desc NULLS LAST, key desc NULLS LAST) AS place,
            key,
            count(DISTINCT task_id) AS tasks,
            sum(sandbox_milliseconds) AS sandbox_milliseconds,
            sum(sandbox_micro_usd) AS sandbox_micro_usd,
            sum(model_micro_usd) AS model_micro_usd,
            sum(input_tokens) AS input_tokens,
            sum(cached_input_tokens) AS cached_input_tokens,
            sum(output_tokens) AS output_tokens,
            sum(unpriced_tokens) AS unpriced_tokens,
            sum(git_operations) AS git_operations,
            sum(failed_git_operations) AS failed_git_operations
        FROM (
            SELECT
                record.*,
                CASE group_by WHEN 'project' THEN project_id WHEN 'task' THEN task_id END AS number,
                CASE group_by
                    WHEN 'day' THEN day
                    WHEN 'project' THEN project_id::text
                    WHEN 'agent' THEN agent
                    WHEN 'task' THEN task_id::text
                    WHEN 'user' THEN user_id::text
                END AS key
            FROM public.usage_records record
            WHERE (this_user IS NULL OR user_id = this_user)
                AND day >= first_day AND day <= last_day
        ) keyed
        GROUP BY number, key
        ORDER BY number desc NULLS LAST, key desc NULLS LAST
        LIMIT most
    ) page
$$;

CREATE OR REPLACE FUNCTION public.backend_get_spending(
    this_user uuid, this_task bigint, this_project bigint, this_day text, first_of_month text,
    but_run text
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT jsonb_build_object(
        'task', coalesce(sum(cost) FILTER (WHERE task_id = this_task), 0),
        'day', coalesce(sum(cost) FILTER (WHERE day = this_day), 0),
        'month', coalesce(sum(cost) FILTER (WHERE day >= first_of_month), 0),
        'project_month', coalesce(
            sum(cost) FILTER (WHERE day >= first_of_month AND project_id = this_project), 0
        ),
        'project_settings', (
            SELECT settings FROM public.projects WHERE id = this_project AND user_id = this_user
        )
    )
    FROM (
        SELECT task_id, day, project_id, sandbox_micro_usd + model_micro_usd AS cost
        FROM public.usage_records
        WHERE user_id = this_user
            AND (day >= first_of_month OR task_id = this_task)
            AND NOT (task_id = this_task AND run = but_run)
    ) costs
$$;

REVOKE ALL ON FUNCTION
  public.backend_store_usage, public.backend_record_usage, public.backend_add_usage,
  public.backend_finish_run, public.backend_list_usage, public.backend_get_spending
  FROM public, anon, authenticated;
GRANT EXECUTE ON FUNCTION
  public.backend_store_usage, public.backend_record_usage, public.backend_add_usage,
  public.backend_finish_run, public.backend_list_usage, public.backend_get_spending
  TO service_role;
