"""What GitHub says of the deployment's App, for whoever sets it up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from utils.config.github import GitHubSettings
from utils.github.app import LEVELS, AppIdentity, Purpose
from utils.github.errors import translating


@dataclass(frozen=True, slots=True)
class AppFacts:
    """What GitHub says of an App.

    `permissions` are those of its settings; an installation may not have accepted them yet.
    `installations` is None where GitHub does not tell how many there are.
    """

    name: str
    permissions: Mapping[str, Any]
    installations: int | None


def describe_app(settings: GitHubSettings, timeout_seconds: int) -> AppFacts:
    """Ask GitHub about the App of the settings, once.

    Raises what `AppIdentity` raises, and `Unavailable` (`github_unavailable`).
    """
    with AppIdentity.of(settings).speaking(timeout_seconds) as client, translating("app"):
        _, answer = client.requester.requestJsonAndCheck("GET", "/app")
        if not isinstance(answer, dict) or not isinstance(answer.get("permissions"), dict):
            raise TypeError("an answer about an App lacks its permissions")
        installations = answer.get("installations_count")
        return AppFacts(
            str(answer.get("name")),
            answer["permissions"],
            installations if isinstance(installations, int) else None,
        )


def all_permissions() -> dict[str, str]:
    """Return what an App needs to be of use for every purpose."""
    needed: dict[str, str] = {}
    for name, level in (pair for purpose in Purpose for pair in purpose.permissions.items()):
        needed[name] = max(needed.get(name, level), level, key=LEVELS.index)
    return dict(sorted(needed.items()))
