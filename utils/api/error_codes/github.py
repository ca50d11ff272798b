"""The codes that stand for an answer of GitHub, explained."""

from __future__ import annotations

from utils.api.error_codes.entry import ErrorEntry

GITHUB_ERRORS = (
    ErrorEntry(
        "base_branch_missing",
        409,
        "The base branch was deleted or renamed.",
        "Send `base` with another branch; the message names the default branch.",
    ),
    ErrorEntry(
        "branch_not_found",
        404,
        "The branch does not exist on GitHub.",
        "Check the name.",
    ),
    ErrorEntry(
        "branch_protected",
        409,
        "A rule of the repository forbids the push. The message quotes it.",
        "Exempt the branch from the rule, or set `PULL_REQUEST_BRANCH`.",
    ),
    ErrorEntry(
        "comment_not_found",
        404,
        "The pull request has no comment of this number, or the token cannot see it.",
        "Check the number; `GET /github/repos/{owner}/{repository}/pulls/{number}/comments` lists "
        "them.",
    ),
    ErrorEntry(
        "commit_not_found",
        404,
        "GitHub does not have the commit.",
        "Push the task's result again with `POST /create-pr/{task_id}`.",
    ),
    ErrorEntry(
        "drafts_not_supported",
        400,
        "The repository does not support draft pull requests.",
        "Leave `draft` out.",
    ),
    ErrorEntry(
        "github_app_permission",
        403,
        "The GitHub App lacks a permission. The message names it.",
        "Add the permission in the App's settings, then accept the change in the installation.",
    ),
    ErrorEntry(
        "github_app_refused",
        503,
        "GitHub rejects the App's id or private key.",
        "Set `GITHUB_APP_ID` and `GITHUB_APP_PRIVATE_KEY` again.",
    ),
    ErrorEntry(
        "github_busy",
        503,
        "This server sends as many requests to GitHub as it may at once.",
        "Send the request again after `Retry-After` seconds.",
    ),
    ErrorEntry(
        "github_ip_refused",
        403,
        "The organization allows access from listed addresses only.",
        "Ask the organization to add this server's address.",
    ),
    ErrorEntry(
        "github_rate_limited",
        503,
        "The token used up GitHub's rate limit.",
        "Send the request again after `Retry-After` seconds.",
    ),
    ErrorEntry(
        "github_refused",
        403,
        "GitHub refuses the request. The message quotes the reason.",
        "Do what the message says.",
    ),
    ErrorEntry(
        "github_sso_required",
        403,
        "The organization requires single sign-on for the token.",
        "Authorize the token at the address in the message.",
    ),
    ErrorEntry(
        "github_token_needed",
        400,
        "The repository requires a token and none was found.",
        "Send `github_token`, or store one with `PUT /users/me`.",
    ),
    ErrorEntry(
        "github_token_refused",
        403,
        "GitHub does not accept the token: it expired, or was revoked.",
        "Create a new token.",
    ),
    ErrorEntry(
        "github_token_scope",
        403,
        "The token lacks a permission.",
        "Give it Contents and Pull requests, read and write (classic token: `repo`), and Workflows "
        "if the task changed workflows.",
    ),
    ErrorEntry(
        "github_unavailable",
        503,
        "GitHub did not answer, or the answer was not GitHub's.",
        "Send the same request again; if it keeps failing, run `./run.sh doctor`.",
    ),
    ErrorEntry(
        "github_validation_failed",
        400,
        "GitHub rejects a value. The message names the field.",
        "Change that field.",
    ),
    ErrorEntry(
        "head_branch_missing",
        409,
        "The branch with the changes does not exist on GitHub.",
        "Push it again with `POST /create-pr/{task_id}`.",
    ),
    ErrorEntry(
        "head_moved",
        409,
        "The branch changed after you looked at it.",
        "Read the pull request again, then merge.",
    ),
    ErrorEntry(
        "issue_not_found",
        404,
        "The repository has no issue of this number, or the token cannot see it.",
        "Check the number and the token.",
    ),
    ErrorEntry(
        "issues_disabled",
        409,
        "Issues are turned off in the repository.",
        "Turn them on in the repository's settings.",
    ),
    ErrorEntry(
        "line_not_in_diff",
        400,
        "The line is not among those that the pull request shows.",
        "Send `path`, `side` and `line` of a line in its diff.",
    ),
    ErrorEntry(
        "merge_method_not_allowed",
        409,
        "The repository does not allow this `merge_method`.",
        "Send another `merge_method`.",
    ),
    ErrorEntry(
        "no_commits",
        409,
        "The base branch contains all of the changes already.",
        "Nothing. There is nothing to push.",
    ),
    ErrorEntry(
        "no_common_history",
        409,
        "The base branch's history was rewritten.",
        "Start the task again.",
    ),
    ErrorEntry(
        "not_mergeable",
        409,
        "GitHub cannot merge the pull request. The message quotes the reason.",
        "Resolve what the message names, for example a conflict.",
    ),
    ErrorEntry(
        "not_pushed",
        409,
        "Nothing of this task was pushed, so there is no commit to set a status on.",
        "Call `POST /create-pr/{task_id}` first.",
    ),
    ErrorEntry(
        "pull_request_is_draft",
        409,
        "The pull request is a draft.",
        "Send `draft: false` with `PUT /github/repos/{owner}/{repository}/pulls/{number}` first.",
    ),
    ErrorEntry(
        "pull_request_not_found",
        404,
        "The repository has no pull request of this number, or the token cannot see it.",
        "Check the number and the token.",
    ),
    ErrorEntry(
        "repository_archived",
        409,
        "The repository is archived and accepts no changes.",
        "Unarchive it.",
    ),
    ErrorEntry(
        "repository_blocked",
        403,
        "GitHub has blocked access to the repository.",
        "Ask GitHub.",
    ),
    ErrorEntry(
        "repository_moved",
        409,
        "The repository has another name now. The message names it.",
        "Send `allow_moved: true`; change the project's `repo_url`.",
    ),
    ErrorEntry(
        "repository_no_permission",
        403,
        "The token's user may not push to the repository.",
        "Ask for write access.",
    ),
    ErrorEntry(
        "repository_not_found",
        404,
        "The repository does not exist, or the token cannot see it.",
        "Check the address and the token.",
    ),
    ErrorEntry(
        "review_refused",
        409,
        "GitHub does not take the review, for example an approval of one's own pull request.",
        "The message quotes the reason. Use the token of another user.",
    ),
    ErrorEntry(
        "reviewers_invalid",
        400,
        "GitHub rejects a reviewer. `/create-pr` reports this as a warning for each rejected "
        "reviewer: the pull request exists and the others are requested.",
        "Name collaborators other than the author.",
    ),
    ErrorEntry(
        "status_not_own",
        403,
        "With the server's token a status must be named `async-code` or `async-code/<name>`.",
        "Send such a name, or your own token as `X-GitHub-Token`.",
    ),
    ErrorEntry(
        "stored_secret_unreadable",
        409,
        "Your stored token was encrypted with another `SECRET_KEY`, or for another user.",
        "Store it again with `PUT /users/me`, or set `SECRET_KEY_PREVIOUS` to the old key.",
    ),
)
