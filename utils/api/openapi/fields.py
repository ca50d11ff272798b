"""Describes the fields of answers and of requests, with an example of each.

A key is the name of a field, or `Model.field` where the name means something else in a model.
Fields that are described where they are declared need no entry; a test finds the others.
"""

from __future__ import annotations

from utils.agents.registry import DEFAULT_AGENT, SECTIONS
from utils.api.error_codes.table import PAGE
from utils.api.openapi.field_text import FieldText
from utils.api.openapi.group_fields import GROUP_FIELDS
from utils.api.openapi.repository_fields import REPOSITORY_FIELDS
from utils.api.openapi.schedule_fields import SCHEDULE_FIELDS
from utils.api.openapi.usage_fields import USAGE_FIELDS
from utils.api.requests import EXAMPLE_REPOSITORY, EXAMPLE_TEST_USER_ID, EXAMPLE_USER_ID
from utils.config.version import VERSION

_TIME = "2027-01-31T12:00:00Z"
_LATER = "2027-01-31T12:00:20Z"
_COMMIT = "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"
_PULL = f"{EXAMPLE_REPOSITORY}/pull/1"
_PROMPT = "Add a file CONTRIBUTING.md that explains how to send a pull request."
_DIFF = (
    "diff --git a/CONTRIBUTING.md b/CONTRIBUTING.md\nnew file mode 100644\n--- /dev/null\n"
    "+++ b/CONTRIBUTING.md\n@@ -0,0 +1 @@\n+# Contributing\n"
)
_IGNORED = "Ignored: only the server sets it."
_TOKEN = "eyJhbGciOiJIUzI1NiJ9..."  # noqa: S105

PARAMETERS: dict[str, FieldText] = {
    "task_id": FieldText("The number of the task, from POST /start-task.", 1),
    "turn_number": FieldText("The number of the turn in its task, from 1.", 2),
    "project_id": FieldText("The number of the project.", 1),
    "secret_name": FieldText("The name of the secret, which is that of its variable.", "NPM_TOKEN"),
    "group_id": FieldText("The number of the group, from POST /start-task.", 1),
    "schedule_id": FieldText("The number of the schedule, from POST /schedules.", 1),
    "sandbox_id": FieldText("The number of the sandbox, from POST /v1/sandboxes.", 1),
    "file_path": FieldText("The path of the file, from the home folder.", "notes.txt"),
    "worker": FieldText("The name of the worker, from GET /admin/workers.", "0f9a6c1f"),
    "key_id": FieldText("The number of the API key, from GET /keys.", 1),
    "test_user_id": FieldText("The id of the test user.", EXAMPLE_TEST_USER_ID),
    "owner": FieldText("The user or organization that owns the repository.", "octocat"),
    "repository": FieldText("The name of the repository.", "Hello-World"),
    "number": FieldText("The number of the pull request or issue on GitHub.", 1),
    "comment_id": FieldText("The id of the comment to answer, from the list of comments.", 1),
}

_TASKS: dict[str, FieldText] = {
    "task_id": FieldText("The number of the new task.", 1),
    "task": FieldText("The task."),
    "tasks": FieldText("The tasks, newest first."),
    "ListTasksAnswer.tasks": FieldText("The tasks by id, newest first."),
    "total_tasks": FieldText("The number of tasks on all pages.", 1),
    "next_cursor": FieldText("Send it as `cursor` to get the next page; null on the last.", None),
    "id": FieldText("The number of the row.", 1),
    "status": FieldText(
        "`pending` while it is queued, then `running`, at the end `completed`, `failed` or "
        "`cancelled`.",
        "completed",
    ),
    "agent": FieldText("The agent that works on the task.", DEFAULT_AGENT),
    "model": FieldText("The same as `agent`, under the name that requests use.", DEFAULT_AGENT),
    "prompt": FieldText("The instructions for the agent.", _PROMPT),
    "repo_url": FieldText("The address of the repository.", EXAMPLE_REPOSITORY),
    "target_branch": FieldText("The branch that the task started from.", "master"),
    "branch": FieldText("The same as `target_branch`, under the name of requests.", "master"),
    "container_id": FieldText("The id of the task's sandbox.", None),
    "commit_hash": FieldText("The commit of the result, null without changes.", _COMMIT),
    "pr_branch": FieldText("The branch that was pushed for the pull request.", None),
    "pr_number": FieldText("The number of the pull request.", None),
    "pr_url": FieldText("The address of the pull request.", None),
    "pr_state": FieldText("The state of the pull request: open, closed or merged.", None),
    "has_patch": FieldText("True when a patch of the changes is stored.", example=True),
    "changed_files": FieldText("The paths of the changed files.", ["CONTRIBUTING.md"]),
    "error": FieldText("Says to people why the task failed, and what to do.", None),
    "error_code": FieldText(f"The stable name of the error, see [Tasks]({PAGE}#tasks).", None),
    "error_stage": FieldText("The stage in which the task failed.", None),
    "stage": FieldText(
        "The present stage: queued, cloning, setup, agent, capturing or checking.", None
    ),
    "attempt": FieldText("How often the task was started.", 1),
    "chat_messages": FieldText("The conversation; the first message is the prompt."),
    "messages_from": FieldText(
        "With `since`: the number of messages before `chat_messages`.", None
    ),
    "next_since": FieldText("With `since`: send it as `since` with the next poll.", None),
    "execution_metadata": FieldText(
        "What is known of the run: stages with seconds, tokens, costs, notes about the result.",
        {"base_commit": _COMMIT, "additions": 1, "deletions": 0, "files_changed": 1, "notes": []},
    ),
    "auto_pr": FieldText("True when the server opens its pull request.", example=True),
    "created_at": FieldText("When it was created.", _TIME),
    "updated_at": FieldText("When it was changed last.", _LATER),
    "started_at": FieldText("When the agent's sandbox was requested.", _TIME),
    "completed_at": FieldText("When the task ended.", _LATER),
    "git_diff": FieldText("The changes as a diff, empty or null without changes.", _DIFF),
    "git_patch": FieldText("The commits in mailbox format, ready for `git am`.", None),
    "queue_position": FieldText("The place in the queue, 1 for the next task.", None),
    "waiting_reason": FieldText("Says why queued tasks are held back.", None),
    "role": FieldText("Whose message it is.", "user"),
    "content": FieldText("The text of the message.", _PROMPT),
    "timestamp": FieldText("When it was written.", _TIME),
    "turn": FieldText("The turn that the message makes; left out without `run`."),
    "turns": FieldText("The turns, oldest first."),
    "TurnRow.number": FieldText("The number of the turn in its task, from 1.", 2),
    "TurnRow.prompt": FieldText("The message that the agent gets.", "Now also add a test."),
    "mode": FieldText("`run`, or `plan` for a turn that changes nothing.", "run"),
    "TurnRow.status": FieldText(
        "`waiting` until it begins, then `running`, at the end `completed`, `failed` or "
        "`cancelled`.",
        "completed",
    ),
    "has_diff": FieldText("True when a diff of its own changes is stored.", example=True),
    "TurnRow.started_at": FieldText("When it began.", _TIME),
    "ended_at": FieldText("When it ended.", _LATER),
    "agent_exit_code": FieldText("The exit code of the agent's program.", 0),
    "input_tokens": FieldText("The tokens that the model read.", 1200),
    "output_tokens": FieldText("The tokens that the model wrote.", 300),
    "cost_usd": FieldText("The price in US dollars, where the program tells it.", 0.02),
    "tree_before": FieldText("The tree of the files when it began.", _COMMIT),
    "tree_after": FieldText("The tree of the files when it ended.", _COMMIT),
    "files": FieldText("The number of files that it changed.", 1),
    "additions": FieldText("The number of lines that it added.", 3),
    "deletions": FieldText("The number of lines that it removed.", 0),
    "TurnRow.error": FieldText("Says to people why it failed, and what to do.", None),
    "events": FieldText("The events, oldest first."),
    "queue_positions": FieldText(
        "The places of your waiting tasks in the queue, by the number of the task.", {"2": 1}
    ),
    "FollowTasksAnswer.tasks": FieldText("The waiting and running tasks, oldest first."),
    "GetTicketAnswer.ticket": FieldText("The ticket, for the URL of one stream.", "dGlja2V0"),
    "GetTicketAnswer.expires_in": FieldText("Seconds until the ticket expires.", 60),
    "next_after": FieldText("Send it as `after` to get the events that follow.", 7),
    "sequence": FieldText("The number of the event in its task, from 1.", 7),
    "at": FieldText("When it happened.", _LATER),
    "EventRow.kind": FieldText(
        "What happened: status, message, tool, output, usage, git, setup, check, sandbox, "
        "pull_request, result or error.",
        "status",
    ),
    "data": FieldText("What is known of the event.", {"status": "completed"}),
    "GetBranchesAnswer.default_branch": FieldText(
        "The branch that a task without one starts from, null if HEAD names none.", "master"
    ),
    "migrated": FieldText("The number of imported tasks.", 1),
}

_PROJECTS: dict[str, FieldText] = {
    "project": FieldText("The project."),
    "projects": FieldText("The projects, newest first."),
    "project_id": FieldText("The project that the task belongs to, null without one.", None),
    "user_id": FieldText("The id of the user.", EXAMPLE_USER_ID),
    "name": FieldText("The name.", "Hello World"),
    "description": FieldText("A text of your own about it.", "The first project"),
    "repo_owner": FieldText("The owner of the repository.", "octocat"),
    "repo_name": FieldText("The name of the repository.", "Hello-World"),
    "is_active": FieldText(
        "False hides a project: comments on GitHub start no tasks in it.", example=True
    ),
    "secret": FieldText("The secret, without its value."),
    "secrets": FieldText("The secrets by name, without their values."),
    "SecretRow.name": FieldText("The variable that holds it.", "NPM_TOKEN"),
    "for_agent": FieldText("True when the agent gets it, too.", example=False),
    "settings": FieldText(
        "Settings of the project, such as `conventional_commits`, `auto_pr` and `environment` (a "
        "setup, variables and more, see docs/environments.md), and any keys of your own.",
        {},
    ),
    "task_count": FieldText("The number of its tasks.", 1),
    "completed_tasks": FieldText("The number of its completed tasks.", 1),
    "active_tasks": FieldText("The number of its queued and running tasks.", 0),
    **{
        f"ProjectChange.{name}": FieldText(_IGNORED)
        for name in (
            *("id", "user_id", "repo_owner", "repo_name", "created_at", "updated_at"),
            *("task_count", "completed_tasks", "active_tasks"),
        )
    },
}

_GITHUB: dict[str, FieldText] = {
    "CreatePullRequestAnswer.pr_url": FieldText("The address of the pull request.", _PULL),
    "CreatePullRequestAnswer.pr_number": FieldText("The number of the pull request.", 1),
    "CreatePullRequestAnswer.branch": FieldText("The branch that was pushed.", "async-code/task-1"),
    "base": FieldText("The branch to merge into.", "master"),
    "branches": FieldText("The names of the branches.", ["master"]),
    "commit": FieldText("The commit that was pushed.", _COMMIT),
    "title": FieldText("The title.", "Add CONTRIBUTING.md"),
    "body": FieldText("The text, in Markdown.", "Explains how to send a pull request."),
    "draft": FieldText("True for a draft.", example=False),
    "repositories": FieldText("The repositories that the token reaches."),
    "created": FieldText("False when a pull request of the task was updated.", example=True),
    "files_updated": FieldText("The number of changed files.", 1),
    "CreatePullRequestAnswer.warnings": FieldText("Options that GitHub rejected.", []),
    "code": FieldText(f"The stable name of the error, see [error codes]({PAGE}).", "not_found"),
    "ErrorAnswer.error": FieldText("Says to people what to do.", "The task does not exist."),
    "Warned.error": FieldText("Says to people what to do.", "labels: This label does not exist."),
    "ValidateTokenAnswer.user": FieldText("The user's name on GitHub, null for an App.", "octocat"),
    "repo": FieldText("The repository, null if you named none."),
    "scopes": FieldText("The scopes of a classic token, null for others.", ["repo"]),
    "token_expires_at": FieldText("When the token expires.", None),
    "private": FieldText("True for a private repository.", example=False),
    "archived": FieldText("True when the repository accepts no changes.", example=False),
    "CheckedRepository.name": FieldText("The repository as owner/name.", "octocat/Hello-World"),
    "default_branch": FieldText("The repository's default branch.", "master"),
    "permissions": FieldText("What the token may do."),
    "read": FieldText("True when it may read.", example=True),
    "write": FieldText("True when it may push.", example=True),
    "admin": FieldText("True when it may administer the repository.", example=False),
    "read_branches": FieldText("True when it may list the branches.", example=True),
    "create_branches": FieldText("True when it may create branches.", example=True),
    "GetRepositoryAnswer.repository": FieldText("The repository."),
    "GitHubRepository.full_name": FieldText("The present owner/name.", "octocat/Hello-World"),
    "moved_from": FieldText("The name that you asked for, if the repository has moved.", None),
    "html_url": FieldText("The address of its page.", EXAMPLE_REPOSITORY),
    "is_private": FieldText("True for a private repository.", example=False),
    "is_archived": FieldText("True when the repository accepts no changes.", example=False),
    "can_read": FieldText("True when the user may read.", example=True),
    "can_push": FieldText("True when the user may push; null for an App's token.", example=True),
    "can_admin": FieldText(
        "True when the user may administer; null for an App's token.", example=False
    ),
    "pull_request": FieldText("The pull request."),
    "pull_requests": FieldText("The pull requests, newest first."),
    "number": FieldText("The number on GitHub.", 1),
    "url": FieldText("The address of its page on GitHub.", _PULL),
    "state": FieldText("Open or closed.", "open"),
    "TaskStatusReport.state": FieldText("The state to show beside the commit.", "success"),
    "TaskStatusReport.description": FieldText("A short text to show beside it.", "Reviewed"),
    "is_draft": FieldText("True for a draft.", example=False),
    "is_merged": FieldText("True when it is merged.", example=False),
    "author": FieldText("The user who wrote it, null if the account was deleted.", "octocat"),
    "head": FieldText("The branch with the changes.", "async-code/task-1"),
    "head_sha": FieldText("The latest commit of that branch.", _COMMIT),
    "head_repository": FieldText(
        "The repository of that branch, null if its fork was deleted.", "octocat/Hello-World"
    ),
    "labels": FieldText("The names of its labels.", ["documentation"]),
    "reviewers": FieldText("The users who were asked for a review.", []),
    "teams": FieldText("The teams that were asked for a review.", []),
    "merged_at": FieldText("When it was merged.", None),
    "issue": FieldText("The issue."),
    "is_pull_request": FieldText("True when it is a pull request.", example=False),
    "comment": FieldText("The comment."),
    "comments": FieldText("The comments, oldest first."),
    "GitHubReviewComment.path": FieldText("The path of the changed file.", "AI_GENERATED.md"),
    "NewReviewComment.path": FieldText("The path of a changed file.", "AI_GENERATED.md"),
    "line": FieldText("The line, or the last one; null if the lines have changed since.", 1),
    "NewReviewComment.line": FieldText("The line, or the last one of several.", 1),
    "start_line": FieldText("The first one of several lines.", None),
    "side": FieldText("RIGHT for lines of the new version, LEFT for removed ones.", "RIGHT"),
    "GitHubReviewComment.commit": FieldText("The commit that was commented on.", _COMMIT),
    "NewReviewComment.commit": FieldText("The commit to comment on; else the latest one.", _COMMIT),
    "reply_to": FieldText("The id of the comment that it answers.", None),
    "merge_state": FieldText("The checks, and what the merge lacks."),
    "checks": FieldText("The check runs and commit statuses of the latest commit."),
    "GitHubCheck.name": FieldText("The name of the check.", "build"),
    "GitHubCheck.state": FieldText("Pending, success, failure, or another conclusion.", "success"),
    "GitHubCheck.url": FieldText("The address of its details.", None),
    "is_required": FieldText("True when the base branch requires it.", example=True),
    "approvals": FieldText("The number of users whose last review approves it.", 1),
    "required_approvals": FieldText("The number of approvals that the base requires.", 1),
    "missing": FieldText("What the merge lacks, in words.", ["the check build has failed"]),
    "review": FieldText("The review."),
    "reviews": FieldText("The reviews, oldest first."),
    "GitHubReview.state": FieldText(
        "Approved, changes_requested, commented, dismissed or pending.", "approved"
    ),
    "GitHubReview.commit": FieldText("The commit that was reviewed.", _COMMIT),
    "submitted_at": FieldText("When it was submitted; null while it is pending.", None),
    "event": FieldText("What the review does.", "comment"),
    "merged": FieldText("True: the pull request is merged.", example=True),
    "sha": FieldText("The new commit; null if it was merged already.", _COMMIT),
    "link": FieldText("The page of the task to which the status leads.", None),
}

_USERS: dict[str, FieldText] = {
    "access_token": FieldText("Send it as `Authorization: Bearer` with every request.", _TOKEN),
    "refresh_token": FieldText("Exchange it once for the next pair of tokens.", "Zk9v..."),
    "token_type": FieldText("The kind of the access token.", "Bearer"),
    "expires_in": FieldText("Seconds until the access token expires.", 3600),
    "valid": FieldText("True: the token is valid.", example=True),
    "key": FieldText("The key itself, which is shown only here.", "ac_1a2b3c4d..."),
    "api_key": FieldText("The key without its secret part."),
    "api_keys": FieldText("The keys, newest first."),
    "ApiKeyRow.name": FieldText("The name that you gave the key.", "my laptop"),
    "prefix": FieldText("How the key begins, to recognize it.", "ac_1a2b3c4d"),
    "scope": FieldText("What the key may do.", "run"),
    "expires_at": FieldText("When it expires, null for never.", None),
    "last_used_at": FieldText("When it was used last, to the minute.", None),
    "user": FieldText("The user."),
    "users": FieldText("The test users, newest first."),
    "tokens": FieldText("The tokens of the user."),
    "ProfileRow.id": FieldText("The id of the user.", EXAMPLE_USER_ID),
    "TestUserRow.id": FieldText("The id of the user.", EXAMPLE_USER_ID),
    "email": FieldText("The e-mail address.", "octocat@example.com"),
    "full_name": FieldText("The name of the person.", "Mona Lisa"),
    "avatar_url": FieldText("The address of a picture.", None),
    "github_username": FieldText("The name on GitHub.", "octocat"),
    "has_github_token": FieldText("True when a GitHub token is stored.", example=False),
    "is_admin": FieldText("True when you may use the endpoints under `/admin`.", example=False),
    "preferences": FieldText("The settings of the agents."),
    **{section: FieldText("The settings of this agent.") for section in SECTIONS},
    "env": FieldText("The names of the environment variables.", {}),
    "credentials": FieldText("`[stored]` when a login file is stored.", None),
    "metadata": FieldText("A JSON object of your own.", {}),
    "NewTestUser.user_id": FieldText("The id of the user, a random UUID by default."),
    "count": FieldText("The number of test users.", 1),
    "deleted": FieldText("The number of deleted test users.", 0),
}

_SANDBOXES: dict[str, FieldText] = {
    "SandboxRow.status": FieldText("The state of the sandbox.", "running"),
    "SandboxRow.provider": FieldText("The kind of the sandbox.", "local"),
    "SandboxRow.task_id": FieldText("The task that it belongs to.", None),
    "ListFilesAnswer.files": FieldText("The entries, by name."),
    "GetGitStatusAnswer.branch": FieldText("The branch that is checked out.", "main"),
    "GetGitStatusAnswer.files": FieldText("The files that differ from the last commit."),
    "OpenPullRequestAnswer.pr_url": FieldText("The address of the pull request.", _PULL),
    "OpenPullRequestAnswer.pr_number": FieldText("The number of the pull request.", 1),
}

_SERVER: dict[str, FieldText] = {
    "StartTaskAnswer.message": FieldText("Says to people what was done.", "The task is queued."),
    "message": FieldText("Says to people what was done.", "Done."),
    "version": FieldText("The version of the server.", VERSION),
    "documentation": FieldText("The path of the page that describes the API.", "/docs"),
    "endpoints": FieldText("The endpoints."),
    "method": FieldText("The HTTP method.", "GET"),
    "path": FieldText("The path.", "/ping"),
    "EndpointRow.description": FieldText("What it does.", "Check that the server responds."),
    "ReadyAnswer.mode": FieldText("The kind of sandboxes: local, isolated or e2b.", "local"),
    "database": FieldText("The database."),
    "DatabaseHealth.kind": FieldText("sqlite, postgresql or supabase.", "sqlite"),
    "available": FieldText("True when it can be used.", example=True),
    "reason": FieldText("Says why not.", None),
    "sandboxes": FieldText("The sandboxes."),
    "templates": FieldText("The templates."),
    "TemplateRow.name": FieldText("The name by which a project chooses it.", "go"),
    "TemplateRow.id": FieldText("The id at the provider, null until it is built.", "k3x9p2q7w1"),
    "TemplateRow.origin": FieldText(
        "`project`: defined in this server's `templates/`. `account`: another one of the account "
        "at E2B. `provider`: one of E2B's own, which have no agents. `machine`: the machine of the "
        "server.",
        "project",
    ),
    "TemplateRow.status": FieldText("`ready`, `building`, `failed` or `not_built`.", "ready"),
    "TemplateRow.description": FieldText("What is in it.", "Go 1.24."),
    "is_default": FieldText("True for the one of projects that choose none.", example=False),
    "cpu_count": FieldText("Processors of a sandbox.", 2),
    "memory_mb": FieldText("Memory of a sandbox, in MiB.", 8192),
    "disk_mb": FieldText("Disk of a sandbox, in MiB, null where it is not known.", 10240),
    "tags": FieldText("The tags that a build gets.", ["default", "v0.1.0"]),
    "programs": FieldText("Programs that are in it, as far as known.", ["git", "node", "go"]),
    "TemplateRow.updated_at": FieldText("When it was built last.", _TIME),
    "keys": FieldText("The keys of the account at E2B; none for other sandboxes."),
    "position": FieldText("The place of the key: 1 is E2B_API_KEY, 2 E2B_API_KEY_NEXT.", 1),
    "in_use": FieldText("True for the key that requests use.", example=True),
    "refused_at": FieldText("When E2B refused the key, null while it accepts it.", None),
    "agents": FieldText("The agents that a task may ask for."),
    "AgentHealth.name": FieldText("The name of the agent.", DEFAULT_AGENT),
    "usable": FieldText("True when tasks can use the agent.", example=True),
    "simulated": FieldText("True when a script does the agent's work.", example=True),
    "warnings": FieldText("Settings that let strangers act as users.", []),
    "queued": FieldText("The number of tasks that wait on this server.", 0),
    "running": FieldText("The number of tasks that run on this server.", 0),
    "workers": FieldText("The number of workers seen lately; 0 without the task engine.", 0),
}

FIELDS: dict[str, FieldText] = {
    **_TASKS,
    **GROUP_FIELDS,
    **REPOSITORY_FIELDS,
    **_PROJECTS,
    **_GITHUB,
    **_USERS,
    **_SANDBOXES,
    **_SERVER,
    **USAGE_FIELDS,
    **SCHEDULE_FIELDS,
}
