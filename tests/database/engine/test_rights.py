"""Rights to use the engine in a Supabase project."""

from __future__ import annotations

import psycopg
import pytest

from tests.fixtures.engine import prepared
from tests.support.database.engine_projects import EngineProject
from tests.support.database.samples import USER
from tests.support.supabase.stack import SupabaseStack

CALLS = {
    "engine_use": {"most": None, "oldest": [0]},
    "engine_limit_sandboxes": {"most": None},
    "engine_sandboxes": {},
    "engine_admit": {"this_user": None},
    "engine_claim": {"this_server": "me", "lease_seconds": 30, "places": 1},
    "engine_beat": {"claims": [], "lease_seconds": 30},
    "engine_later": {"this_claim": "x", "seconds": 0},
    "engine_done": {"this_claim": "x"},
    "engine_release": {"this_server": "me", "kept": []},
    "engine_expired": {"this_server": "me"},
    "backend_beat_worker": {
        "this_server": "me",
        "version": "1",
        "places": 1,
        "running": 0,
        "waiting_reason": None,
    },
    "backend_drain_worker": {"worker_name": "me", "is_draining": True},
    "backend_remove_worker": {"this_server": "me"},
    "backend_join_engine": {
        "this_server": "me",
        "most": None,
        "oldest": [0],
        "silence_seconds": 1,
        "ended": {},
        "version": None,
    },
    "backend_leave_engine": {"this_server": "me", "silence_seconds": 1},
    "backend_list_workers": {"silence_seconds": 1},
}


@pytest.fixture
def queue(supabase_engine: EngineProject) -> EngineProject:
    return prepared(supabase_engine)


def test_no_function_is_open_to_all_roles_of_a_database(
    postgresql_engine: EngineProject, supabase_engine: EngineProject
) -> None:
    for project in (postgresql_engine, supabase_engine):
        rows = project.rows.execute(
            "SELECT proname, count(*) FILTER (WHERE grantee = 0)"
            " FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))"
            " WHERE pronamespace = 'public'::regnamespace AND starts_with(proname, 'engine_')"
            " GROUP BY proname"
        ).fetchall()
        assert len(rows) > 10
        assert [name for name, open_to_all in rows if open_to_all] == []


@pytest.mark.parametrize("function", CALLS)
def test_users_may_call_none_of_its_functions(
    queue: EngineProject, engine_stack: SupabaseStack, function: str
) -> None:
    queue.add()
    for client in (engine_stack.as_anon(), engine_stack.as_user(engine_stack.token_for(USER))):
        with client:
            answer = client.post(f"/rpc/{function}", json=CALLS[function])
            assert answer.status_code in {401, 403}
    with engine_stack.as_service() as client:
        assert client.post(f"/rpc/{function}", json=CALLS[function]).is_success


def test_only_the_server_may_call_functions_and_only_these(queue: EngineProject) -> None:
    def callable_by(role: str) -> set[str]:
        rows = queue.rows.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " AND starts_with(proname, 'engine_') AND has_function_privilege(%s, oid, 'execute')",
            (role,),
        )
        return {name for (name,) in rows}

    assert callable_by("anon") == callable_by("authenticated") == set()
    assert callable_by("service_role") == {name for name in CALLS if name.startswith("engine_")}


def test_nobody_but_its_owner_may_use_the_schema_of_the_engine(
    queue: EngineProject, engine_stack: SupabaseStack
) -> None:
    for role in ("anon", "authenticated", "service_role"):
        row = queue.rows.execute(
            "SELECT has_schema_privilege(%s, 'absurd', 'usage')", (role,)
        ).fetchone()
        assert row == (False,)
    with psycopg.connect(engine_stack.superuser_url) as connection:
        connection.execute("SET ROLE service_role")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT absurd.claim_task('tasks', 'me')")


def test_every_function_has_a_fixed_search_path(queue: EngineProject) -> None:
    rows = queue.rows.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND starts_with(proname, 'engine_')"
        " AND proconfig IS DISTINCT FROM ARRAY['search_path=\"\"']"
    )
    assert rows.fetchall() == []
