-- What a Supabase project holds before its first migration, as far as this backend can tell.
-- Run by the superuser in a new database. Roles belong to the whole server: they may be there.

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'project_owner') THEN
    RETURN;
  END IF;
  CREATE ROLE anon NOLOGIN NOINHERIT;
  CREATE ROLE authenticated NOLOGIN NOINHERIT;
  CREATE ROLE service_role NOLOGIN NOINHERIT BYPASSRLS;
  -- PostgREST signs in as this one and then becomes the role that a token names.
  CREATE ROLE authenticator LOGIN NOINHERIT;
  GRANT anon, authenticated, service_role TO authenticator;
  ALTER ROLE authenticator SET statement_timeout = '8s';
  ALTER ROLE authenticator SET lock_timeout = '8s';
  ALTER ROLE authenticated SET statement_timeout = '8s';
  ALTER ROLE anon SET statement_timeout = '3s';
  -- The sign-in service. It has no rights in schema public: a trigger on auth.users that writes
  -- there has to be a security definer that names its schemas.
  CREATE ROLE supabase_auth_admin LOGIN NOINHERIT CREATEROLE;
  ALTER ROLE supabase_auth_admin SET search_path = auth;
  -- Whom migrations run as; Supabase calls it postgres, and it is no superuser there either.
  CREATE ROLE project_owner LOGIN CREATEDB CREATEROLE BYPASSRLS;
  GRANT anon, authenticated, service_role, authenticator TO project_owner WITH ADMIN OPTION;
END
$$;

DO $$
BEGIN
  EXECUTE format('ALTER DATABASE %I OWNER TO project_owner', current_database());
END
$$;

GRANT USAGE ON SCHEMA public TO project_owner, anon, authenticated, service_role;

-- Every table, function and sequence that a migration makes in schema public is open to all three
-- roles until the migration closes it.
ALTER DEFAULT PRIVILEGES FOR ROLE project_owner IN SCHEMA public
  GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE project_owner IN SCHEMA public
  GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES FOR ROLE project_owner IN SCHEMA public
  GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;

CREATE SCHEMA auth AUTHORIZATION supabase_auth_admin;
GRANT USAGE ON SCHEMA auth TO project_owner, anon, authenticated, service_role;

CREATE TABLE auth.users (
  instance_id uuid,
  id uuid PRIMARY KEY,
  aud text,
  role text,
  email text,
  encrypted_password text,
  email_confirmed_at timestamptz,
  last_sign_in_at timestamptz,
  raw_app_meta_data jsonb,
  raw_user_meta_data jsonb,
  is_super_admin boolean,
  is_anonymous boolean NOT NULL DEFAULT false,
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz DEFAULT now(),
  banned_until timestamptz,
  deleted_at timestamptz
);
CREATE UNIQUE INDEX users_email_key ON auth.users (email);
CREATE TABLE auth.sessions (
  id uuid PRIMARY KEY,
  user_id uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
  created_at timestamptz DEFAULT now(),
  not_after timestamptz
);
ALTER TABLE auth.sessions OWNER TO supabase_auth_admin;
ALTER TABLE auth.sessions ENABLE ROW LEVEL SECURITY;
GRANT ALL ON auth.sessions TO project_owner;
ALTER TABLE auth.users OWNER TO supabase_auth_admin;
ALTER TABLE auth.users ENABLE ROW LEVEL SECURITY;
GRANT ALL ON auth.users TO project_owner;

CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb
$$;
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$
  SELECT (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;
CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
$$;
CREATE FUNCTION auth.email() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
$$;

-- PostgREST hears of every change of the schema, whoever makes it.
CREATE SCHEMA extensions;
CREATE FUNCTION extensions.tell_postgrest() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  NOTIFY pgrst, 'reload schema';
END
$$;
CREATE EVENT TRIGGER tell_postgrest_of_changes ON ddl_command_end
  EXECUTE FUNCTION extensions.tell_postgrest();
CREATE EVENT TRIGGER tell_postgrest_of_drops ON sql_drop
  EXECUTE FUNCTION extensions.tell_postgrest();
