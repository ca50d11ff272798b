-- Supabase lets browsers query tables, so there each table says who may do what.
DECLARE
  backend_tables CONSTANT text[] :=
    ARRAY['task_secrets', 'task_runs', 'refresh_tokens', 'servers', 'alembic_version'];
  shared_tables CONSTANT text[] := ARRAY['users', 'projects', 'tasks', 'task_events'];
  item record;
BEGIN
  -- Supabase opens each new table and function to everybody. Policies add up, so one that
  -- somebody made for an older schema would stay a way in.
  FOR item IN SELECT polname, polrelid::regclass FROM pg_policy
    WHERE polrelid IN (
      SELECT to_regclass('public.' || name) FROM unnest(shared_tables || backend_tables) AS name
    ) LOOP
    EXECUTE format('DROP POLICY %I ON %s', item.polname, item.polrelid);
  END LOOP;
  FOR item IN SELECT unnest(shared_tables || backend_tables) AS relation LOOP
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', item.relation);
    EXECUTE format('REVOKE ALL ON public.%I FROM public, anon, authenticated', item.relation);
    EXECUTE format('GRANT ALL ON public.%I TO service_role', item.relation);
  END LOOP;
  -- The numbers of projects are drawn without a right to their sequence.
  FOR item IN SELECT pg_get_serial_sequence('public.' || name, 'id') AS relation
    FROM unnest(ARRAY['projects', 'tasks']) AS name LOOP
    EXECUTE format('REVOKE ALL ON SEQUENCE %s FROM public, anon, authenticated', item.relation);
    EXECUTE format('GRANT ALL ON SEQUENCE %s TO service_role', item.relation);
  END LOOP;

  -- `(SELECT auth.uid())` is asked once for a statement, `auth.uid()` once for each row.
  GRANT SELECT, UPDATE (full_name, avatar_url, github_username, github_token, preferences)
    ON public.users TO authenticated;
  CREATE POLICY "Users read their own row" ON public.users
    FOR SELECT TO authenticated USING (id = (SELECT auth.uid()));
  CREATE POLICY "Users change their own row" ON public.users
    FOR UPDATE TO authenticated
    USING (id = (SELECT auth.uid())) WITH CHECK (id = (SELECT auth.uid()));

  GRANT SELECT, DELETE,
    INSERT (user_id, name, description, repo_url, repo_owner, repo_name, is_active, settings),
    UPDATE (name, description, repo_url, repo_owner, repo_name, is_active, settings)
    ON public.projects TO authenticated;
  CREATE POLICY "Users read their own projects" ON public.projects
    FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));
  CREATE POLICY "Users add projects of their own" ON public.projects
    FOR INSERT TO authenticated WITH CHECK (user_id = (SELECT auth.uid()));
  CREATE POLICY "Users change their own projects" ON public.projects
    FOR UPDATE TO authenticated
    USING (user_id = (SELECT auth.uid())) WITH CHECK (user_id = (SELECT auth.uid()));
  -- With unfinished tasks it is for the backend to delete, which ends their agents first.
  CREATE POLICY "Users delete their own projects" ON public.projects
    FOR DELETE TO authenticated USING (
      user_id = (SELECT auth.uid()) AND NOT EXISTS (
        SELECT FROM public.tasks
        WHERE project_id = projects.id AND status IN ('pending', 'running')
      )
    );

  -- What a task holds is run and pushed, so only the backend writes it.
  GRANT SELECT ON public.tasks, public.task_events TO authenticated;
  CREATE POLICY "Users read their own tasks" ON public.tasks
    FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));
  CREATE POLICY "Users read the events of their own tasks" ON public.task_events
    FOR SELECT TO authenticated USING (EXISTS (
      SELECT FROM public.tasks WHERE tasks.id = task_id AND tasks.user_id = (SELECT auth.uid())
    ));

  -- A sign-up must not fail for what somebody put in their profile: without the row here the
  -- backend makes one when it meets the user.
  CREATE OR REPLACE FUNCTION public.handle_new_user() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $function$
  BEGIN
    INSERT INTO public.users (id, email, full_name, avatar_url, github_username) VALUES (
      new.id,
      new.email,
      new.raw_user_meta_data ->> 'full_name',
      new.raw_user_meta_data ->> 'avatar_url',
      new.raw_user_meta_data ->> 'user_name'
    ) ON CONFLICT (id) DO UPDATE SET email = excluded.email;
    RETURN new;
  EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'No row in public.users for %: %', new.id, SQLERRM;
    RETURN new;
  END
  $function$;
  CREATE OR REPLACE TRIGGER on_auth_user_created AFTER INSERT OR UPDATE OF email ON auth.users
    FOR EACH ROW EXECUTE FUNCTION public.handle_new_user();

  -- Here a failure is right: an account that seems deleted would leave its rows behind.
  CREATE OR REPLACE FUNCTION public.handle_deleted_user() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $function$
  BEGIN
    DELETE FROM public.users WHERE id = old.id;
    RETURN old;
  END
  $function$;
  CREATE OR REPLACE TRIGGER on_auth_user_deleted AFTER DELETE ON auth.users
    FOR EACH ROW EXECUTE FUNCTION public.handle_deleted_user();

  REVOKE ALL ON FUNCTION
    public.set_updated_at(), public.handle_new_user(), public.handle_deleted_user()
    FROM public, anon, authenticated;
  GRANT EXECUTE ON FUNCTION
    public.set_updated_at(), public.handle_new_user(), public.handle_deleted_user()
    TO service_role;

  -- Who signed up before this.
  INSERT INTO public.users (id, email, full_name, avatar_url, github_username)
  SELECT id, email, raw_user_meta_data ->> 'full_name', raw_user_meta_data ->> 'avatar_url',
    raw_user_meta_data ->> 'user_name'
  FROM auth.users ON CONFLICT (id) DO NOTHING;
END;
