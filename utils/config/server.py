"""Settings of the server itself; a part of `utils.config.settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from utils.config.addresses import host_name
from utils.config.cloud import NameList

MINIMUM_KEY_CHARACTERS = 32

REQUEST_THREADS = 10
SUPABASE_REQUEST_THREADS = 24


class ServerSettings(BaseSettings):
    """Addresses, storage, keys, sign-in, repositories and the kind of sandbox."""

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
