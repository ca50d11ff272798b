"""Settings of GitHub: its API, tokens, webhooks and branches; a part of `utils.config.settings`."""

from __future__ import annotations

import base64
import contextlib
import re
from functools import lru_cache
from typing import Self
from urllib.parse import urlsplit
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from utils.config.addresses import LOOPBACK_HOSTS, safe_address, web_address
from utils.config.groups.cloud import NameList
from utils.config.values import plain_key
from utils.git.branch_names import broken_branch_rule

GITHUB_API_URL = "https://api.github.com"

MIN_SECRET_CHARACTERS = 16
"""Anybody who guesses the webhook secret can start tasks on behalf of others."""

_PEM_IN_ONE_LINE = re.compile(r"(-----BEGIN [A-Z ]+-----)([A-Za-z0-9+/= ]+)(-----END [A-Z ]+-----)")
_LONGEST_TASK_ID = "9" * 18

_REPOSITORY = re.compile(r"[A-Za-z0-9._-]{1,100}/(?:[A-Za-z0-9._-]{1,100}|\*)")

# A branch name that needs no quoting, with the task id in its last part.
_BRANCH_PATTERN = re.compile(
    r"(?![-./])(?!.*\.lock/)(?:[A-Za-z0-9_]|[-./](?=[A-Za-z0-9_{]))*\{task_id\}[A-Za-z0-9_-]*"
)


@lru_cache(maxsize=4)
def load_app_key(pem: str) -> RSAPrivateKey:
    """Return the private key of an App, read once; raise `ValueError` for any other text.

    Its numbers are checked, which takes far longer than to sign with it.
    """
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("not a private RSA key without a password")  # noqa: TRY004
    return key


class GitHubSettings(BaseSettings):
    """Address of GitHub and the credentials of this deployment."""

    github_api_url: str = Field(
        GITHUB_API_URL,
        description="Base URL of GitHub's REST API. For GitHub Enterprise set it to "
        "`https://<host>/api/v3` and add the host to `ALLOWED_GIT_HOSTS`.",
    )
    github_token: SecretStr | None = Field(
        None,
        description="GitHub token for requests of users who have none. `GITHUB_TOKEN_USERS` and "
        "`GITHUB_TOKEN_REPOSITORIES` say whose requests it is used for.",
    )
    github_token_users: NameList = Field(
        (),
        description="Ids of the users whose requests may use the server's own GitHub credentials "
        "(`GITHUB_TOKEN` and the GitHub App), separated by commas; `*` means every user. In "
        "production nobody may while this and `GITHUB_TOKEN_REPOSITORIES` are empty; in "
        "development everybody may. `WEBHOOK_USER_ID` always may.",
    )
    github_token_repositories: NameList = Field(
        (),
        description="Repositories for which the server's own GitHub credentials are used, such as "
        "`owner/name` or `owner/*`, separated by commas. By default all repositories of users who "
        "may use them; alone, all users may use them for these repositories.",
    )
    github_app_id: str | None = Field(
        None,
        description="Id of a GitHub App. Each of its tokens is valid for one repository and one "
        "hour.",
    )
    github_app_private_key: SecretStr | None = Field(
        None,
        description="Private key of the GitHub App in PEM format. Line ends may be written as "
        "`\\n`.",
    )
    github_webhook_secret: SecretStr | None = Field(
        None,
        description="Secret that verifies webhook deliveries from GitHub, at least 16 characters. "
        "Without it, all deliveries are rejected.",
    )
    webhook_tasks: bool = Field(
        default=False,
        description="Start a task when a user with write access comments `/async-code <prompt>` "
        "on GitHub.",
    )
    webhook_user_id: str | None = Field(
        None,
        description="UUID of the user who owns the tasks started by comments. Required with "
        "`WEBHOOK_TASKS`.",
    )
    pull_request_branch: str = Field(
        "async-code/task-{task_id}",
        description="Name of the branch that a task's changes are pushed to.",
    )
    public_url: str | None = Field(
        None,
        description="Address of the web front end. Links to a task are `<PUBLIC_URL>/tasks/<id>`.",
    )

    @field_validator("github_api_url")
    @classmethod
    def _api_reached_safely(cls, value: str) -> str:
        return _api_address(safe_address(value))

    @field_validator("public_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        return None if value is None else web_address(value)

    @field_validator("github_app_id", "webhook_user_id")
    @classmethod
    def _no_blank_id(cls, value: str | None) -> str | None:
        return (value or "").strip() or None

    @field_validator("github_token")
    @classmethod
    def _usable_token(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(plain_key(value.get_secret_value()))

    @field_validator("github_webhook_secret")
    @classmethod
    def _not_blank(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value().strip() if value else ""
        return SecretStr(text) if text else None

    @field_validator("github_app_id")
    @classmethod
    def _app_id(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9.]+", value):
            raise ValueError("must be the App ID or the Client ID on the page of the App")
        return value

    @field_validator("github_webhook_secret")
    @classmethod
    def _hard_to_guess(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_SECRET_CHARACTERS:
            raise ValueError(
                f"must have at least {MIN_SECRET_CHARACTERS} characters; use the output of "
                "`openssl rand -hex 32`, here and for the webhook on GitHub"
            )
        return value

    @field_validator("github_app_private_key")
    @classmethod
    def _rsa_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        pem = _pem(value.get_secret_value())
        try:
            load_app_key(pem)
        except ValueError:
            raise ValueError(
                "must be the text of the whole .pem file that GitHub created for the App, not its "
                "path; line ends may be written as \\n"
            ) from None
        return SecretStr(pem)

    @field_validator("webhook_user_id")
    @classmethod
    def _user_id(cls, value: str | None) -> str | None:
        try:
            return value and str(UUID(value))
        except ValueError:
            raise ValueError("must be a UUID, the id of a user") from None

    @field_validator("github_token_users")
    @classmethod
    def _user_ids(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(name if name == "*" else str(UUID(name)) for name in value)
        except ValueError:
            raise ValueError("must be ids of users (UUIDs), or *") from None

    @field_validator("github_token_repositories")
    @classmethod
    def _repositories(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(name == "*" or _REPOSITORY.fullmatch(name) for name in value):
            raise ValueError("must be names such as owner/name or owner/*")
        return tuple(name.lower() for name in value)

    @field_validator("pull_request_branch")
    @classmethod
    def _one_branch_per_task(cls, value: str) -> str:
        if not _BRANCH_PATTERN.fullmatch(value):
            raise ValueError("must be a branch name with {task_id} in its last part")
        broken = broken_branch_rule(value.replace("{task_id}", _LONGEST_TASK_ID))
        if broken:
            raise ValueError(f"results, for long task ids, in a branch whose name {broken}")
        return value

    @model_validator(mode="after")
    def _app_is_complete(self) -> Self:
        if (self.github_app_id is None) != (self.github_app_private_key is None):
            raise ValueError("GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY must be set together")
        return self

    @model_validator(mode="after")
    def _webhook_settings_are_complete(self) -> Self:
        needed = {
            "GITHUB_WEBHOOK_SECRET": self.github_webhook_secret,
            "WEBHOOK_USER_ID": self.webhook_user_id,
            "GITHUB_APP_ID or GITHUB_TOKEN": self.github_app_id or self.github_token,
        }
        missing = [name for name, value in needed.items() if value is None]
        if self.webhook_tasks and missing:
            raise ValueError(
                f"WEBHOOK_TASKS=true needs {', '.join(missing)}; set the missing settings, or "
                "remove WEBHOOK_TASKS"
            )
        return self

    @property
    def github_host(self) -> str:
        """Host of GitHub's repositories, with its port unless that is the default."""
        parts = urlsplit(self.github_api_url)
        usual = {"https": 443, "http": 80}[parts.scheme]
        authority = parts.netloc.lower().removesuffix(f":{usual}")
        # github.com has an API host of its own; Enterprise has a path on the same host.
        return authority if parts.path else authority.removeprefix("api.")

    def github_clone_url(self, full_name: str) -> str:
        """Return the clone URL of the GitHub repository `owner/name`."""
        return f"{urlsplit(self.github_api_url).scheme}://{self.github_host}/{full_name}"

    def task_branch(self, task_id: int) -> str:
        """Return the branch that a task's changes are pushed to."""
        return self.pull_request_branch.replace("{task_id}", str(task_id))

    def task_url(self, task_id: int) -> str | None:
        """Return the URL of a task in the web front end, or None without `PUBLIC_URL`."""
        return self.public_url and f"{self.public_url}/tasks/{task_id}"


def _api_address(address: str) -> str:
    """Return the address of the API where the address of the web pages was given."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if host in {"github.com", "www.github.com"}:
        return GITHUB_API_URL
    is_web_page = parts.scheme == "https" and parts.path in {"", "/"}
    if is_web_page and not host.startswith("api.") and host not in LOOPBACK_HOSTS:
        return f"{address}/api/v3"
    return address


def _pem(text: str) -> str:
    """Return a key in PEM format: from one line, from base64, or as it is."""
    pem = text.replace("\\n", "\n").replace("\r", "").strip()
    if "-----BEGIN" not in pem:
        with contextlib.suppress(ValueError):
            pem = base64.b64decode("".join(pem.split()), validate=True).decode().strip()
    match = _PEM_IN_ONE_LINE.fullmatch(pem)
    if match:
        pem = "\n".join([match[1], *match[2].split(), match[3]])
    return f"{pem}\n"
