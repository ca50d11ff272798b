"""The codes of the endpoints of sandboxes, explained."""

from __future__ import annotations

from utils.api.error_codes.entry import ErrorEntry

SANDBOX_ERRORS = (
    ErrorEntry(
        "clone_failed",
        409,
        "The repository could not be cloned into the sandbox. The message says why.",
        "Check the address, the branch and the token.",
    ),
    ErrorEntry(
        "command_refused",
        403,
        "`SANDBOX_COMMAND_POLICY` does not allow this command.",
        "Run a program that the message names, or ask the operator.",
    ),
    ErrorEntry(
        "command_timeout",
        504,
        "The command took longer than its `timeout_seconds` and was ended. The answer also has "
        "what it printed until then, in the fields of an answer.",
        "Send a larger `timeout_seconds`, up to `MAX_COMMAND_SECONDS`.",
    ),
    ErrorEntry(
        "git_failed",
        409,
        "git could not do that in the sandbox. The message quotes git.",
        "Look at the repository with `GET .../git/{repository}/status`, or with a command.",
    ),
    ErrorEntry(
        "repository_exists",
        409,
        "The sandbox has a repository of this name, or has 20 repositories.",
        "Send another `name`.",
    ),
    ErrorEntry(
        "sandbox_busy",
        409,
        "Another command runs in the sandbox; they run one at a time.",
        "Send the request again after `Retry-After` seconds.",
    ),
    ErrorEntry(
        "sandbox_elsewhere",
        409,
        "The sandbox is a folder of another server, or of a kind that this server no longer uses.",
        "Send the request to that server, or create another sandbox.",
    ),
    ErrorEntry(
        "sandbox_file_too_large",
        413,
        "The file in the sandbox is larger than `MAX_BODY_BYTES`.",
        "Read it in parts with a command, or raise the setting.",
    ),
    ErrorEntry(
        "sandbox_gone",
        410,
        "The sandbox has ended: by a request, because its time was over, or it crashed.",
        "Create another one with `POST /v1/sandboxes`.",
    ),
    ErrorEntry(
        "sandbox_limit_reached",
        429,
        "You have `MAX_SANDBOXES_PER_USER` sandboxes.",
        "End one with `DELETE /v1/sandboxes/{sandbox_id}`.",
    ),
    ErrorEntry(
        "sandbox_not_isolated",
        403,
        "Sandboxes of the kind `local` do not isolate commands, and this server is in production.",
        "Set `SANDBOX=isolated` or `E2B_API_KEY`.",
    ),
    ErrorEntry(
        "sandbox_refused",
        409,
        "The sandbox exceeded a limit, its disk is full, or its provider does not have the "
        "template. The message says which.",
        "Do what the message says.",
    ),
    ErrorEntry(
        "sandbox_state",
        409,
        "The sandbox is in another state than the request needs, or belongs to a task.",
        "Look at its `status`; `POST /v1/sandboxes/{sandbox_id}/resume` wakes a paused one.",
    ),
    ErrorEntry(
        "sandbox_unavailable",
        503,
        "The provider of the sandboxes does not answer, or its quota is used up.",
        "Send the request again after `Retry-After` seconds; `./run.sh doctor` checks more.",
    ),
)
