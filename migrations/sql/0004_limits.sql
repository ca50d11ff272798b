-- What front ends write is read by the backend, for more than its user. No parser need take a number
-- of thousands of digits, or lists in lists without end. Rows that are there stay as they are.
ALTER TABLE users
  DROP CONSTRAINT IF EXISTS users_preferences_readable,
  DROP CONSTRAINT IF EXISTS users_size,
  ADD CONSTRAINT users_preferences_readable CHECK (
    NOT jsonb_path_exists(preferences, 'strict $.**{33}')
    AND NOT jsonb_path_exists(preferences, 'strict $.** ? (@ >= 1e300 || @ <= -1e300)')
  ) NOT VALID,
  ADD CONSTRAINT users_size CHECK (
    octet_length(
      concat_ws('', full_name, avatar_url, github_username, github_token, preferences)
    ) <= 262144
  ) NOT VALID;
ALTER TABLE projects
  DROP CONSTRAINT IF EXISTS projects_settings_readable,
  DROP CONSTRAINT IF EXISTS projects_size,
  ADD CONSTRAINT projects_settings_readable CHECK (
    NOT jsonb_path_exists(settings, 'strict $.**{33}')
    AND NOT jsonb_path_exists(settings, 'strict $.** ? (@ >= 1e300 || @ <= -1e300)')
  ) NOT VALID,
  ADD CONSTRAINT projects_size CHECK (
    octet_length(
      concat_ws('', name, description, repo_url, repo_owner, repo_name, settings)
    ) <= 262144
  ) NOT VALID;
