"""Seals the secrets of projects, and opens them for the tasks of their owner."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import SecretStr

from utils.credentials.vault import Vault
from utils.errors import TaskError
from utils.models.environments import ProjectSecret


@dataclass(frozen=True, slots=True)
class OpenSecrets:
    """The secrets of a project as variables: all of them, and those that the agent gets as well.

    `versions` tells when each was stored.
    """

    for_setup: dict[str, str] = field(default_factory=dict, repr=False)
    for_agent: dict[str, str] = field(default_factory=dict, repr=False)
    versions: dict[str, str] = field(default_factory=dict)


def seal_secret(
    vault: Vault, user_id: str, project_id: int, name: str, value: SecretStr, *, for_agent: bool
) -> ProjectSecret:
    """Return a secret as it is stored: bound to its user, project and name."""
    sealed = vault.seal(user_id, purpose_of(project_id, name), value.get_secret_value())
    return ProjectSecret(project_id, name, sealed, for_agent, datetime.now(UTC))


def open_secrets(vault: Vault, user_id: str, stored: Iterable[ProjectSecret]) -> OpenSecrets:
    """Decrypt the secrets of a project. Raises `TaskError` (`stored_secret_unreadable`)."""
    opened = OpenSecrets()
    for secret in stored:
        try:
            text = vault.unseal(user_id, purpose_of(secret.project_id, secret.name), secret.sealed)
        except TaskError as error:
            raise TaskError(
                "A secret of the project cannot be decrypted: SECRET_KEY has changed, or this "
                "worker has another one than the server. Store it again with PUT "
                "/projects/{project_id}/secrets/{name}, or have the server started with the "
                "previous key as SECRET_KEY_PREVIOUS.",
                error.code,
            ) from None
        opened.for_setup[secret.name] = text.get_secret_value()
        opened.versions[secret.name] = secret.updated_at.isoformat()
        if secret.for_agent:
            opened.for_agent[secret.name] = text.get_secret_value()
    return opened


def purpose_of(project_id: int, name: str) -> str:
    """Return the purpose that a secret is sealed for."""
    return f"project_secret {project_id} {name}"
