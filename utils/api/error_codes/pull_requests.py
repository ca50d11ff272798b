"""The codes that only `/create-pr` answers with, explained."""

from __future__ import annotations

from utils.api.error_codes.entry import ErrorEntry

PULL_REQUEST_ERRORS = (
    ErrorEntry(
        "base_commit_gone",
        409,
        "The repository's history was rewritten and lacks the commit the task started from.",
        "Start the task again.",
    ),
    ErrorEntry(
        "base_commit_unknown",
        409,
        "The task was imported, so the commit it started from is not stored.",
        "Start the task again.",
    ),
    ErrorEntry(
        "branch_changed",
        409,
        "Somebody else pushed to the task's branch.",
        "Merge or copy what is there, then delete or rename the branch. If the branch has an open "
        "pull request, the message names it: change it on GitHub or with `PUT /github/...`.",
    ),
    ErrorEntry(
        "branch_name_taken",
        409,
        "Another branch's name is the beginning or the continuation of this one's.",
        "Delete that branch, or set `PULL_REQUEST_BRANCH`.",
    ),
    ErrorEntry(
        "disk_full",
        503,
        "The disk is full, on this server or at the repository host.",
        "Free space under `DATA_DIR`, then send the request again.",
    ),
    ErrorEntry(
        "file_too_large",
        409,
        "A file is larger than the host accepts (GitHub: 100 MB), or the changes are so large or "
        "so many that git would need more than 768 MB of memory or 20 s of processor time.",
        "Have a task remove the file, or change fewer files.",
    ),
    ErrorEntry(
        "git_timeout",
        503,
        "The push took too long.",
        "Send the same request again; it continues.",
    ),
    ErrorEntry(
        "no_changes",
        409,
        "The task changed nothing.",
        "Nothing. There is nothing to push.",
    ),
    ErrorEntry(
        "patch_does_not_apply",
        409,
        "The stored patch does not apply to its base commit. Nothing was pushed.",
        "Start the task again.",
    ),
    ErrorEntry(
        "patch_too_large",
        409,
        "The changes were larger than `MAX_PATCH_BYTES` and were not stored.",
        "Ask for less in one task, or raise `MAX_PATCH_BYTES`.",
    ),
    ErrorEntry(
        "pull_request_exists",
        409,
        "The branch has a pull request for this base already, which the message names; or GitHub "
        "does not list it yet.",
        "Leave `base` out, or close the other pull request; then send the request again.",
    ),
    ErrorEntry(
        "pull_request_merged",
        409,
        "The task's pull request is merged.",
        "Nothing, or send another `base`.",
    ),
    ErrorEntry(
        "pull_request_unfinished",
        503,
        "The request took 25 seconds and stopped before a client's time-out.",
        "Send the same request again; it continues.",
    ),
    ErrorEntry(
        "push_failed",
        409,
        "git could not push, for a reason without a code of its own.",
        "Send the request again; the server's log has what git printed.",
    ),
    ErrorEntry(
        "push_not_possible",
        503,
        "The server could not write its temporary folder or start git.",
        "Free space under `DATA_DIR`, check its permissions, and check that git is installed.",
    ),
    ErrorEntry(
        "push_rejected",
        409,
        "A hook or a rule of the repository rejects the push. The message quotes the host.",
        "Change what the host objects to.",
    ),
    ErrorEntry(
        "push_too_large",
        409,
        "The host does not accept this much in one push.",
        "Ask for less in one task.",
    ),
    ErrorEntry(
        "repo_not_writable",
        409,
        "The server's user cannot write the local repository.",
        "Give that user write access.",
    ),
    ErrorEntry(
        "repo_unreachable",
        503,
        "The repository host did not answer as a git server.",
        "Send the same request again; if it keeps failing, check the address and the network.",
    ),
    ErrorEntry(
        "repository_not_on_github",
        400,
        "Pull requests are opened on the GitHub of `GITHUB_API_URL` only.",
        "Apply the result with `GET /tasks/{task_id}/patch` and `git am`.",
    ),
    ErrorEntry(
        "result_simulated",
        409,
        "`ENVIRONMENT=production`, and the scripted agent did the work, not a coding agent.",
        "Send `allow_simulated: true` if you want a draft of it anyway.",
    ),
    ErrorEntry(
        "secret_detected",
        409,
        "The changes contain a secret that this server knows, such as the key of the agent; or the "
        "host found one.",
        "The message names the files. Have the agent keep keys out of files, and start the task "
        "again. What the host found can also be allowed there.",
    ),
    ErrorEntry(
        "task_not_chosen",
        409,
        "The task belongs to a group, and another task of it or none is chosen.",
        "Choose it with `POST /task-groups/{group_id}/choose`.",
    ),
    ErrorEntry(
        "task_not_ended",
        409,
        "The task is queued or running.",
        "Wait, or cancel it and use its partial result.",
    ),
    ErrorEntry(
        "title_not_conventional",
        400,
        "The project has `conventional_commits: true` and the title has another form.",
        "Send a title in the form that the message shows.",
    ),
    ErrorEntry(
        "tree_mismatch",
        409,
        "The stored patch does not give the files that the sandbox held, or the stored diff gives "
        "others than the patch. Nothing was pushed.",
        "Start the task again.",
    ),
    ErrorEntry(
        "workflow_changes",
        409,
        "The task changed files under `.github/workflows`.",
        "Read the diff, then send `allow_workflow_changes: true`.",
    ),
)
