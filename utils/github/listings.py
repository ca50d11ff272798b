"""Lists the repositories that a token reaches, and the branches of a repository."""

from __future__ import annotations

from itertools import islice

from utils.github.connection import MAX_LISTED, GitHubConnection
from utils.github.errors import translating
from utils.github.models import GitHubRepository, repository_value


class Listings(GitHubConnection):
    """Lists what a person chooses from, at most 300 of each."""

    def repositories(self) -> tuple[GitHubRepository, ...]:
        """Return the repositories of the token's user, those pushed to last first."""
        with translating("user"):
            found = self._github.get_user().get_repos(sort="pushed", direction="desc")
            return tuple(
                repository_value(one, one.full_name, is_app=self._is_app)
                for one in islice(found, MAX_LISTED)
            )

    def branches(self, full_name: str) -> tuple[str, ...]:
        """Return the names of a repository's branches."""
        with translating():
            found = self._repository(full_name).get_branches()
            return tuple(branch.name for branch in islice(found, MAX_LISTED))
