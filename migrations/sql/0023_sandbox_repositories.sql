-- Replaces the repositories of a running sandbox; false when they are not those that were seen.
CREATE FUNCTION public.backend_replace_sandbox_repositories(
    this_sandbox bigint, seen jsonb, changed jsonb
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    UPDATE public.sandboxes SET repositories = changed, updated_at = clock_timestamp()
    WHERE id = this_sandbox AND status = 'running' AND repositories = seen;
    RETURN to_jsonb(found);
END
$$;
