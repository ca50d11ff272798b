"""Settings of the server itself; a part of `utils.config.settings`."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from utils.config.addresses import expanded, host_name, listening_address
from utils.config.database_url import database_address
from utils.config.groups.cloud import NameList
from utils.config.origins import web_origin
from utils.config.values import is_placeholder

MINIMUM_KEY_CHARACTERS = 32
_PUBLIC_SECRETS = ("super-secret-jwt-token", "change-me", "changeme")

REQUEST_THREADS = 10
SUPABASE_REQUEST_THREADS = 24


class ServerSettings(BaseSettings):
    """Addresses, storage, keys, sign-in, repositories and the kind of sandbox."""

    environment: Literal["development", "production"] = Field(
        "development",
        description="`production` turns on strict defaults: requests need a token, `JWT_SECRET` is "
        "required, and so is `E2B_API_KEY` or another choice of `SANDBOX`.",
    )
    host: str | None = Field(
        None,
        description="Address to listen on. The default is 127.0.0.1 in development and 0.0.0.0 in "
        "production.",
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on.")
    http_threads: int | None = Field(
        None,
        ge=1,
        le=48,
        description="Number of threads that answer HTTP requests. The default is "
        f"{REQUEST_THREADS}, or {SUPABASE_REQUEST_THREADS} when rows are stored in Supabase.",
    )
    http_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Number of web processes, which share the port. Above 1 they run no tasks: a "
        "worker beside them does, unless `WORK=false`. Needs a database with the task engine.",
    )
    http_connections: int = Field(
        1000,
        ge=64,
        le=100_000,
        description="Maximum number of open HTTP connections, and at most half of the open files "
        "that the system allows. Streams of events count too. At the limit the connection that has "
        "been idle for longest is closed, and a stream only if there is no other.",
    )
    http_read_seconds: float = Field(
        15,
        gt=0,
        description="Time limit in seconds for receiving the head of a request, and the same again "
        "for its body, plus a second for each 10 kB of the body.",
    )
    http_write_seconds: float = Field(
        30,
        gt=0,
        description="Time limit in seconds for a client to read a response, plus a second for each "
        "10 kB that it has read.",
    )
    sign_ins_per_address: int = Field(
        600,
        ge=1,
        description="Maximum number of sign-ins and refreshes from one address in a minute. All "
        "users of a front end may share its address; see `TRUSTED_PROXIES`. Further ones get 429.",
    )
    sign_ins_per_user: int = Field(
        60,
        ge=1,
        description="Maximum number of sign-ins and refreshes of one user in a minute. Further "
        "ones get 429.",
    )
    trusted_proxies: NameList = Field(
        (),
        description="Addresses or networks of the proxies in front of the server, separated by "
        "commas. The address of a client is then read from the X-Forwarded-For header that they "
        "set.",
    )
    metrics_token: SecretStr | None = Field(
        None,
        description="Token that /metrics requires as Bearer. Without it, /metrics answers only "
        "requests from this machine that no proxy forwarded.",
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port on 127.0.0.1 at which `./run.sh worker` answers /metrics and /health. "
        "Without it a worker listens on no port. A server answers both at `PORT`.",
    )
    cors_origins: NameList = Field(
        ("http://localhost:3000",),
        description="Web origins allowed to call the API from a browser (CORS), separated by "
        "commas. `https://*.example.com` stands for all subdomains, `*` for every origin.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Minimum level of the log lines that are written."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto",
        description="Format of log lines. `auto` means JSON in production and readable text "
        "otherwise.",
    )

    data_dir: Path = Field(
        Path("data"),
        description="Folder for the SQLite database, generated keys and local sandboxes.",
    )
    database_url: SecretStr | None = Field(
        None,
        description="PostgreSQL connection URL. Without it, rows are stored in SQLite in "
        "`DATA_DIR`.",
    )

    jwt_secret: SecretStr | None = Field(
        None,
        description="Secret that signs access tokens, at least 32 characters. Required in "
        "production; otherwise generated once and stored in `DATA_DIR`.",
    )
    secret_key: SecretStr | None = Field(
        None,
        description="Key that encrypts stored tokens and credentials, at least 32 characters. By "
        "default generated once and stored in `DATA_DIR`.",
    )
    secret_key_previous: SecretStr | None = Field(
        None,
        description="Previous `SECRET_KEY`. Set it after a key change so that values encrypted "
        "with the old key can still be read.",
    )
    trust_user_id: bool | None = Field(
        None,
        description="Accept a user id without a token. By default on only in development, on a "
        "loopback address, without Supabase.",
    )
    enable_test_users: bool | None = Field(
        None,
        description="Serve the /test-users endpoints. By default on where `TRUST_USER_ID` is on "
        "by default; never in production.",
    )
    access_token_seconds: int = Field(
        3600, ge=60, description="Lifetime of an access token, in seconds."
    )
    refresh_token_seconds: int = Field(
        604_800, ge=60, description="Lifetime of a refresh token, in seconds."
    )

    allowed_git_hosts: NameList = Field(
        ("github.com",),
        description="Git hosts that repositories may be cloned from, separated by commas. `*` "
        "allows every host.",
    )
    allow_local_repos: bool | None = Field(
        None,
        description="Allow repositories on this machine: file paths, file:// URLs and http:// "
        "URLs on loopback. By default on in development without E2B.",
    )

    sandbox: Literal["auto", "local", "isolated", "e2b"] = Field(
        "auto",
        description="Kind of sandbox. `e2b` uses E2B's cloud and needs `E2B_API_KEY`; `isolated` "
        "runs tasks on this machine (Linux) and keeps them away from everything else on it with "
        "bubblewrap; `local` runs them as processes of this machine, for development; `auto` means "
        "`e2b` when there is a key, else `local`. In production `local` must be set explicitly.",
    )
    isolated_network: Literal["none", "allow-list", "open"] = Field(
        "allow-list",
        description="Hosts that isolated sandboxes may reach, by HTTP and HTTPS. `none`: the git "
        "host and the API of the model of the task; `allow-list`: those, "
        "`ISOLATED_ALLOWED_HOSTS` and the package registries; `open`: every public host as well. "
        "Private networks and this machine only where the list names them.",
    )
    isolated_allowed_hosts: NameList = Field(
        (),
        description="Further hosts that isolated sandboxes may reach, separated by commas: `host`, "
        "`host:port`, or `*.example.com` for all public names below.",
    )
    isolated_allow_registries: bool = Field(
        default=True,
        description="Allow isolated sandboxes to reach the package registries that `npm` and `pip` "
        "of this machine are set up to use, by variables or files, also in a private network. "
        "Sandboxes get the addresses; one with a password is left out. Name other registries in "
        "`ISOLATED_ALLOWED_HOSTS`.",
    )
    isolated_readable_paths: NameList = Field(
        (),
        description="More files and folders of this machine that isolated sandboxes may read, "
        "separated by commas, such as that of a compiler outside of /usr.",
    )
    agent_programs_dir: Path | None = Field(
        None,
        description="Folder of the agent programs for isolated sandboxes, which "
        "`./run.sh install-agents` fills. The default is `DATA_DIR/agent-programs`. Programs "
        "installed in /usr are found too.",
    )

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(web_origin, value))

    @field_validator("allowed_git_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name if name == "*" else host_name(name) for name in value)

    @field_validator("isolated_allowed_hosts")
    @classmethod
    def _reachable_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            f"*.{host_name(name[2:])}" if name.startswith("*.") else host_name(name)
            for name in value
        )

    @field_validator("isolated_readable_paths")
    @classmethod
    def _readable_paths(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(name.startswith(("/", "~")) for name in value):
            raise ValueError("needs absolute paths, such as /opt/go")
        return tuple(str(expanded(Path(name))) for name in value)

    @field_validator("agent_programs_dir")
    @classmethod
    def _programs_path(cls, value: Path | None) -> Path | None:
        return None if value is None else expanded(value)

    @field_validator("host")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        return None if value is None else listening_address(value)

    @field_validator("data_dir")
    @classmethod
    def _data_path(cls, value: Path) -> Path:
        return expanded(value)

    @field_validator("database_url")
    @classmethod
    def _database_address(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(database_address(value.get_secret_value()))

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            try:
                ip_network(name, strict=False)
            except ValueError:
                raise ValueError(
                    "needs addresses such as 127.0.0.1 or networks such as 10.0.0.0/8"
                ) from None
        return value

    @field_validator("jwt_secret", "secret_key", "secret_key_previous")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MINIMUM_KEY_CHARACTERS:
            raise ValueError("needs at least 32 characters; try: openssl rand -hex 32")
        return value

    @field_validator("jwt_secret", "secret_key")
    @classmethod
    def _secret_to_others(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value else ""
        if is_placeholder(text) or any(sample in text for sample in _PUBLIC_SECRETS):
            raise ValueError(
                "is the sample of a manual, which everybody knows; use the output of "
                "openssl rand -hex 32"
            )
        return value
