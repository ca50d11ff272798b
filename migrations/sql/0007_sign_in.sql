ALTER TABLE public.api_keys ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON public.api_keys FROM public, anon, authenticated;
GRANT ALL ON public.api_keys TO service_role;
EXECUTE format(
  'REVOKE ALL ON SEQUENCE %s FROM public, anon, authenticated',
  pg_get_serial_sequence('public.api_keys', 'id')
);
EXECUTE format(
  'GRANT ALL ON SEQUENCE %s TO service_role', pg_get_serial_sequence('public.api_keys', 'id')
);

UPDATE public.refresh_tokens SET session = ''
WHERE EXISTS (SELECT FROM auth.users account WHERE account.id = user_id);

-- Says what became of an account: active, anonymous, banned, deleted (but kept by Supabase), missing,
-- or signed_out when its session has ended. Supabase deletes sessions at sign-out and when the password changes. The rows are read
-- as JSON because older projects lack some of the columns.
CREATE OR REPLACE FUNCTION public.account_state(
    this_user uuid, this_session uuid
) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = '' AS $$
DECLARE
    account jsonb := (SELECT to_jsonb(one) FROM auth.users one WHERE one.id = this_user);
    session_end text;
BEGIN
    IF account IS NULL THEN
        RETURN 'missing';
    END IF;
    IF account ->> 'deleted_at' IS NOT NULL THEN
        RETURN 'deleted';
    END IF;
    IF (account ->> 'banned_until')::timestamptz > clock_timestamp() THEN
        RETURN 'banned';
    END IF;
    IF this_session IS NOT NULL AND to_regclass('auth.sessions') IS NOT NULL THEN
        SELECT coalesce(to_jsonb(one) ->> 'not_after', 'infinity') INTO session_end
        FROM auth.sessions one WHERE one.id = this_session AND one.user_id = this_user;
        IF NOT found OR session_end::timestamptz <= clock_timestamp() THEN
            RETURN 'signed_out';
        END IF;
    END IF;
    RETURN CASE WHEN (account ->> 'is_anonymous')::boolean THEN 'anonymous' ELSE 'active' END;
END
$$;

-- Keeps an account from being deleted until the end of the transaction.
CREATE OR REPLACE FUNCTION public.lock_account(this_user uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = '' AS $$
    SELECT 1 FROM auth.users WHERE id = this_user FOR KEY SHARE
$$;

-- Returns the user of an account and adds the row that is missing; or says why not.
CREATE OR REPLACE FUNCTION public.backend_ensure_account(
    this_user uuid, this_email text, this_session uuid, anonymous_allowed boolean
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    state text;
BEGIN
    PERFORM public.lock_account(this_user);
    state := public.account_state(this_user, this_session);
    IF state = 'active' OR (state = 'anonymous' AND anonymous_allowed) THEN
        RETURN public.backend_ensure_user(this_user, this_email);
    END IF;
    RETURN jsonb_build_object('refused', state);
END
$$;

-- As before, and a family ends at the time that was set for it. One that came from Supabase ends
-- with its account: then the answer says why.
DROP FUNCTION public.backend_rotate_refresh_token(text, text, timestamptz, timestamptz, timestamptz);
CREATE FUNCTION public.backend_rotate_refresh_token(
    this_token text, replacement text, replacement_expires_at timestamptz, moment timestamptz,
    unanswered_since timestamptz, anonymous_allowed boolean
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    token public.refresh_tokens;
    state text;
BEGIN
    PERFORM 1 FROM public.users owner
    JOIN public.refresh_tokens theirs ON theirs.user_id = owner.id
    WHERE theirs.token_hash = this_token FOR NO KEY UPDATE OF owner;
    SELECT * INTO token FROM public.refresh_tokens WHERE token_hash = this_token;
    IF NOT found THEN
        RETURN NULL;
    END IF;
    IF token.used_at <= unanswered_since
        OR (token.used_at IS NOT NULL AND token.revoked_at IS NOT NULL) THEN
        UPDATE public.refresh_tokens SET revoked_at = moment
        WHERE family = token.family AND revoked_at IS NULL;
        RETURN NULL;
    END IF;
    IF token.revoked_at IS NOT NULL OR least(token.expires_at, token.ends_at) <= moment THEN
        RETURN NULL;
    END IF;
    IF token.session IS NOT NULL THEN
        state := public.account_state(token.user_id, nullif(token.session, '')::uuid);
        IF NOT (state = 'active' OR (state = 'anonymous' AND anonymous_allowed)) THEN
            UPDATE public.refresh_tokens SET revoked_at = moment
            WHERE family = token.family AND revoked_at IS NULL;
            RETURN jsonb_build_object('refused', state);
        END IF;
    END IF;
    -- The token before this one, and a replacement that never arrived: whoever comes with either
    -- is not the owner alone.
    UPDATE public.refresh_tokens SET used_at = coalesce(used_at, moment), revoked_at = moment
    WHERE family = token.family AND revoked_at IS NULL AND token_hash <> this_token;
    UPDATE public.refresh_tokens SET used_at = coalesce(used_at, moment)
    WHERE token_hash = this_token;
    INSERT INTO public.refresh_tokens (token_hash, family, user_id, expires_at, session, ends_at)
    VALUES (
        replacement, token.family, token.user_id, replacement_expires_at, token.session,
        token.ends_at
    );
    RETURN public.backend_ensure_user(token.user_id, NULL);
END
$$;

-- Returns the added key, false without such a user, and null when the user has `maximum` keys.
CREATE OR REPLACE FUNCTION public.backend_add_api_key(
    this_user uuid, added jsonb, maximum integer
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
DECLARE
    api_key public.api_keys := jsonb_populate_record(NULL::public.api_keys, added);
BEGIN
    PERFORM 1 FROM public.users WHERE id = this_user FOR NO KEY UPDATE;
    IF NOT found THEN
        RETURN 'false'::jsonb;
    END IF;
    IF (SELECT count(*) FROM public.api_keys WHERE user_id = this_user) >= maximum THEN
        RETURN NULL;
    END IF;
    INSERT INTO public.api_keys (user_id, name, prefix, key_hash, scope, created_at, expires_at)
    VALUES (
        this_user, api_key.name, api_key.prefix, api_key.key_hash, api_key.scope,
        api_key.created_at, api_key.expires_at
    ) RETURNING * INTO api_key;
    RETURN to_jsonb(api_key);
END
$$;

-- A user that an operator added has no account, which is no reason to refuse the key.
CREATE OR REPLACE FUNCTION public.backend_find_api_key(this_prefix text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = '' AS $$
    SELECT to_jsonb(api_key) || jsonb_build_object(
        'is_blocked', public.account_state(api_key.user_id, NULL) IN ('banned', 'deleted')
    )
    FROM public.api_keys api_key WHERE api_key.prefix = this_prefix
$$;

CREATE OR REPLACE FUNCTION public.backend_record_key_use(
    this_key bigint, moment timestamptz, due timestamptz
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = '' AS $$
BEGIN
    UPDATE public.api_keys SET last_used_at = moment
    WHERE id = this_key AND (last_used_at IS NULL OR last_used_at <= due);
    RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION
  public.account_state, public.lock_account, public.backend_ensure_account,
  public.backend_rotate_refresh_token, public.backend_add_api_key, public.backend_find_api_key,
  public.backend_record_key_use
  FROM public, anon, authenticated;
GRANT EXECUTE ON FUNCTION
  public.account_state, public.lock_account, public.backend_ensure_account,
  public.backend_rotate_refresh_token, public.backend_add_api_key, public.backend_find_api_key,
  public.backend_record_key_use
  TO service_role;
