"""The local Supabase stack behaves like a real project."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import jwt
import psutil
import psycopg
import pytest

from tests.support.database.postgres_server import StoppablePostgres
from tests.support.source_files import ROOT
from tests.support.supabase.stack import NewStack, SupabaseStack, open_supabase_stack
from tests.support.waiting import eventually, is_alive

WHO_AM_I = """
CREATE OR REPLACE FUNCTION public.test_who_am_i() RETURNS jsonb LANGUAGE sql STABLE AS
  'SELECT jsonb_build_object(''id'', auth.uid(), ''role'', auth.role(), ''user'', current_user)'
"""


@pytest.fixture
def stack(supabase_stack: SupabaseStack) -> Iterator[SupabaseStack]:
    supabase_stack.clear()
    supabase_stack.reset_requests()
    yield supabase_stack
    supabase_stack.delay(0)
    supabase_stack.sign_with("HS256")


@pytest.fixture(scope="module")
def who_am_i(supabase_stack: SupabaseStack) -> Iterator[str]:
    """Provide the path of a function that returns the user and role that the database sees."""
    change_schema(supabase_stack, WHO_AM_I)
    yield "/rpc/test_who_am_i"
    change_schema(supabase_stack, "DROP FUNCTION public.test_who_am_i")


def change_schema(stack: SupabaseStack, statement: str) -> None:
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(statement.encode())


def ask(stack: SupabaseStack, path: str, token: str) -> httpx.Response:
    with stack.as_user(token) as client:
        return client.post(path)


def test_a_table_is_reached_with_the_service_key_only(stack: SupabaseStack) -> None:
    url = f"{stack.url}/rest/v1/projects"
    key = {"apikey": stack.service_role_key}
    assert httpx.get(url, headers=key, timeout=30).json() == []
    assert httpx.get(url, timeout=30).status_code == 401
    assert httpx.get(url, headers={"apikey": "made up"}, timeout=30).status_code == 401
    forged = jwt.encode({"role": "service_role"}, "x" * 32, "HS256")
    headers = {"apikey": stack.anon_key, "Authorization": f"Bearer {forged}"}
    assert httpx.get(url, headers=headers, timeout=30).status_code == 401


def test_a_migration_is_seen_at_once(new_supabase_stack: NewStack) -> None:
    fresh = new_supabase_stack("supabase_fresh")
    with fresh.as_service() as client:
        assert client.get("/tasks").status_code == 404
        fresh.migrate()
        assert client.get("/tasks").json() == []


def test_postgrest_hears_of_a_change_of_the_schema(
    supabase_stack: SupabaseStack, who_am_i: str
) -> None:
    with supabase_stack.as_service() as client:
        eventually(lambda: client.post(who_am_i).status_code == 200)


@pytest.mark.parametrize("algorithm", ["HS256", "ES256"])
def test_the_database_knows_who_signed_in(
    stack: SupabaseStack, who_am_i: str, algorithm: str
) -> None:
    stack.sign_with(algorithm)
    session = stack.sign_up("Someone@example.com", "a password")
    assert jwt.get_unverified_header(session["access_token"])["alg"] == algorithm
    eventually(lambda: ask(stack, who_am_i, stack.service_role_key).status_code == 200)
    seen = ask(stack, who_am_i, session["access_token"]).json()
    assert seen == {"id": session["user"]["id"], "role": "authenticated", "user": "authenticated"}
    claims = jwt.decode(session["access_token"], options={"verify_signature": False})
    assert claims["iss"] == f"{stack.url}/auth/v1"
    assert claims["aud"] == "authenticated"
    assert claims["email"] == session["user"]["email"] == "someone@example.com"


def test_the_service_key_stands_above_row_level_security(
    stack: SupabaseStack, who_am_i: str
) -> None:
    eventually(lambda: ask(stack, who_am_i, stack.service_role_key).status_code == 200)
    seen = ask(stack, who_am_i, stack.service_role_key).json()
    assert seen == {"id": None, "role": "service_role", "user": "service_role"}


def test_a_password_and_then_a_refresh_token_sign_in_again(stack: SupabaseStack) -> None:
    session = stack.sign_up("someone@example.com", "a password")
    user_id = session["user"]["id"]
    key, base_url = {"apikey": stack.anon_key}, f"{stack.url}/auth/v1"
    with httpx.Client(base_url=base_url, headers=key, timeout=30) as auth:

        def token(grant: str, **body: str) -> httpx.Response:
            return auth.post("/token", params={"grant_type": grant}, json=body)

        body = {"email": "someone@example.com", "password": "a password"}
        assert token("password", **body).json()["user"]["id"] == user_id
        assert token("password", **{**body, "password": "another"}).status_code == 400
        assert auth.post("/signup", json=body).status_code == 422
        refresh = {"refresh_token": session["refresh_token"]}
        fresh = token("refresh_token", **refresh).json()
        assert token("refresh_token", **refresh).status_code == 400
        bearer = {"Authorization": f"Bearer {fresh['access_token']}"}
        assert auth.get("/user", headers=bearer).json()["id"] == user_id
        assert auth.get("/user", headers={"Authorization": "Bearer a.b.c"}).status_code == 403


def test_a_rotated_key_is_published_and_the_old_one_is_believed_no_more(
    stack: SupabaseStack,
) -> None:
    user_id = stack.add_auth_user()
    old = stack.token_for(user_id, algorithm="ES256")
    stack.rotate_keys()
    new = stack.token_for(user_id, algorithm="ES256")
    assert [ask(stack, "/rpc/none", one).status_code for one in (old, new)] == [401, 404]
    keys = jwt.PyJWKClient(f"{stack.url}/auth/v1/.well-known/jwks.json")
    claims = jwt.decode(
        new, keys.get_signing_key_from_jwt(new), ["ES256"], audience="authenticated"
    )
    assert claims["sub"] == user_id


def test_an_expired_token_is_refused(stack: SupabaseStack) -> None:
    token = stack.token_for(str(uuid4()), exp=int(time.time()) - 60)
    assert ask(stack, "/rpc/none", token).status_code == 401


def test_postgrest_can_be_away_for_a_while(stack: SupabaseStack) -> None:
    with stack.as_service() as client:
        assert client.get("/tasks").status_code == 200
        stack.stop_rest()
        assert client.get("/tasks").status_code == 503
        stack.start_rest()
        assert client.get("/tasks").status_code == 200


def test_a_stack_is_usable_again_after_postgresql_was_away(
    stoppable_postgres: StoppablePostgres, postgrest: None
) -> None:
    with open_supabase_stack(stoppable_postgres, "away") as stack, stack.as_service() as client:
        stack.migrate()
        assert client.get("/tasks").status_code == 200
        stoppable_postgres.stop()
        # The first request may use a connection that PostgreSQL has closed: 400.
        eventually(lambda: client.get("/tasks").status_code == 503)
        stoppable_postgres.start()
        stack.clear()
        assert client.get("/tasks").status_code == 200


def test_requests_are_counted_and_may_be_delayed(stack: SupabaseStack) -> None:
    with stack.as_service() as client:
        client.get("/tasks", params={"limit": 1})
        stack.delay(0.05)
        started = time.monotonic()
        client.get("/tasks")
        client.delete("/tasks", params={"id": "eq.1"})
        assert time.monotonic() - started >= 0.1
    assert stack.requests() == {"GET /rest/v1/tasks": 2, "DELETE /rest/v1/tasks": 1}
    stack.reset_requests()
    assert stack.requests() == {}


def test_long_requests_and_answers_arrive_whole(stack: SupabaseStack) -> None:
    text = "line\r\n\r\n" * 200_000
    row = {"id": 7, "user_id": stack.add_auth_user(), "repo_url": "x", "git_diff": text}
    with stack.as_service() as client:
        upsert = {"Prefer": "resolution=merge-duplicates,return=representation"}
        assert client.post("/tasks", json=row, headers=upsert).json()[0]["git_diff"] == text
        slow = {**upsert, "Expect": "100-continue"}
        assert client.post("/tasks", json=row, headers=slow).status_code in {200, 201}
        assert client.get("/tasks", params={"select": "git_diff"}).json() == [{"git_diff": text}]


def test_every_request_after_a_head_is_answered(stack: SupabaseStack) -> None:
    with stack.as_service() as client:
        answers = [client.request(method, "/tasks") for method in ("HEAD", "GET") * 50]
    assert {answer.status_code for answer in answers} == {200}


def test_what_was_started_ends_with_a_starter_that_is_killed(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from tests.support.child_processes import GuardedProgram;"
        f"print(GuardedProgram(['sleep', '600'], Path({str(tmp_path / 'log')!r})).pid, flush=True);"
        "input()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert is_alive(pid)
        starter.kill()
    eventually(lambda: not is_alive(pid))


def test_the_command_prints_what_to_set_and_leaves_nothing_behind() -> None:
    command = [sys.executable, "-m", "utils.commands", "supabase-local"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or "Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        output = "".join(lines)
        started = psutil.Process(process.pid).children(recursive=True)
        variables = dict(re.findall(r"^export (\w+)=(\S+)$", output, re.MULTILINE))
        url, key = variables["SUPABASE_URL"], variables["SUPABASE_SERVICE_ROLE_KEY"]
        headers = {"apikey": key}
        assert httpx.get(f"{url}/rest/v1/tasks", headers=headers, timeout=30).json() == []
        assert variables.keys() >= {"SUPABASE_ANON_KEY", "SUPABASE_JWT_SECRET"}
        email, password = re.findall(r"^  (\S+)  password (\S+)$", output, re.MULTILINE)[1]
        body = {"email": email, "password": password}
        sign_in = f"{url}/auth/v1/token?grant_type=password"
        signed_in = httpx.post(sign_in, json=body, headers=headers, timeout=30)
        assert signed_in.status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    assert len(started) >= 3
    eventually(lambda: not any(is_alive(one.pid) for one in started))
    folder = re.search(r"host=(\S+)$", output, re.MULTILINE)
    assert folder is not None
    assert not Path(folder[1]).exists()
