"""Reads from a request which repository a sandbox is to have."""

from __future__ import annotations

from pydantic import SecretStr

from utils.api.endpoint import Services
from utils.git.repository_url import parse_repository_url, validate_branch
from utils.sandbox_service.repositories import RepositorySource, checked_name


def wanted_repository(
    services: Services,
    user_id: str,
    repo_url: str,
    branch: str | None,
    name: str | None,
    token: SecretStr | None,
) -> RepositorySource:
    """Return the repository to clone, with the token of the request, else the user's stored one.

    Raises `RepositoryNotAllowed`, `InvalidBranch`, `InvalidInput`.
    """
    settings = services.settings
    repository = parse_repository_url(
        repo_url,
        allowed_hosts=settings.allowed_git_hosts,
        allow_local=settings.local_repos_allowed,
    )
    wanted = branch or repository.branch or ""
    return RepositorySource(
        name=checked_name(name or repository.name),
        repo_url=repository.url,
        branch=validate_branch(wanted) if wanted else "",
        token=services.github_tokens.user_token(user_id, repository.url, token).token,
    )
