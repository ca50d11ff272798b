-- A front end adds a project with its owner, its name and its repository, and nothing else.
ALTER TABLE users
  ALTER COLUMN metadata SET DEFAULT '{}',
  ALTER COLUMN is_test_user SET DEFAULT false,
  ALTER COLUMN created_at SET DEFAULT now(),
  ALTER COLUMN updated_at SET DEFAULT now();
ALTER TABLE projects
  ALTER COLUMN is_active SET DEFAULT true,
  ALTER COLUMN settings SET DEFAULT '{}',
  ALTER COLUMN created_at SET DEFAULT now(),
  ALTER COLUMN updated_at SET DEFAULT now();
ALTER TABLE tasks
  ALTER COLUMN status SET DEFAULT 'pending',
  ALTER COLUMN agent SET DEFAULT 'claude',
  ALTER COLUMN target_branch SET DEFAULT 'main',
  ALTER COLUMN attempt SET DEFAULT 0,
  ALTER COLUMN chat_messages SET DEFAULT '[]',
  ALTER COLUMN prompt_preview SET DEFAULT '',
  ALTER COLUMN prompt_characters SET DEFAULT 0,
  ALTER COLUMN created_at SET DEFAULT now(),
  ALTER COLUMN updated_at SET DEFAULT now();

-- For those who do not say when: a front end may not, and the backend does, to the microsecond.
CREATE OR REPLACE FUNCTION set_updated_at() RETURNS trigger
LANGUAGE plpgsql SET search_path = '' AS $function$
BEGIN
  IF new.updated_at IS NOT DISTINCT FROM old.updated_at THEN
    new.updated_at := now();
  END IF;
  RETURN new;
END
$function$;
CREATE OR REPLACE TRIGGER users_set_updated_at BEFORE UPDATE ON users
  FOR EACH ROW EXECUTE FUNCTION set_updated_at();
CREATE OR REPLACE TRIGGER projects_set_updated_at BEFORE UPDATE ON projects
  FOR EACH ROW EXECUTE FUNCTION set_updated_at();
