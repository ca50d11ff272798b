-- The same tables as somebody else made them: status as text, short ids, moments without a zone,
-- JSON as text or json, lists as arrays, no unique repositories, keys to auth.users only.
CREATE TABLE users (
  id uuid PRIMARY KEY REFERENCES auth.users (id) ON DELETE CASCADE,
  email varchar(255) UNIQUE,
  full_name varchar(255),
  avatar_url text,
  github_username varchar(100),
  github_token text,
  preferences json,
  is_test_user boolean DEFAULT false,
  created_at timestamp DEFAULT now(),
  updated_at timestamp DEFAULT now()
);
CREATE TABLE projects (
  id serial,
  user_id uuid REFERENCES auth.users (id) ON DELETE CASCADE,
  repo_url text NOT NULL,
  repo_name text,
  repo_owner text,
  name varchar(255),
  description text,
  is_active boolean,
  settings text,
  created_at timestamp DEFAULT now(),
  updated_at timestamp,
  CONSTRAINT projects_primary PRIMARY KEY (id)
);
CREATE TABLE tasks (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id uuid REFERENCES auth.users (id) ON DELETE CASCADE,
  project_id integer REFERENCES projects (id) ON DELETE SET NULL,
  status varchar(20) DEFAULT 'pending'
    CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled', 'queued')),
  agent varchar(50),
  repo_url text,
  target_branch varchar(255),
  pr_branch text,
  container_id varchar(64),
  commit_hash varchar(40),
  pr_number bigint,
  pr_url text,
  git_diff text,
  git_patch text,
  changed_files text[],
  error text,
  chat_messages json,
  execution_metadata text,
  created_at timestamp DEFAULT now(),
  updated_at timestamp,
  started_at timestamp,
  completed_at timestamp
);
CREATE INDEX test_users ON users (is_test_user) WHERE is_test_user;
CREATE POLICY "Own row" ON users USING (id = auth.uid() OR is_test_user);
CREATE POLICY "Own projects" ON projects USING (user_id = auth.uid());
CREATE POLICY "Tasks of own projects" ON tasks
  USING (project_id IN (SELECT id FROM projects WHERE user_id = auth.uid()) AND status <> 'queued'
    OR EXISTS (SELECT FROM users WHERE id = auth.uid() AND is_test_user));

INSERT INTO users (id, email) VALUES
  ('11111111-1111-4111-8111-111111111111', 'one@example.com');
INSERT INTO projects (user_id, repo_url, name, settings) VALUES
  ('11111111-1111-4111-8111-111111111111', 'https://github.com/one/first.git', 'First', '{}'),
  ('11111111-1111-4111-8111-111111111111', 'https://github.com/one/first.git', NULL, NULL),
  ('22222222-2222-4222-8222-222222222222', 'git@github.com:two/second', NULL, NULL);
INSERT INTO tasks (user_id, project_id, status, agent, changed_files, chat_messages,
  execution_metadata, created_at, git_patch) VALUES
  ('11111111-1111-4111-8111-111111111111', 1, 'completed', 'codex', '{a.py,"b c.py"}',
    '[{"role": "user", "content": "Schöner"}]', '{"seconds": 3}', '2025-06-01 10:00', 'patch'),
  ('11111111-1111-4111-8111-111111111111', 2, 'cancelled', NULL, NULL, '{"content": "Alone"}',
    '[1]', '2025-06-01 10:00', NULL),
  (NULL, 3, 'queued', NULL, NULL, '"Only words"', NULL, '2025-06-01 10:00', NULL),
  (NULL, NULL, NULL, NULL, NULL, 'null', 'null', NULL, NULL);
