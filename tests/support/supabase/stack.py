"""Runs Supabase projects without containers: PostgreSQL, PostgREST, sign-in and a gateway."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from psycopg import sql

from tests.support.database.emptying import EMPTY
from tests.support.database.postgres_server import PostgresServer
from tests.support.source_files import ROOT
from tests.support.supabase.keys import ProjectKeys, user_claims
from tests.support.supabase.postgrest import Postgrest
from utils.config.settings import Settings
from utils.database.migrations import migrate

PROJECT = Path(__file__).parents[2] / "data" / "supabase_project.sql"
KEY_CHANGE_SECONDS = 60

ADD_USER = "INSERT INTO auth.users (id, aud, role, email) VALUES (%s, %s, %s, %s)"


class GatewayProcess:
    """Runs the gateway in its own process, which ends with this one."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._turn = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.supabase.gateway"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._write(order)

    def tell(self, order: str, value: Any = None) -> Any:
        """Send a command and return the response."""
        with self._turn:
            self._write([order, value])
            return self.read()

    def read(self) -> Any:
        """Return the next response."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()

    def _write(self, line: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()


class SupabaseStack:
    """Runs a Supabase project on loopback, with clients of every role.

    `database_url` has the role that runs migrations, `superuser_url` all privileges.
    """

    def __init__(self, server: PostgresServer, name: str, folder: Path, *, port: int = 0) -> None:
        self.database_url = server.url(name, "project_owner")
        self.superuser_url = server.url(name)
        self._auth_admin_url = server.url(name, "supabase_auth_admin")
        self._keys = ProjectKeys()
        self._algorithm = "HS256"
        self._folder = folder
        self.jwt_secret = self._keys.secret
        self.anon_key = self._keys.api_key("anon")
        self.service_role_key = self._keys.api_key("service_role")
        self._rest = Postgrest(folder, server.url(name, "authenticator"))
        self._gateway = GatewayProcess(
            {
                "port": port,
                "rest_socket": str(self._rest.socket),
                "api_keys": [self.anon_key, self.service_role_key],
                "database_url": self._auth_admin_url,
            }
        )

    def start(self) -> None:
        """Start all processes and wait until requests are answered."""
        self._rest.set_keys(self._keys.accepted())
        self._rest.start()
        self.url = f"http://127.0.0.1:{self._gateway.read()}"
        self._send_keys()
        self._rest.wait_until_ready()

    def stop(self) -> None:
        """Stop all processes of this stack."""
        self._rest.stop()
        self._gateway.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a backend that uses this project."""
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_ANON_KEY": self.anon_key,
            "SUPABASE_SERVICE_ROLE_KEY": self.service_role_key,
            "SUPABASE_JWT_SECRET": self.jwt_secret,
        }

    @property
    def process_ids(self) -> list[int]:
        """The ids of the processes of this stack."""
        return [self._gateway.pid, *self._rest.process_ids]

    def migrate(self, *, engine: bool = False) -> None:
        """Migrate the database, with the task engine if asked; reload PostgREST's schema cache."""
        settings = {"data_dir": self._folder, "database_url": self.database_url}
        migrate(Settings.model_validate(settings), engine=engine)
        self.reload()

    def reload(self) -> None:
        """Reload PostgREST's schema cache and wait for it."""
        self.stop_rest()
        self.start_rest()

    def stop_rest(self) -> None:
        """Stop PostgREST, so that the gateway returns 503."""
        self._rest.stop()

    def start_rest(self) -> None:
        """Start PostgREST again and wait until it is ready."""
        self._rest.start()
        self._rest.wait_until_ready()

    def delay(self, seconds: float) -> None:
        """Delay every request, half of the time before the work and half after it."""
        self._gateway.tell("delay", seconds)

    def requests(self) -> dict[str, int]:
        """Return the number of requests for each method and path since the last reset."""
        counts: dict[str, int] = self._gateway.tell("requests")
        return counts

    def reset_requests(self) -> None:
        """Reset the number of requests."""
        self._gateway.tell("reset_requests")

    def clear(self) -> None:
        """Delete all users and their rows; ids start at 1 again.

        PostgREST works afterwards, even if PostgreSQL or PostgREST was stopped meanwhile.
        """
        with psycopg.connect(self.superuser_url, autocommit=True) as connection:
            connection.execute(EMPTY)
        # PostgREST itself retries after 1, 2, 4, ... seconds.
        if not self._rest.is_ready():
            self.reload()

    def dump(self) -> bytes:
        """Return the content of all tables of the backend, as text."""
        with psycopg.connect(self.superuser_url) as connection:
            names = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ).fetchall()
            rows = [
                connection.execute(
                    sql.SQL("SELECT one::text FROM {} AS one").format(
                        sql.Identifier("public", name)
                    )
                ).fetchall()
                for (name,) in names
            ]
        return "\n".join(text for table in rows for (text,) in table).encode()

    def add_auth_user(self, user_id: str | None = None, email: str | None = None) -> str:
        """Create a user without a password, as the sign-in service does; return the id."""
        user_id = user_id or str(uuid4())
        row = (user_id, "authenticated", "authenticated", email or f"{user_id}@example.com")
        with psycopg.connect(self._auth_admin_url, autocommit=True) as connection:
            connection.execute(ADD_USER, row)
        return user_id

    def token_for(self, user_id: str, *, algorithm: str = "HS256", **claims: Any) -> str:
        """Return a user's access token; claims with the value None are omitted."""
        email = f"{user_id}@example.com"
        # The user has no session, so the token names none unless it is given.
        merged = user_claims(f"{self.url}/auth/v1", user_id, email) | {"session_id": None, **claims}
        present = {name: value for name, value in merged.items() if value is not None}
        return self._keys.signing(algorithm).sign(present)

    def sign_with(self, algorithm: str) -> None:
        """Set the algorithm of new tokens: HS256 or ES256."""
        self._algorithm = algorithm
        self._send_keys()

    def rotate_keys(self, *, keep_old: bool = False) -> None:
        """Sign with a new ES256 key; the old ones are no longer trusted unless `keep_old`."""
        old = self.token_for(str(uuid4()), algorithm="ES256")
        self._keys.rotate(keep_old=keep_old)
        self._send_keys()
        self._rest.set_keys(self._keys.accepted())
        self._wait_for_answer(200, self.token_for(str(uuid4()), algorithm="ES256"))
        self._wait_for_answer(200 if keep_old else 401, old)

    def as_user(self, token: str) -> httpx.Client:
        """Return a client of the tables with the anon key and a user's token."""
        headers = {"apikey": self.anon_key, "Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=f"{self.url}/rest/v1", headers=headers, timeout=30)

    def as_anon(self) -> httpx.Client:
        """Return a client of the tables with the anon key only."""
        return self.as_user(self.anon_key)

    def as_service(self) -> httpx.Client:
        """Return a client of the tables with the service role key, past row-level security."""
        headers = {"apikey": self.service_role_key}
        return httpx.Client(base_url=f"{self.url}/rest/v1", headers=headers, timeout=30)

    def sign_up(self, email: str, password: str) -> dict[str, Any]:
        """Sign up a user as a page does; return the session."""
        return self._session("signup", email, password)

    def sign_in(self, email: str, password: str) -> dict[str, Any]:
        """Sign in a user as a page does; return the session."""
        return self._session("token?grant_type=password", email, password)

    def _session(self, path: str, email: str, password: str) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.url}/auth/v1/{path}",
            headers={"apikey": self.anon_key},
            json={"email": email, "password": password},
            timeout=30,
        ).raise_for_status()
        session: dict[str, Any] = answer.json()
        return session

    def accounts_request(self, method: str, path: str, token: str, body: Any = None) -> None:
        """Send a request of a signed-in user to the sign-in service."""
        headers = {"apikey": self.anon_key, "Authorization": f"Bearer {token}"}
        url = f"{self.url}/auth/v1{path}"
        httpx.request(method, url, headers=headers, json=body, timeout=30).raise_for_status()

    def change_accounts(self, statement: str, *values: Any) -> None:
        """Run SQL as the sign-in service does, which deletes and bans users."""
        with psycopg.connect(self._auth_admin_url, autocommit=True) as connection:
            connection.execute(statement.encode(), values)

    def _send_keys(self) -> None:
        keys = {
            "published": self._keys.published(),
            "accepted": self._keys.accepted(),
            "signing": asdict(self._keys.signing(self._algorithm)),
        }
        self._gateway.tell("keys", keys)

    def _wait_for_answer(self, status: int, token: str) -> None:
        deadline = time.monotonic() + KEY_CHANGE_SECONDS
        while self._rest.status("/", token) != status:
            assert time.monotonic() < deadline, "PostgREST did not take over the keys"
            time.sleep(0.01)


NewStack = Callable[[str], SupabaseStack]
"""Starts a fresh project in a database of the given name."""


@contextmanager
def open_supabase_stack(
    server: PostgresServer, name: str, *, port: int = 0
) -> Iterator[SupabaseStack]:
    """Run a fresh project in its own database, without migrations, until the block ends."""
    with psycopg.connect(server.create(name), autocommit=True) as connection:
        connection.execute(PROJECT.read_bytes())
    # The path of a socket may have at most 100 characters.
    with tempfile.TemporaryDirectory(prefix="sb-", ignore_cleanup_errors=True) as folder:
        stack = SupabaseStack(server, name, Path(folder), port=port)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()
