"""Combines all settings in one value. Only this module reads the environment."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

from pydantic import SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from utils.config.addresses import LOOPBACK_HOSTS
from utils.config.database_url import password_of
from utils.config.groups.cloud import CloudSettings
from utils.config.groups.github import GitHubSettings
from utils.config.groups.limits import LimitSettings, TaskLimitSettings
from utils.config.groups.maintenance import MaintenanceSettings
from utils.config.groups.sandboxes import SandboxSettings
from utils.config.groups.schedules import ScheduleSettings
from utils.config.groups.server import REQUEST_THREADS, SUPABASE_REQUEST_THREADS, ServerSettings
from utils.config.groups.snapshots import SnapshotSettings
from utils.config.groups.supabase import SupabaseSettings
from utils.config.groups.usage import UsageSettings
from utils.config.proxies import BYPASS_VARIABLE, PROXY_VARIABLES
from utils.config.values import check_number, clean

ENV_FILE = ".env"
_SYSTEM_VARIABLES = ("PATH", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO")


def inherited_environment() -> dict[str, str]:
    """Return the environment variables that processes in local sandboxes inherit.

    They contain no secrets: proxies with a password are left out.
    """
    plain = {name: os.environ[name] for name in _SYSTEM_VARIABLES if name in os.environ}
    return plain | {name: url for name, url in proxies().items() if "@" not in url}


def proxies_with_password() -> dict[str, str]:
    """Return the proxy variables with a password, which only git of this server receives."""
    return {name: url for name, url in proxies().items() if "@" in url}


def has_proxy() -> bool:
    """Tell whether connections may go through a proxy, which resolves names itself."""
    return any(url for name, url in proxies().items() if name.upper() != BYPASS_VARIABLE)


def proxies() -> dict[str, str]:
    """Return the proxy variables that are set, in both spellings."""
    names = [*PROXY_VARIABLES, BYPASS_VARIABLE]
    spelled = (*names, *(name.lower() for name in names))
    return {name: os.environ[name] for name in spelled if name in os.environ}


def process_environment() -> MutableMapping[str, str]:
    """Return the environment, for the start of a command."""
    return os.environ


class Settings(
    TaskLimitSettings,
    ServerSettings,
    SandboxSettings,
    LimitSettings,
    MaintenanceSettings,
    ScheduleSettings,
    GitHubSettings,
    SupabaseSettings,
    UsageSettings,
    CloudSettings,
    SnapshotSettings,
):
    """Holds all settings. Created once, frozen, and passed to every part that needs it.

    Raises pydantic's `ValidationError` for an invalid value or an unsafe combination.
    """

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        # Editors of Windows put a mark before the first character.
        env_file_encoding="utf-8-sig",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        plain = clean(name, value)
        return cls.model_fields[name].default if plain == "" else plain

    @field_validator("*", mode="after")
    @classmethod
    def _within_bounds(cls, value: Any, info: ValidationInfo) -> Any:
        return check_number(str(info.field_name), value)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.sandbox == "e2b" and self.e2b_api_key is None:
            raise ValueError("SANDBOX=e2b needs E2B_API_KEY: https://e2b.dev/dashboard")
        if self.e2b_api_key_next is not None and self.e2b_api_key is None:
            raise ValueError("E2B_API_KEY_NEXT needs E2B_API_KEY, the key that is used first")
        if len({*self.e2b_api_keys}) < len(self.e2b_api_keys):
            raise ValueError("E2B_API_KEY_NEXT is the same key as E2B_API_KEY; set the other one")
        return self

    @model_validator(mode="after")
    def _has_an_engine(self) -> Self:
        if self.task_engine == "absurd" and not self.shares_rows:
            raise ValueError(
                "TASK_ENGINE=absurd needs a database that several servers can share: set "
                "DATABASE_URL, or SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY"
            )
        if not self.work and not self.may_use_engine:
            raise ValueError(
                "WORK=false needs the task engine, without which no other server gets the tasks: "
                "set DATABASE_URL, or SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY, and remove "
                "TASK_ENGINE=own"
            )
        if self.max_sandboxes is not None and not self.may_use_engine:
            raise ValueError(
                "MAX_SANDBOXES is for the workers of a database with the task engine. Without one "
                "set MAX_CONCURRENT_TASKS"
            )
        if self.http_processes > 1 and not self.may_use_engine:
            raise ValueError(
                "HTTP_PROCESSES above 1 needs a database that processes can share, and its task "
                "engine: set DATABASE_URL, or SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY, and "
                "remove TASK_ENGINE=own; or remove HTTP_PROCESSES"
            )
        return self

    @model_validator(mode="after")
    def _safe_in_production(self) -> Self:
        if not self.is_production:
            return self
        if self.sandbox == "auto" and not self.uses_e2b:
            raise ValueError(
                "ENVIRONMENT=production needs E2B_API_KEY. To run tasks on this machine instead, "
                "set SANDBOX=isolated. SANDBOX=local does not isolate them"
            )
        if self.jwt_secret is None:
            raise ValueError("ENVIRONMENT=production needs JWT_SECRET: openssl rand -hex 32")
        return self

    @property
    def secrets(self) -> list[str]:
        """All secret values in the settings; they must never appear in any output."""
        values = [value for _, value in self if isinstance(value, SecretStr)]
        address = self.database_url.get_secret_value() if self.database_url else ""
        # Errors of the driver may show the password as it is, or as it stands in the address.
        password = password_of(address) if address else ""
        passwords = [urlsplit(url).password for url in proxies_with_password().values()]
        texts = [value.get_secret_value() for value in values]
        return [text for text in (*texts, password, quote(password), *passwords) if text]

    @property
    def shares_rows(self) -> bool:
        """True when the rows are in a database that several servers may use."""
        return self.uses_supabase or self.database_url is not None

    @property
    def may_use_engine(self) -> bool:
        """True unless it is certain that the task engine is not used."""
        return self.shares_rows and self.task_engine != "own"

    @property
    def sandbox_kind(self) -> str:
        """Name of the kind of sandbox that tasks run in; see `utils.sandboxes.registry`."""
        if self.sandbox == "auto":
            return "local" if self.e2b_api_key is None else "e2b"
        return self.sandbox

    @property
    def uses_e2b(self) -> bool:
        """True when tasks run in E2B's cloud sandboxes."""
        return self.sandbox_kind == "e2b"

    @property
    def request_threads(self) -> int:
        """Number of threads that answer HTTP requests."""
        default = SUPABASE_REQUEST_THREADS if self.uses_supabase else REQUEST_THREADS
        return self.http_threads or default

    @property
    def queued_per_user(self) -> int:
        """Maximum number of queued tasks of one user."""
        return self.max_queued_per_user or max(5, self.max_queued_tasks // 4)

    @property
    def group_size(self) -> int:
        """Maximum number of tasks of a group: all of them must have a place in the queue."""
        return min(self.max_group_size, self.queued_per_user, self.max_queued_tasks)

    @property
    def is_production(self) -> bool:
        """True when the strict defaults apply."""
        return self.environment == "production"

    def is_trusted_proxy(self, address: str) -> bool:
        """Tell whether a header of a request from this address names the client's address."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in ip_network(name, strict=False) for name in self.trusted_proxies)

    @property
    def listen_host(self) -> str:
        """Address that the server listens on."""
        return self.host or ("0.0.0.0" if self.is_production else "127.0.0.1")  # noqa: S104

    @property
    def trusts_user_id(self) -> bool:
        """True when a user id is accepted without a token (trust mode)."""
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
    def scripted_prompts_enabled(self) -> bool:
        """True when the scripted agent executes prompts that begin with `script:`."""
        if self.enable_scripted_prompts is not None:
            return self.enable_scripted_prompts
        return not self.is_production

    @property
    def local_repos_allowed(self) -> bool:
        """True when repositories on this machine may be cloned."""
        if self.allow_local_repos is not None:
            return self.allow_local_repos
        return not self.is_production and not self.uses_e2b

    @property
    def programs_path(self) -> Path:
        """Folder of the agent programs for isolated sandboxes."""
        return self.agent_programs_dir or self.data_dir / "agent-programs"

    @property
    def mirrors_path(self) -> Path | None:
        """Folder of the mirrors, or None when mirrors are turned off."""
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


def explain_settings(error: ValidationError) -> list[str]:
    """Return lines that name each invalid setting, the fault and the description."""
    lines = ["These settings are invalid:"]
    for problem in error.errors(include_url=False, include_input=False):
        text = problem["msg"].removeprefix("Value error, ")
        name = str(problem["loc"][0]) if problem["loc"] else ""
        field = Settings.model_fields.get(name)
        lines.append(f"  {name.upper()}: {text}" if name else f"  {text}")
        if field is not None and field.description:
            lines.append(f"    {field.description}")
    lines.append("Settings come from the environment and from .env; .env.example lists them.")
    return lines
