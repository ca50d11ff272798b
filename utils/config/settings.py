"""Every setting, typed and described. This is the only module that reads the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from utils.config.addresses import LOOPBACK_HOSTS, host_name
from utils.config.cloud import CloudSettings, NameList
from utils.config.github import GitHubSettings
from utils.config.limits import LimitSettings, Megabyte
from utils.config.supabase import SupabaseSettings

MINIMUM_KEY_CHARACTERS = 32

REQUEST_THREADS = 10
SUPABASE_REQUEST_THREADS = 24

E2B_TASK_PLACES = 20
"""Sandboxes that E2B's smallest plan allows at once."""

_SYSTEM_VARIABLES = ("PATH", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO")
_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def inherited_environment() -> dict[str, str]:
    """Return the few variables of the server that every process of a local sandbox sees.

    None holds a secret: a proxy that needs a password is left out.
    """
    plain = {name: os.environ[name] for name in _SYSTEM_VARIABLES if name in os.environ}
    return plain | {name: url for name, url in _proxies().items() if "@" not in url}


def proxies_with_password() -> dict[str, str]:
    """Return the proxy variables that only our own git may see."""
    return {name: url for name, url in _proxies().items() if "@" in url}


def _proxies() -> dict[str, str]:
    names = (*_PROXY_VARIABLES, *(name.lower() for name in _PROXY_VARIABLES))
    return {name: os.environ[name] for name in names if name in os.environ}


class Settings(LimitSettings, GitHubSettings, SupabaseSettings, CloudSettings):
    """The deployment's choices; one frozen value, made once and handed to everything else.

    Raises pydantic's `ValidationError` for a wrong type or an unsafe combination.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    environment: Literal["development", "production"] = Field(
        "development", description="`production` turns on the strict defaults."
    )
    host: str | None = Field(
        None, description="Address to listen on; loopback in development, all in production."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    http_threads: int | None = Field(
        None,
        ge=1,
        le=48,
        description=f"Threads that answer HTTP requests; when not given, {REQUEST_THREADS}, and "
        f"{SUPABASE_REQUEST_THREADS} with Supabase, whose answers they wait for.",
    )
    cors_origins: NameList = Field(
        ("http://localhost:3000",), description="Web origins that may call, separated by commas."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe log line that is written."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto` is JSON in production, readable text otherwise."
    )

    data_dir: Path = Field(
        Path("data"), description="Folder for the embedded database, keys and local sandboxes."
    )
    database_url: SecretStr | None = Field(
        None, description="PostgreSQL URL; without it SQLite in `DATA_DIR` is used."
    )

    jwt_secret: SecretStr | None = Field(
        None,
        description="Signs access tokens, 32 characters or more; required in production, "
        "made once in `DATA_DIR` otherwise.",
    )
    secret_key: SecretStr | None = Field(
        None,
        description="Encrypts tokens at rest, 32 characters or more; made once in `DATA_DIR` "
        "when not given.",
    )
    secret_key_previous: SecretStr | None = Field(
        None,
        description="The `SECRET_KEY` before the present one: what it encrypted can still be read.",
    )
    trust_user_id: bool | None = Field(
        None,
        description="Believe a bare user id. On by default only in development on loopback, "
        "without Supabase.",
    )
    enable_test_users: bool | None = Field(
        None, description="Serve /test-users. On where `TRUST_USER_ID` is on by default."
    )
    access_token_seconds: int = Field(3600, ge=60, description="Life of an access token.")
    refresh_token_seconds: int = Field(604_800, ge=60, description="Life of a refresh token.")

    allowed_git_hosts: NameList = Field(
        ("github.com",), description="Hosts to clone from, separated by commas; `*` is any host."
    )
    allow_local_repos: bool | None = Field(
        None,
        description="Allow file paths, file:// and http:// on loopback. On in development without "
        "E2B, whose sandboxes do not see this machine.",
    )

    sandbox: Literal["auto", "local", "e2b"] = Field(
        "auto",
        description="`e2b` needs `E2B_API_KEY`, `local` runs tasks in folders of this machine; "
        "`auto` is `e2b` with a key. Production wants `local` said.",
    )
    max_concurrent_tasks: int | None = Field(
        None,
        ge=1,
        le=500,
        description=f"Tasks that run at once; when not given, {E2B_TASK_PLACES} with E2B and else "
        "the number of cores.",
    )
    max_tasks_per_user: int = Field(8, ge=1, description="Tasks of one user that run at once.")
    max_queued_tasks: int = Field(
        1000, ge=1, description="Tasks that wait; one more is answered with 429."
    )
    max_attempts: int = Field(
        3, ge=1, description="Times a task is started when the server dies under it."
    )
    sandbox_timeout_seconds: float = Field(
        600, gt=0, description="Limit for clone and agent together."
    )
    clone_timeout_seconds: float = Field(60, gt=0, description="Limit for the clone.")
    agent_timeout_seconds: float = Field(300, gt=0, description="Limit for the agent.")
    command_timeout_seconds: float = Field(30, gt=0, description="Limit for every other command.")
    shutdown_grace_seconds: float = Field(
        10, ge=0, description="Time that running tasks get to finish when the server stops."
    )
    server_silence_seconds: float = Field(
        30,
        gt=0,
        description="Silence after which another server on the same database counts as ended, and "
        "its tasks are taken over.",
    )
    clone_depth: int = Field(
        0, ge=0, description="Commits of history to clone; 0 is all of the branch."
    )
    mirror_dir: Path | None = Field(
        None,
        description="Folder for local mirrors of repositories; `DATA_DIR/mirrors` if not given.",
    )
    mirror_max_bytes: int = Field(
        2000 * Megabyte, ge=0, description="Size of all mirrors together; 0 turns mirrors off."
    )

    @field_validator("allowed_git_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name if name == "*" else host_name(name) for name in value)

    @field_validator("jwt_secret", "secret_key", "secret_key_previous")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MINIMUM_KEY_CHARACTERS:
            raise ValueError("needs at least 32 characters; try: openssl rand -hex 32")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.sandbox == "e2b" and self.e2b_api_key is None:
            raise ValueError("SANDBOX=e2b needs E2B_API_KEY: https://e2b.dev/dashboard")
        return self

    @model_validator(mode="after")
    def _safe_in_production(self) -> Self:
        if not self.is_production:
            return self
        if self.sandbox == "auto" and not self.uses_e2b:
            raise ValueError(
                "ENVIRONMENT=production needs E2B_API_KEY. To run tasks as processes of this "
                "machine on purpose, set SANDBOX=local"
            )
        if self.jwt_secret is None:
            raise ValueError("ENVIRONMENT=production needs JWT_SECRET: openssl rand -hex 32")
        return self

    @property
    def secrets(self) -> list[str]:
        """Everything among the settings that must not leave the process as text."""
        values = [value for _, value in self if isinstance(value, SecretStr)]
        password = (
            urlsplit(self.database_url.get_secret_value()).password if self.database_url else None
        )
        proxies = [urlsplit(url).password for url in proxies_with_password().values()]
        texts = [value.get_secret_value() for value in values]
        return [text for text in (*texts, password, *proxies) if text]

    @property
    def sandbox_kind(self) -> str:
        """Name of the kind of sandbox that tasks run in; `utils.sandboxes.registry` has them."""
        if self.sandbox == "auto":
            return "local" if self.e2b_api_key is None else "e2b"
        return self.sandbox

    @property
    def uses_e2b(self) -> bool:
        """True when tasks run in E2B's cloud sandboxes."""
        return self.sandbox_kind == "e2b"

    @property
    def request_threads(self) -> int:
        """The maximum number of threads that answer HTTP requests."""
        default = SUPABASE_REQUEST_THREADS if self.uses_supabase else REQUEST_THREADS
        return self.http_threads or default

    @property
    def is_production(self) -> bool:
        """True when the strict defaults apply."""
        return self.environment == "production"

    @property
    def listen_host(self) -> str:
        """Address the server binds."""
        return self.host or ("0.0.0.0" if self.is_production else "127.0.0.1")  # noqa: S104

    @property
    def trusts_user_id(self) -> bool:
        """True when callers may send a user id without a token."""
        if self.trust_user_id is not None:
            return self.trust_user_id
        return self._is_private_development

    @property
    def test_users_enabled(self) -> bool:
        """True when /test-users is served; never in production."""
        if self.is_production:
            return False
        if self.enable_test_users is not None:
            return self.enable_test_users
        return self._is_private_development

    @property
    def local_repos_allowed(self) -> bool:
        """True when repositories on this machine may be cloned."""
        if self.allow_local_repos is not None:
            return self.allow_local_repos
        return not self.is_production and not self.uses_e2b

    @property
    def mirrors_path(self) -> Path | None:
        """Folder of the mirrors, or None when they are turned off."""
        if self.mirror_max_bytes == 0:
            return None
        return self.mirror_dir or self.data_dir / "mirrors"

    @property
    def _is_private_development(self) -> bool:
        return (
            not self.is_production
            and not self.verifies_supabase
            and self.listen_host in LOOPBACK_HOSTS
        )
