-- The tables of the first public version in a Supabase project, with rows of two users.
-- Run it as the project's owner, after the rows of auth.users are there.
CREATE TYPE task_status AS ENUM ('pending', 'running', 'completed', 'failed', 'cancelled');

CREATE TABLE users (
  id uuid PRIMARY KEY REFERENCES auth.users (id),
  email text,
  full_name text,
  avatar_url text,
  github_username text,
  github_token text,
  preferences jsonb DEFAULT '{}',
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz DEFAULT now()
);
CREATE TABLE projects (
  id bigserial PRIMARY KEY,
  user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  repo_url text NOT NULL,
  repo_name text NOT NULL,
  repo_owner text NOT NULL,
  name text NOT NULL,
  description text,
  is_active boolean DEFAULT true,
  settings jsonb DEFAULT '{}',
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz DEFAULT now(),
  UNIQUE (user_id, repo_url)
);
CREATE TABLE tasks (
  id bigserial PRIMARY KEY,
  user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  project_id bigint REFERENCES projects (id) ON DELETE CASCADE,
  status task_status DEFAULT 'pending',
  agent text DEFAULT 'claude',
  repo_url text,
  target_branch text DEFAULT 'main',
  pr_branch text,
  container_id text,
  commit_hash text,
  pr_number integer,
  pr_url text,
  git_diff text,
  git_patch text,
  changed_files jsonb DEFAULT '[]',
  error text,
  chat_messages jsonb DEFAULT '[]',
  execution_metadata jsonb DEFAULT '{}',
  created_at timestamptz DEFAULT now(),
  updated_at timestamptz DEFAULT now(),
  started_at timestamptz,
  completed_at timestamptz
);
CREATE INDEX idx_projects_user_id ON projects (user_id);
CREATE INDEX idx_tasks_user_id ON tasks (user_id);
CREATE INDEX idx_tasks_status ON tasks (status);

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users can view own profile" ON users FOR SELECT USING (auth.uid() = id);
CREATE POLICY "Users can update own profile" ON users FOR UPDATE USING (auth.uid() = id);
CREATE POLICY "Users can insert own profile" ON users FOR INSERT WITH CHECK (auth.uid() = id);
CREATE POLICY "Users can manage own projects" ON projects USING (auth.uid() = user_id);
CREATE POLICY "Users can manage own tasks" ON tasks USING (auth.uid() = user_id);
CREATE POLICY "Anyone can read finished tasks" ON tasks FOR SELECT USING (status = 'completed');

CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at = now();
  RETURN NEW;
END
$$;
CREATE TRIGGER update_users_updated_at BEFORE UPDATE ON users
  FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_projects_updated_at BEFORE UPDATE ON projects
  FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_tasks_updated_at BEFORE UPDATE ON tasks
  FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

CREATE FUNCTION handle_new_user() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  INSERT INTO public.users (id, email) VALUES (NEW.id, NEW.email);
  RETURN NEW;
END
$$;
CREATE TRIGGER on_auth_user_created AFTER INSERT ON auth.users
  FOR EACH ROW EXECUTE FUNCTION handle_new_user();

INSERT INTO users (id, email, full_name, github_token, preferences, created_at, updated_at) VALUES
  ('11111111-1111-4111-8111-111111111111', 'one@example.com', 'One', 'token of one',
    '{"claudeCode": {"env": {}}}', '2025-06-01T10:00:00Z', '2025-06-02T10:00:00Z'),
  ('22222222-2222-4222-8222-222222222222', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO projects (user_id, repo_url, repo_name, repo_owner, name, is_active, settings,
  updated_at) VALUES
  ('11111111-1111-4111-8111-111111111111', 'https://github.com/one/first', 'first', 'one',
    'First', true, '{"colour": "blue"}', '2025-06-02T10:00:00Z'),
  ('22222222-2222-4222-8222-222222222222', 'https://github.com/one/first', 'first', 'one',
    'The same elsewhere', NULL, NULL, NULL);
INSERT INTO tasks (user_id, project_id, status, chat_messages, git_diff, git_patch, changed_files,
  execution_metadata, error, updated_at, completed_at) VALUES
  ('11111111-1111-4111-8111-111111111111', 1, 'completed',
    '[{"role": "user", "content": "Write tests"}, {"role": "assistant", "content": "Done"}]',
    'diff', 'patch', '["a.py"]', '{"file_changes": [{"filename": "a.py"}], "seconds": 3}', NULL,
    '2025-06-03T10:00:00Z', '2025-06-03T10:00:00Z'),
  ('11111111-1111-4111-8111-111111111111', 1, 'running', '[{"content": "Half done"}]',
    NULL, NULL, NULL, NULL, NULL, '2025-06-03T10:00:00Z', NULL),
  ('11111111-1111-4111-8111-111111111111', NULL, 'pending', NULL,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  ('22222222-2222-4222-8222-222222222222', 2, 'failed', '[]', NULL, NULL, '[]', '{}',
    'It broke', '2025-06-03T10:00:00Z', NULL),
  ('22222222-2222-4222-8222-222222222222', 2, 'completed', '[]', NULL, NULL, '[]', '{}', NULL,
    '2025-06-03T10:00:00Z', NULL);
UPDATE tasks SET agent = NULL, target_branch = NULL, repo_url = NULL, created_at = NULL
WHERE id = 3;
-- The newest row went; its number must not come again.
DELETE FROM tasks WHERE id = 5;
