"""Declares the operations on the secrets of projects; a part of `database.Database`."""

from __future__ import annotations

from typing import Protocol

from utils.models.environments import ProjectSecret


class SecretVerbs(Protocol):
    """The operations on secrets. They are stored sealed; see `utils.credentials.vault`."""

    def put_project_secret(self, user_id: str, secret: ProjectSecret) -> None:
        """Store a secret, in place of an earlier one of its name.

        Raises `NotFound`, and `Conflict` (`too_many_secrets`).
        """

    def list_project_secrets(self, user_id: str, project_id: int) -> list[ProjectSecret]:
        """Return the secrets of a project by name. Raises `NotFound`."""

    def delete_project_secret(self, user_id: str, project_id: int, name: str) -> None:
        """Delete a secret. Raises `NotFound`."""

    def reseal_project_secret(self, seen: ProjectSecret, sealed: str) -> bool:
        """Replace the sealed text of a secret that is still the same (compare-and-set)."""

    def list_secret_projects(self, after: int = 0, *, limit: int = 200) -> list[tuple[int, str]]:
        """Return id and user of the projects with secrets above an id, by id."""
