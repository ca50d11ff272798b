"""Frozen values of users, profiles, projects, refresh tokens and API keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from utils.models.tasks import Json

REFRESH_RETRY_PERIOD = timedelta(seconds=30)
"""Time in which a used refresh token is accepted again, in case the response was lost."""


@dataclass(frozen=True, slots=True)
class User:
    """A row of `users`. `expires_at` is set for test users only."""

    id: str
    email: str | None
    created_at: datetime
    is_test_user: bool = False
    expires_at: datetime | None = None
    metadata: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Profile:
    """The profile of a user as stored.

    `github_token` and the credentials in `preferences` are encrypted if they were stored through
    this server (see `utils.credentials.vault`), and plain text otherwise.
    """

    id: str
    email: str | None
    full_name: str | None
    avatar_url: str | None
    github_username: str | None
    github_token: str | None = field(repr=False)
    preferences: Json = field(repr=False)
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Project:
    """A row of `projects` with its task counters."""

    id: int
    user_id: str
    name: str
    description: str | None
    repo_url: str
    repo_owner: str
    repo_name: str
    is_active: bool
    settings: Json
    created_at: datetime
    updated_at: datetime
    task_count: int = 0
    completed_tasks: int = 0
    active_tasks: int = 0


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A stored refresh token: its SHA-256. The tokens of one sign-in form a family.

    `session` is set when the sign-in came from Supabase and the database knows its accounts: the id
    of Supabase's session, or an empty text for a token without one. `ends_at` is the time at which
    the whole family ends.
    """

    token_hash: str
    family: str
    user_id: str
    expires_at: datetime
    session: str | None = None
    ends_at: datetime | None = None


class Scope(StrEnum):
    """The scopes of API keys. Each includes the ones before it."""

    READ = "read"
    RUN = "run"
    ADMIN = "admin"

    def includes(self, other: Scope) -> bool:
        """Tell whether a caller with this scope may do what the other scope allows."""
        scopes = list(Scope)
        return scopes.index(self) >= scopes.index(other)


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """An API key to store: the SHA-256 of the key, and its first characters for lists."""

    name: str
    prefix: str
    key_hash: str = field(repr=False)
    scope: Scope
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A row of `api_keys`. `is_blocked` is true when Supabase has banned or deleted the account."""

    id: int
    user_id: str
    name: str
    prefix: str
    key_hash: str = field(repr=False)
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    is_blocked: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """The user of a request and what the request's credentials allow.

    `expires_at` is the end of the API key, None for other credentials and for keys without an end.
    A caller is not `is_verified` who may only have told a user id.
    """

    user_id: str
    scope: Scope = Scope.ADMIN
    expires_at: datetime | None = None
    is_verified: bool = True


def canonical_user_id(text: object) -> str | None:
    """Return a UUID in lower-case form with dashes, or None for anything else."""
    if not isinstance(text, str) or len(text) != 36:  # noqa: PLR2004
        return None
    try:
        canonical = str(UUID(text))
    except ValueError:
        return None
    return canonical if canonical == text.lower() else None
