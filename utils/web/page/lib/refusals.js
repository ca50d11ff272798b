// What a person can do about a refused pull request. `changes` are sent with the next request,
// `field` is where something has to be typed, `action` names a step of the view.
const AGAIN = { label: "Send it again", changes: {} };
const START_AGAIN = { label: "Start the task again", action: "retry" };
const TOKEN = { label: "Enter a token", field: "github_token" };

export const REMEDIES = {
  base_branch_missing: { label: "Name another base branch", field: "base" },
  base_commit_gone: START_AGAIN,
  base_commit_unknown: START_AGAIN,
  drafts_not_supported: { label: "Open it without draft", changes: { draft: false } },
  git_timeout: AGAIN,
  github_busy: AGAIN,
  github_rate_limited: AGAIN,
  github_token_needed: TOKEN,
  github_token_refused: TOKEN,
  github_token_scope: TOKEN,
  github_unavailable: AGAIN,
  no_common_history: START_AGAIN,
  patch_does_not_apply: START_AGAIN,
  pull_request_exists: { label: "Leave the base branch out", changes: { base: "" } },
  pull_request_unfinished: { label: "Continue", changes: {} },
  push_failed: AGAIN,
  repo_unreachable: AGAIN,
  repository_moved: { label: "Follow to the new name", changes: { allow_moved: true } },
  repository_no_permission: TOKEN,
  repository_not_found: TOKEN,
  repository_not_on_github: { label: "Download the patch", action: "download" },
  result_simulated: {
    label: "Open a draft of it anyway", changes: { allow_simulated: true },
  },
  task_not_chosen: { label: "Choose this task", action: "choose" },
  task_not_ended: { label: "Cancel the task", action: "cancel" },
  title_not_conventional: { label: "Change the title", field: "title" },
  tree_mismatch: START_AGAIN,
  unreachable: AGAIN,
  workflow_changes: {
    label: "I have read them: allow the workflow changes", changes: { allow_workflow_changes: true },
  },
};
