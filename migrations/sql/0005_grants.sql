-- Only the backend may call its functions. New functions are open to everybody by default.

DO $$
DECLARE
    signature regprocedure;
BEGIN
    FOR signature IN
        SELECT oid FROM pg_catalog.pg_proc
        WHERE pronamespace = 'public'::regnamespace AND starts_with(proname, 'backend_')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM public, anon, authenticated', signature);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO service_role', signature);
    END LOOP;
END
$$;
