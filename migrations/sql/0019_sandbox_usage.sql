-- The sums of the records of a user, or of all users, by one of their columns. Records of sandboxes
-- that belong to no task have the task 0.
CREATE OR REPLACE FUNCTION public.backend_list_usage(
    this_user uuid, first_day text, last_day text, group_by text, most integer
) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT coalesce(jsonb_agg(to_jsonb(page) - 'place' ORDER BY place), '[]')
    FROM (
        SELECT
            row_number() OVER (ORDER BY number desc NULLS LAST, key desc NULLS LAST) AS place,
            key,
            count(DISTINCT nullif(task_id, 0)) AS tasks,
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
                CASE group_by
                    WHEN 'project' THEN project_id WHEN 'task' THEN nullif(task_id, 0)
                END AS number,
                CASE group_by
                    WHEN 'day' THEN day
                    WHEN 'project' THEN project_id::text
                    WHEN 'agent' THEN agent
                    WHEN 'task' THEN nullif(task_id, 0)::text
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

-- Stores what a sandbox has used; false without it.
CREATE FUNCTION public.backend_count_sandbox(
    this_sandbox bigint, usage jsonb, is_final boolean
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    UPDATE public.sandboxes SET is_counted = is_final WHERE id = this_sandbox;
    IF NOT found THEN
        RETURN 'false'::jsonb;
    END IF;
    PERFORM public.backend_store_usage(usage);
    RETURN 'true'::jsonb;
END
$$;
