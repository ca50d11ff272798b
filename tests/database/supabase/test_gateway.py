"""The gateway to Supabase, beyond the contract of every database."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from database import Database, open_database
from tests.support.database.samples import (
    COMPLETED,
    STRANGER,
    USER,
    all_at_once,
    project_fields,
    running_task,
)
from tests.support.database.verbs import BATCH, every_verb
from tests.support.source_files import ROOT
from tests.support.supabase.settings import supabase_settings
from tests.support.supabase.stack import NewStack, SupabaseStack
from utils.commands.doctor.local import check_database
from utils.database.migrations import head_revision, migrate
from utils.database.sql.database import SqlDatabase
from utils.database.supabase.client import Supabase, only_reads
from utils.database.supabase.database import SupabaseDatabase, open_supabase_database
from utils.errors import ConfigurationError, DatabaseUnavailable
from utils.models.events import Event, EventBatch
from utils.models.tasks import QueuedTask, Task, TaskSummary
from utils.models.users import ApiKey, NewApiKey, Project, Scope, User

MANY = 1_005
NO_REQUEST = {"close", "owned_by"}
SILENT = {"silent": [], "own": True}
GATEWAY_SOURCE = "".join(
    path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "utils/database/supabase").rglob("*.py"))
)


@pytest.fixture
def gateway(supabase_database: SupabaseDatabase) -> SupabaseDatabase:
    for user_id in (USER, STRANGER):
        supabase_database.ensure_user(user_id)
    return supabase_database


def test_every_verb_is_one_request(
    gateway: SupabaseDatabase, supabase_stack: SupabaseStack
) -> None:
    verbs = every_verb(gateway)
    declared = {name for name in dir(Database) if callable(getattr(Database, name))}
    assert {name for name in declared if not name.startswith("_")} == {*verbs, *NO_REQUEST}
    counts = {}
    for name, call in verbs.items():
        supabase_stack.reset_requests()
        call()
        counts[name] = sum(supabase_stack.requests().values())
    assert {name: count for name, count in counts.items() if count != 1} == {}


def test_a_failed_write_is_known_until_one_succeeds(
    gateway: SupabaseDatabase, supabase_rows: psycopg.Connection
) -> None:
    assert gateway.write_failure is None
    supabase_rows.execute("REVOKE UPDATE ON servers FROM service_role")
    try:
        with pytest.raises(DatabaseUnavailable):
            gateway.record_heartbeat()
        gateway.ping()
        assert str(gateway.write_failure).startswith("Supabase rejects")
    finally:
        supabase_rows.execute("GRANT UPDATE ON servers TO service_role")
    assert gateway.write_failure is None


def test_the_functions_that_only_read_are_known_by_their_names(
    supabase_rows: psycopg.Connection,
) -> None:
    functions = supabase_rows.execute(
        "SELECT proname, provolatile <> 'v' FROM pg_proc WHERE proname LIKE 'backend\\_%'"
    ).fetchall()
    called = {name for name, _ in functions if f'"{name}"' in GATEWAY_SOURCE}
    assert len(called) > 30
    assert {name for name, reads in functions if reads and name in called} == {
        name for name in called if only_reads(name)
    }


def test_a_status_is_asked_for_without_what_is_large(
    gateway: SupabaseDatabase, supabase_stack: SupabaseStack
) -> None:
    task = running_task(gateway)
    supabase_stack.reset_requests()
    gateway.get_task_status(USER, task.id)
    assert supabase_stack.requests() == {"POST /rest/v1/rpc/backend_get_task_status": 1}


def test_the_functions_name_every_column_of_a_value(gateway: SupabaseDatabase) -> None:
    project = gateway.create_project(USER, project_fields())
    task = running_task(gateway, project_id=project.id)
    gateway.save_progress(task.id, BATCH)
    gateway.add_api_key(USER, NewApiKey("Laptop", "ac_1", "hash", Scope.RUN, None))
    call = partial(gateway.supabase.call, idempotent=False)
    own = {"this_user": USER, "this_task": task.id}
    page = {"this_user": USER, "this_project": project.id, "below": None, "page_size": 1}
    chosen = page | dict.fromkeys(("this_status", "this_agent", "this_repository", "this_text"))
    status = call("backend_get_task_status", own)
    listed = call("backend_list_project_tasks", page)[0]
    # A long conversation is replaced by these.
    assert status.pop("first_message") is None
    assert [listed.pop(name) for name in ("prompt_preview", "prompt_characters")] == ["Fix it", 6]
    rows: list[tuple[type[Any], dict[str, Any]]] = [
        (Task, status),
        (Task, listed),
        (TaskSummary, call("backend_list_tasks", chosen)["tasks"][0]),
        (Event, call("backend_list_events", {**own, "above": 0, "page_size": 1})[0]),
        (QueuedTask, call("backend_adopt_tasks", {**SILENT, "this_server": gateway.server})[0]),
        (Project, call("backend_list_projects", {"this_user": USER})[0]),
        (User, call("backend_ensure_user", {"this_user": USER, "this_email": None})),
        (ApiKey, call("backend_find_api_key", {"this_prefix": "ac_1"})),
    ]
    for kind, row in rows:
        left_out = {"git_diff", "git_patch", "conversation_cut"}
        expected = {field.name for field in fields(kind)} - left_out
        assert (kind, set(row)) == (kind, expected)


def test_lists_of_more_than_a_thousand_rows_are_whole(
    gateway: SupabaseDatabase, supabase_rows: psycopg.Connection
) -> None:
    project = gateway.create_project(USER, project_fields())
    task = running_task(gateway, project_id=project.id)
    numbers = f"FROM generate_series(1, {MANY}) AS number"
    for statement in (
        f"INSERT INTO users (id, is_test_user) SELECT gen_random_uuid(), true {numbers}",
        "INSERT INTO tasks (user_id, project_id, repo_url, status, server)"
        f" SELECT '{USER}', {project.id}, 'url', 'running', 'gone' {numbers}",
        "INSERT INTO task_runs SELECT id, 'box', 'commit', now(), '{}', '{}', 0"
        f" FROM tasks WHERE id <> {task.id}",
        "INSERT INTO projects (user_id, name, repo_url, repo_owner, repo_name)"
        f" SELECT '{STRANGER}', 'n', number, 'o', 'n' {numbers}",
        "INSERT INTO task_events (task_id, sequence, at, kind, data)"
        f" SELECT {task.id}, number, now(), 'output', '{{}}' {numbers}",
    ):
        supabase_rows.execute(statement.encode())
    assert len(gateway.list_test_users()) == MANY
    assert len(gateway.list_run_sandboxes()) == MANY
    assert len(gateway.list_projects(STRANGER)) == MANY
    assert len(gateway.list_events(USER, task.id, limit=2 * MANY)) == MANY
    assert len(gateway.list_project_tasks(USER, project.id, limit=2 * MANY)) == MANY + 1
    assert len(gateway.list_tasks(USER, limit=2 * MANY).tasks) == MANY + 1
    assert len(gateway.claim_unfinished_tasks(["gone"])) == MANY


def test_sixteen_threads_share_one_client(gateway: SupabaseDatabase) -> None:
    tasks = [running_task(gateway, prompt=f"Task {number}") for number in range(16)]

    def work(number: int) -> list[str]:
        task_id = tasks[number].id
        for _ in range(5):
            gateway.append_chat_message(USER, task_id, "user", f"Message to {number}")
            gateway.save_progress(task_id, EventBatch(BATCH.events))
        messages = gateway.get_task(USER, task_id).chat_messages
        assert len(gateway.list_events(USER, task_id)) == 5
        return [message["content"] for message in messages]

    conversations = all_at_once([partial(work, number) for number in range(16)])
    assert conversations == [
        [f"Task {number}", *[f"Message to {number}"] * 5] for number in range(16)
    ]


def test_the_database_is_away_while_postgrest_is(
    gateway: SupabaseDatabase, supabase_stack: SupabaseStack
) -> None:
    task = running_task(gateway)
    supabase_stack.stop_rest()
    try:
        for call in (
            partial(gateway.get_task_status, USER, task.id),
            partial(gateway.finish_task, task.id, COMPLETED, {}, None),
            gateway.ping,
        ):
            with pytest.raises(DatabaseUnavailable):
                call()
    finally:
        supabase_stack.start_rest()
    assert gateway.get_task_status(USER, task.id) == task


def opened(stack: SupabaseStack, folder: Path, **changes: Any) -> Database:
    return open_database(supabase_settings(stack, folder, **changes))


def test_supabase_is_chosen_before_any_other_database(
    supabase_stack: SupabaseStack, supabase_gateway: SupabaseDatabase, tmp_path: Path
) -> None:
    database = opened(supabase_stack, tmp_path, database_url="postgresql://nowhere/none")
    assert database.kind == "supabase"
    assert database.server != supabase_gateway.server
    database.close()


def test_the_doctor_finds_the_project_well(supabase_stack: SupabaseStack, tmp_path: Path) -> None:
    finding = check_database(supabase_settings(supabase_stack, tmp_path))
    assert (finding.level, finding.summary) == (
        "ok",
        f"database: Supabase at revision {head_revision()}",
    )


def test_a_project_without_our_tables_says_what_to_do(
    new_supabase_stack: NewStack, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"run.sh migrate .* or paste supabase.sql"):
        opened(new_supabase_stack("unmigrated"), tmp_path)


def test_a_migration_does_not_mistake_a_file_for_the_project(
    supabase_stack: SupabaseStack, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL.*supabase\.sql"):
        migrate(supabase_settings(supabase_stack, tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("revision", "advice"), [("0004", "run.sh migrate"), ("9999", "newer version")]
)
def test_a_project_at_another_revision_is_refused(
    supabase_stack: SupabaseStack,
    supabase_rows: psycopg.Connection,
    tmp_path: Path,
    revision: str,
    advice: str,
) -> None:
    change = "UPDATE alembic_version SET version_num = %s RETURNING (SELECT version_num FROM old)"
    change = f"WITH old AS (SELECT version_num FROM alembic_version) {change}"
    row = supabase_rows.execute(change.encode(), (revision,)).fetchone()
    assert row is not None
    try:
        with pytest.raises(ConfigurationError, match=f"(?i){revision}.*{advice}"):
            opened(supabase_stack, tmp_path)
    finally:
        supabase_rows.execute(change.encode(), row)


def test_a_key_of_another_project_is_refused_at_the_start(
    supabase_stack: SupabaseStack, tmp_path: Path
) -> None:
    foreign = supabase_stack.service_role_key[:-8] + "AAAAAAAA"
    with pytest.raises(ConfigurationError, match="SUPABASE_SERVICE_ROLE_KEY") as refused:
        opened(supabase_stack, tmp_path, supabase_service_role_key=foreign)
    assert foreign not in repr(refused.value)


def test_the_key_of_browsers_is_refused_at_the_start_and_later(
    supabase_stack: SupabaseStack,
) -> None:
    supabase = Supabase(supabase_stack.url, supabase_stack.anon_key, 1)
    with pytest.raises(ConfigurationError, match="SUPABASE_SERVICE_ROLE_KEY"):
        supabase.revision()
    with pytest.raises(DatabaseUnavailable, match="SUPABASE_SERVICE_ROLE_KEY"):
        SupabaseDatabase(supabase, "server").get_user(USER)
    supabase.close()


def test_only_the_backend_may_call_its_functions(
    supabase_gateway: SupabaseDatabase, supabase_rows: psycopg.Connection
) -> None:
    functions = "FROM pg_proc WHERE starts_with(proname, 'backend_')"
    open_to_others = "has_function_privilege('anon', oid, 'execute') OR prosecdef"
    open_to_others += " OR has_function_privilege('authenticated', oid, 'execute')"
    query = f"SELECT count(*), count(*) FILTER (WHERE {open_to_others}) {functions}"
    row = supabase_rows.execute(query.encode()).fetchone()
    assert row is not None
    assert row[0] > 20
    assert row[1] == 0


def test_elsewhere_there_are_no_functions(postgresql_gateway: SqlDatabase) -> None:
    query = text("SELECT count(*) FROM pg_proc WHERE proname LIKE 'backend\\_%'")
    assert postgresql_gateway.engines.read(lambda one: one.execute(query).scalar()) == 0


def test_a_closed_gateway_has_no_connections(supabase_stack: SupabaseStack, tmp_path: Path) -> None:
    database = open_supabase_database(supabase_settings(supabase_stack, tmp_path))
    database.ping()
    database.close()
    with pytest.raises(RuntimeError, match="closed"):
        database.ping()


def test_the_client_is_imported_only_where_it_is_used() -> None:
    code = "import main, sys; sys.exit('supabase' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
