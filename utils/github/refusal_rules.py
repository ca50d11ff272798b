"""The table of what GitHub refuses, and what that means for whoever asked.

GitHub tells failures apart by status, headers and the words of a message, so the table asks for
all three. A token that GitHub refuses is 403 here, not 401: pages answer 401 by ending the user's
session.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from utils.errors import AppError, Conflict, Forbidden, InvalidInput, NotFound
from utils.github.refusal import (
    Make,
    Refusal,
    away,
    fine_grained,
    invalid,
    limited,
    missing,
    says,
    scope,
    sso,
)

BRANCH_NOT_FOUND = "branch_not_found"
APP_PERMISSION = "github_app_permission"

_LIMIT_WORDS = r"rate limit|abuse detection|submitted too quickly|retry your request again later"
_PROTECTED = (
    r"protected branch|required status check|approving review|verified signatures|rule violations"
    r"|merge queue|requires? (?:signed|linear)|changes must be made|code owner|must be resolved"
    r"|deployments? must"
)


@dataclass(frozen=True, slots=True)
class Translation:
    """One line of the table: what fits every given condition is answered with `make`.

    `words` is searched for in GitHub's message and in the names of refused fields, whatever the
    case. `when` looks at the rest.
    """

    make: Make
    statuses: frozenset[int] = frozenset()
    words: str = ""
    when: Callable[[Refusal], bool] = field(default=lambda _: True)

    def fits(self, refusal: Refusal) -> bool:
        """Whether this line is for such an answer."""
        text = "\n".join((refusal.message, *sorted(refusal.fields)))
        return (
            (not self.statuses or refusal.status in self.statuses)
            and re.search(self.words, text, re.IGNORECASE) is not None
            and self.when(refusal)
        )


# Read from the top; the first line that fits counts.
TRANSLATIONS = (
    Translation(limited, words=_LIMIT_WORDS),
    Translation(limited, frozenset({429})),
    Translation(
        limited, frozenset({403}), when=lambda it: it.headers.get("x-ratelimit-remaining") == "0"
    ),
    Translation(limited, frozenset({403}), when=lambda it: "retry-after" in it.headers),
    Translation(
        sso, frozenset({403}), when=lambda it: "required" in it.headers.get("x-github-sso", "")
    ),
    Translation(
        says(
            InvalidInput,
            "github_token_needed",
            "GitHub wants to know who asks: send github_token, or store one in the profile.",
        ),
        frozenset({401}),
        "requires authentication",
    ),
    Translation(
        says(
            Forbidden,
            "github_token_refused",
            "GitHub does not accept the token. It may have ended or been revoked: make a new one "
            "at https://github.com/settings/tokens",
        ),
        frozenset({401}),
    ),
    Translation(
        says(Conflict, "repository_archived", "The repository is archived and cannot be changed."),
        frozenset({403}),
        "archived",
    ),
    Translation(
        says(
            Forbidden,
            "github_ip_refused",
            "The organization's list of allowed addresses lacks this server's.",
        ),
        frozenset({403}),
        "ip allow list",
    ),
    Translation(
        says(Forbidden, "repository_blocked", "GitHub has blocked access to this repository."),
        frozenset({403, 451}),
        "access blocked|unavailable for legal|repository .*disabled",
    ),
    Translation(
        fine_grained,
        frozenset({403, 404}),
        "resource not accessible|fine-grained|forbids access via a personal access token",
    ),
    Translation(scope, frozenset({403, 404}), when=lambda it: bool(it.missing_scopes)),
    Translation(
        says(Conflict, "branch_protected", "The branch is protected: {reason}."),
        frozenset({403, 405, 409, 422}),
        _PROTECTED,
    ),
    Translation(
        # GraphQL says the same of a plan without drafts and of a user who may not.
        says(
            InvalidInput,
            "drafts_not_supported",
            "The repository allows no drafts, or the token's user may not make one here.",
        ),
        frozenset({403, 422}),
        "draft pull requests are not supported|permission to convert the pull request",
    ),
    Translation(
        says(
            Forbidden,
            "repository_no_permission",
            "The token's user may not do this in the repository. Ask for write access to it.",
        ),
        frozenset({403}),
        r"must have .*(?:rights|access|permission)|must be a collaborator|permission to .* denied"
        "|not authorized|does not have the correct permissions",
    ),
    Translation(
        says(Forbidden, "github_refused", "GitHub does not allow this: {reason}."),
        frozenset({403, 451}),
    ),
    Translation(
        says(Conflict, "base_branch_missing", "The base branch does not exist (any more)."),
        frozenset({404, 422}),
        "base does not exist|pullrequest base invalid",
    ),
    Translation(
        says(NotFound, BRANCH_NOT_FOUND, "The branch does not exist (any more)."),
        frozenset({404}),
        "branch not found",
    ),
    Translation(missing, frozenset({404})),
    Translation(
        says(Conflict, "issues_disabled", "The repository has no issues: they are turned off."),
        frozenset({410}),
        "issues",
    ),
    Translation(missing, frozenset({410})),
    Translation(
        says(
            Conflict,
            "merge_method_not_allowed",
            "The repository does not allow this way to merge; take another merge_method.",
        ),
        frozenset({405, 422}),
        "(?:commits|merges) are not allowed|merging is not allowed",
    ),
    Translation(
        says(Conflict, "pull_request_is_draft", "The pull request is a draft; mark it ready."),
        frozenset({405}),
        "draft",
    ),
    Translation(
        says(
            Conflict,
            "head_moved",
            "A branch has changed meanwhile; look at the pull request and merge again.",
        ),
        frozenset({405, 409}),
        "branch was modified|head.*sha",
    ),
    Translation(
        says(Conflict, "not_mergeable", "GitHub cannot merge the pull request: {reason}."),
        frozenset({405, 409}),
    ),
    Translation(
        says(Conflict, "pull_request_exists", "The branch has an open pull request for this base."),
        frozenset({422}),
        "already exists",
    ),
    Translation(
        says(Conflict, "no_commits", "The branch holds no commit that the base lacks."),
        frozenset({422}),
        "no commits between",
    ),
    Translation(
        says(Conflict, "no_common_history", "The branch and the base have no history in common."),
        frozenset({422}),
        "no history in common|unrelated histories",
    ),
    Translation(
        says(Conflict, "head_branch_missing", "The branch of the changes is not on GitHub."),
        frozenset({422}),
        "pullrequest head invalid",
    ),
    Translation(
        says(
            InvalidInput,
            "reviewers_invalid",
            "A reviewer must be a collaborator of the repository, and not the author.",
        ),
        frozenset({422}),
        "review(?:s may only| cannot) be requested|could not resolve to a node",
    ),
    Translation(
        says(NotFound, "commit_not_found", "GitHub does not have the commit (any more)."),
        frozenset({422}),
        "no commit found",
    ),
    Translation(
        says(Forbidden, APP_PERMISSION, "The GitHub App was not granted what it needs here."),
        frozenset({422}),
        "permissions requested are not granted",
    ),
    Translation(invalid, frozenset({400, 413, 422})),
    Translation(away, frozenset(range(500, 600))),
)


def translate_refusal(refusal: Refusal) -> AppError:
    """Return our error for a refusal; what is not in the table counts as GitHub being away."""
    line = next((line for line in TRANSLATIONS if line.fits(refusal)), None)
    return away(refusal) if line is None else line.make(refusal)
