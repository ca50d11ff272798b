"""The codes in `tasks.error_code`, explained."""

from __future__ import annotations

from utils.agents.registry import KEY_SETTINGS
from utils.api.error_codes.entry import ErrorEntry

_KEYS = " or ".join(f"`{name}`" for name in KEY_SETTINGS)


def _task(code: str, happened: str, remedy: str) -> ErrorEntry:
    return ErrorEntry(code, None, happened, remedy)


TASK_ERRORS = (
    _task(
        "agent_auth_failed",
        "The model's provider rejects the key.",
        f"Set {_KEYS} again, or store a new key with `PUT /users/me`.",
    ),
    _task(
        "agent_failed",
        "The agent ended with an error. The message quotes it.",
        "Read the task's events for details, then start the task again.",
    ),
    _task(
        "agent_not_configured",
        "There is no key for this agent.",
        f"Set {_KEYS}, or store a key of your own with `PUT /users/me`.",
    ),
    _task(
        "agent_rate_limited",
        "The usage limit of the account behind the key is reached, or the provider limits the "
        "rate. The message says when it ends, if the provider does.",
        f"Start the task again after that time, or set another key: {_KEYS}, or your own.",
    ),
    _task(
        "agent_timeout",
        "The agent ran too long, or printed nothing for too long. Its changes are kept.",
        "Ask for less in one task, or raise `AGENT_TIMEOUT_SECONDS` or `AGENT_IDLE_SECONDS`.",
    ),
    _task(
        "branch_not_found",
        "The repository has no branch of this name.",
        "Check the branch name, or push the branch first.",
    ),
    _task(
        "budget_exceeded",
        "The task has reached a budget: its own, or one of its user or project. Its changes are "
        "kept. The message says when the budget is free again.",
        "Ask for less in one task, or raise the budget: `BUDGET_USD_PER_TASK`, "
        "`BUDGET_USD_PER_USER_DAY`, `BUDGET_USD_PER_USER_MONTH`, or `budget_usd` of the project.",
    ),
    _task(
        "cancelled",
        "A user cancelled the task. Changes made until then are kept.",
        "Nothing, or start the task again.",
    ),
    _task(
        "capture_failed",
        "The changes could not be read from the sandbox. The message says why.",
        "Fix what the message names, then start the task again.",
    ),
    _task(
        "capture_timeout",
        "Reading the changes took too long.",
        "Raise `COMMAND_TIMEOUT_SECONDS`, or ask for fewer changes in one task.",
    ),
    _task(
        "clone_auth_failed",
        "The repository host denies access.",
        "Send a `github_token` that can read the repository.",
    ),
    _task(
        "clone_failed",
        "git could not clone the repository. The message quotes git.",
        "Check the URL and what git says.",
    ),
    _task(
        "clone_timeout",
        "The clone took too long.",
        "Raise `CLONE_TIMEOUT_SECONDS`, or set `CLONE_DEPTH=1`.",
    ),
    _task(
        "disk_full",
        "The disk of the sandbox is full.",
        "Free space on this machine, or build a template with a larger disk.",
    ),
    _task(
        "e2b_auth_failed",
        "E2B rejects the API key, or has blocked the account.",
        "Set `E2B_API_KEY` again; check the account in E2B's dashboard.",
    ),
    _task(
        "e2b_quota_exceeded",
        "The account runs as many sandboxes as its plan allows, and none became free in time.",
        "Start the task again; lower `MAX_CONCURRENT_TASKS`.",
    ),
    _task(
        "e2b_rate_limited",
        "E2B rejected requests for several minutes because there were too many.",
        "Start the task again later.",
    ),
    _task(
        "e2b_template_not_found",
        "The sandbox template does not exist, is too old, or belongs to another team.",
        "Run `./run.sh build-template`, then set `E2B_TEMPLATE_ID`.",
    ),
    _task(
        "e2b_unavailable",
        "E2B did not answer for several minutes.",
        "Run `./run.sh doctor`; start the task again later.",
    ),
    _task(
        "egress_unavailable",
        "E2B refuses the network rules of `SECRETS_MODE=egress`: the plan has none, the git host "
        "is an address without a name, or a key is too long.",
        "Set `SECRETS_MODE=environment`, or do what the message says.",
    ),
    _task(
        "environment_invalid",
        "The project's `settings.environment` was written without this server, and is not valid.",
        "Send it again with `PUT /projects/{project_id}`; the message says what is wrong.",
    ),
    _task(
        "internal_error",
        "A defect of this server stopped the task.",
        "Look in the server's log for the task's id.",
    ),
    _task(
        "interrupted",
        "The server stopped under the task `MAX_ATTEMPTS` times, or ten servers in a row tried to "
        "finish it without success.",
        "Check whether the task uses up the machine's memory or disk.",
    ),
    _task(
        "network_policy_refused",
        "The project's `network` cannot be enforced where tasks run, or allows more than the "
        "operator does.",
        "Do what the message says.",
    ),
    _task(
        "repo_not_found",
        "The repository does not exist, or the token cannot see it.",
        "Check the URL and the token.",
    ),
    _task(
        "repo_not_readable",
        "A local repository belongs to another user of this machine.",
        "Run the server as the owner of the repository, or change the owner with `chown`.",
    ),
    _task(
        "repo_unreachable",
        "The repository host did not answer.",
        "Check the URL and the network, then start the task again.",
    ),
    _task(
        "sandbox_error",
        "The sandbox could not run a command. The message says which.",
        "Start the task again; if it fails again, run `./run.sh doctor`.",
    ),
    _task(
        "sandbox_limit_exceeded",
        "A task in a local sandbox needed more memory, processes or disk than allowed.",
        "Raise `MAX_LOCAL_MEMORY_BYTES`, `MAX_LOCAL_PROCESSES` or `MAX_LOCAL_DISK_BYTES`, or ask "
        "for less in one task.",
    ),
    _task(
        "sandbox_lost",
        "The sandbox crashed, or somebody ended it.",
        "Start the task again, or set `RETRY_LOST_SANDBOX=true`.",
    ),
    _task(
        "sandbox_timeout",
        "Clone and agent together took longer than `SANDBOX_TIMEOUT_SECONDS`, or than the plan of "
        "the E2B account lets a sandbox run. Changes made until then are kept.",
        "Ask for less in one task, or raise the limit that the message names.",
    ),
    _task(
        "setup_failed",
        "The setup script of the project ended with an error, or damaged the repository.",
        "Read its output in the task's events, and correct the script.",
    ),
    _task(
        "setup_timeout",
        "The setup script took longer than `setup_timeout_seconds` of the project.",
        "Raise the limit, or do less in the script.",
    ),
    _task(
        "stored_secret_unreadable",
        "A secret of the user was encrypted with another `SECRET_KEY`, or for another user.",
        "Store it again with `PUT /users/me`, or set `SECRET_KEY_PREVIOUS` to the old key.",
    ),
    _task(
        "token_unreadable",
        "`SECRET_KEY` was changed while the task was queued.",
        "Start the task again with its `github_token`.",
    ),
    _task(
        "turn_interrupted",
        "The user interrupted this turn with the next message. Changes made until then are kept.",
        "Nothing.",
    ),
    _task(
        "workspace_gone",
        "A later turn could not begin: the sandbox of the turns before it is gone, and their "
        "changes were not stored completely.",
        "Start a new task.",
    ),
)
