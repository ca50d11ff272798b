"""Declares the operations on API keys; a part of `database.Database`."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from utils.models.users import ApiKey, NewApiKey


class ApiKeyVerbs(Protocol):
    """The operations on API keys."""

    def add_api_key(self, user_id: str, new: NewApiKey) -> ApiKey:
        """Store an API key. Raises `Unauthenticated`, and `Conflict` (`too_many_keys`)."""

    def find_api_key(self, prefix: str) -> ApiKey | None:
        """Return the API key with this prefix, also an expired one; None for an unknown one."""

    def list_api_keys(self, user_id: str) -> list[ApiKey]:
        """Return the API keys of a user, newest first."""

    def delete_api_key(self, user_id: str, key_id: int) -> ApiKey:
        """Delete an API key and return it. Raises `NotFound`."""

    def record_key_use(self, key_id: int, moment: datetime) -> None:
        """Store the last use of an API key, at most once in `KEY_USE_PERIOD`."""

    def has_api_key(self, moment: datetime) -> bool:
        """Tell whether any user has an API key that has not expired."""
