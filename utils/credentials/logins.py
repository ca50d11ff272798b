"""Replaces a stored login of an agent by the one that its program has renewed in a sandbox."""

from __future__ import annotations

from database import Database
from utils.agents.json_lines import child
from utils.agents.registry import sections_of
from utils.credentials.profiles import AGENT_ACCESS, ATTEMPTS, login_text, readable_preferences
from utils.credentials.vault import Vault
from utils.errors import NotFound, RowUnreadable, TaskError
from utils.models.tasks import Json


def replace_login(
    database: Database, vault: Vault, user_id: str, agent: str, sent: Json, renewed: Json
) -> bool:
    """Store a renewed login if the stored one is still the one that was sent (compare-and-set).

    Returns False when it has changed, for example because the user signed in again. Blocks. Raises
    `DatabaseUnavailable`.
    """
    sealed = vault.seal(user_id, AGENT_ACCESS, login_text(renewed))
    try:
        for _ in range(ATTEMPTS):
            seen = database.get_profile(user_id)
            current = readable_preferences(vault, user_id, seen.preferences, agent)
            name = _section_with_login(current, agent)
            if name is None or child(current, name).get("credentials") != sent:
                return False
            section = {**child(seen.preferences, name), "credentials": sealed}
            fields = {"preferences": {**seen.preferences, name: section}}
            if database.replace_profile(user_id, seen, fields):
                return True
    except (NotFound, RowUnreadable, TaskError):
        return False
    return False


def _section_with_login(preferences: Json, agent: str) -> str | None:
    sections = sections_of(agent)
    return next((name for name in sections if child(child(preferences, name), "credentials")), None)
