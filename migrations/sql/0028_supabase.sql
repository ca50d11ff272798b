REVOKE ALL ON FUNCTION
  public.engine_sandboxes, public.engine_limit_sandboxes, public.engine_return_expired,
  public.engine_claim_all, public.engine_claim_within
  FROM public, anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION public.engine_sandboxes, public.engine_limit_sandboxes TO service_role;
