"""Calls each verb of a database on suitable rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from database import Database
from tests.support.database.samples import (
    COMPLETED,
    LATER,
    NO_SILENCE,
    NOBODY,
    PENDING,
    RUNNING,
    USER,
    legacy_row,
    new_task,
    project_fields,
    running_task,
)
from utils.errors import Unauthenticated
from utils.models.archive import ArchiveFile
from utils.models.automatic_pulls import AutomaticPull
from utils.models.environments import ProjectSecret
from utils.models.events import Event, EventBatch
from utils.models.repositories import NewRepository
from utils.models.runs import AgentRun
from utils.models.sandboxes import NewSandbox, SandboxOperation, SandboxStatus, TaskSandbox
from utils.models.schedules import NewSchedule
from utils.models.tasks import TaskStatus
from utils.models.turns import NewTurn
from utils.models.usage import NO_TASK_ID, SpendingQuery, UsageGroup, UsageQuery, UsageRecord
from utils.models.users import NewApiKey, RefreshToken, Scope

Calls = dict[str, Callable[[], object]]

BATCH = EventBatch((Event("output", {"text": "Line"}, LATER),), after=0)


def every_verb(database: Database) -> Calls:
    """Return a call of each verb but `close` and `owned_by`, in an order in which they succeed."""
    project_id = database.create_project(USER, project_fields()).id
    return {
        **user_verbs(database),
        **token_verbs(database),
        **key_verbs(database),
        **reading_verbs(database, project_id),
        **writing_verbs(database, project_id),
        **turn_verbs(database),
        **stream_verbs(database),
        **server_verbs(database),
        **engine_verbs(database),
        **pull_request_verbs(database),
        **schedule_verbs(database),
        **request_verbs(database),
        **archive_verbs(database),
        **group_verbs(database),
        **usage_verbs(database),
        **sandbox_verbs(database),
        **repository_verbs(database),
        **project_verbs(database, project_id),
    }


def user_verbs(database: Database) -> Calls:
    database.create_test_user(NOBODY, "test@example.com", {}, LATER)
    other_id = NOBODY.replace("c", "d")
    seen = database.get_profile(USER)
    return {
        "ping": database.ping,
        "ensure_user": partial(database.ensure_user, USER),
        "ensure_account": partial(ensure_account, database),
        "get_user": partial(database.get_user, USER),
        "create_test_user": partial(database.create_test_user, other_id, "t@e.com", {}, LATER),
        "get_profile": partial(database.get_profile, USER),
        "replace_profile": partial(database.replace_profile, USER, seen, {"full_name": "B"}),
        "update_profile": partial(database.update_profile, USER, {"full_name": "A"}),
        "list_profile_ids": database.list_profile_ids,
        "list_test_users": database.list_test_users,
        "delete_test_user": partial(database.delete_test_user, NOBODY),
    }


def ensure_account(database: Database) -> None:
    """Ask for an account; the samples have none."""
    with suppress(Unauthenticated):
        database.ensure_account(USER, None, None, allow_anonymous=False)


def token_verbs(database: Database) -> Calls:
    database.add_refresh_token(RefreshToken("hash", "family", USER, LATER))
    other = RefreshToken("other", "second", USER, LATER)
    earlier = LATER.replace(year=2098)
    return {
        "add_refresh_token": partial(database.add_refresh_token, other),
        "extend_refresh_token": partial(database.extend_refresh_token, "hash", LATER, earlier),
        "rotate_refresh_token": partial(
            database.rotate_refresh_token, "hash", "next", LATER, earlier
        ),
        "revoke_refresh_family": partial(database.revoke_refresh_family, "next"),
    }


def key_verbs(database: Database) -> Calls:
    first, second = (
        NewApiKey("Laptop", prefix, "hash", Scope.RUN, None) for prefix in ("ac_1", "ac_2")
    )
    key_id = database.add_api_key(USER, first).id
    return {
        "add_api_key": partial(database.add_api_key, USER, second),
        "find_api_key": partial(database.find_api_key, "ac_1"),
        "list_api_keys": partial(database.list_api_keys, USER),
        "record_key_use": partial(database.record_key_use, key_id, LATER),
        "has_api_key": partial(database.has_api_key, LATER),
        "delete_api_key": partial(database.delete_api_key, USER, key_id),
    }


def reading_verbs(database: Database, project_id: int) -> Calls:
    task_id = running_task(database, project_id=project_id).id
    return {
        "get_task": partial(database.get_task, USER, task_id),
        "get_task_status": partial(database.get_task_status, USER, task_id),
        "get_git_diff": partial(database.get_git_diff, USER, task_id),
        "list_tasks": partial(database.list_tasks, USER, project_id=project_id),
        "list_project_tasks": partial(database.list_project_tasks, USER, project_id),
        "list_events": partial(database.list_events, USER, task_id),
        "count_tasks": database.count_tasks,
    }


def writing_verbs(database: Database, project_id: int) -> Calls:
    waiting_id = database.create_task(USER, new_task()).id
    running_id, ending_id = running_task(database).id, running_task(database).id
    new = new_task(project_id=project_id, encrypted_token=b"sealed")
    run = AgentRun(running_id, "box", "c0ffee", LATER, {}, {})
    stage = {"stage": "agent"}
    message = {"role": "assistant", "content": "Done"}
    result = (COMPLETED, {"git_diff": "diff"}, message, [{"filename": "a"}], BATCH)
    return {
        "create_task": partial(database.create_task, USER, new),
        "import_tasks": partial(database.import_tasks, USER, [legacy_row(1), legacy_row(2)]),
        "claim_task": partial(database.claim_task, waiting_id),
        "start_run": partial(database.start_run, run, BATCH),
        "get_run": partial(database.get_run, running_id),
        "record_resume": partial(database.record_resume, running_id),
        "save_progress": partial(
            database.save_progress, running_id, BATCH, position={}, fields=stage
        ),
        "append_chat_message": partial(
            database.append_chat_message, USER, running_id, "user", "Hello"
        ),
        "append_events": partial(database.append_events, USER, running_id, BATCH.events),
        "move_task": partial(database.move_task, running_id, {RUNNING}, PENDING),
        "finish_task": partial(database.finish_task, ending_id, *result),
        "list_run_sandboxes": database.list_run_sandboxes,
    }


def turn_verbs(database: Database) -> Calls:
    task_id = running_task(database).id
    turn = NewTurn("More", encrypted_token=b"sealed")
    database.add_turn(USER, task_id, turn)
    return {
        "add_turn": partial(database.add_turn, USER, task_id, turn),
        "list_turns": partial(database.list_turns, USER, task_id),
        "get_turn_diff": partial(database.get_turn_diff, USER, task_id, 1),
        "take_back_turn": partial(database.take_back_turn, USER, task_id, 2),
        "keep_workspace": partial(database.keep_workspace, task_id, "box", LATER),
        "list_workspaces": database.list_workspaces,
    }


def stream_verbs(database: Database) -> Calls:
    task_id = running_task(database).id
    return {
        "list_task_marks": partial(database.list_task_marks, [task_id], [], LATER),
        "get_conversation": partial(database.get_conversation, USER, task_id),
        "get_task_updated_at": partial(database.get_task_updated_at, USER, task_id),
        "add_stream_ticket": partial(database.add_stream_ticket, USER, "ticket", LATER),
        "use_stream_ticket": partial(database.use_stream_ticket, "ticket", LATER),
    }


def pull_request_verbs(database: Database) -> Calls:
    task_id = running_task(database).id
    pull = AutomaticPull(task_id, USER, None, LATER, 1)
    return {
        "claim_automatic_pull": partial(database.claim_automatic_pull, LATER),
        "end_automatic_pull": partial(database.end_automatic_pull, pull),
        "set_pull_request": partial(database.set_pull_request, USER, task_id, {"pr_number": 1}),
        "list_pull_request_tasks": partial(database.list_pull_request_tasks, "https://x.example/1"),
        "list_branch_tasks": partial(database.list_branch_tasks, "async-code/task-1", 1),
        "has_delivery": partial(database.has_delivery, "delivery"),
        "record_delivery": partial(database.record_delivery, "delivery"),
    }


def schedule_verbs(database: Database) -> Calls:
    new = NewSchedule(None, "0 3 * * *", "UTC", {"prompt": "Fix it"}, True, LATER)
    first, second = database.add_schedule(USER, new, 9), database.add_schedule(USER, new, 9)
    held = replace(first, claimed_until=LATER)
    return {
        "add_schedule": partial(database.add_schedule, USER, new, 9),
        "list_schedules": partial(database.list_schedules, USER),
        "get_schedule": partial(database.get_schedule, USER, first.id),
        "replace_schedule": partial(database.replace_schedule, first, {"is_enabled": False}),
        "claim_schedule": partial(database.claim_schedule, LATER),
        "end_schedule_run": partial(database.end_schedule_run, held, {"refusals": 1}),
        "delete_schedule": partial(database.delete_schedule, USER, second.id),
    }


def request_verbs(database: Database) -> Calls:
    return {
        "begin_request": partial(database.begin_request, USER, "key", "fingerprint"),
        "release_request": partial(database.release_request, USER, "key"),
        "store_answer": partial(database.store_answer, USER, "key", {}),
    }


def archive_verbs(database: Database) -> Calls:
    old = running_task(database)
    database.move_task(old.id, {RUNNING}, COMPLETED)
    marks = database.list_task_marks([old.id], [], LATER)
    return {
        "list_old_tasks": partial(database.list_old_tasks, LATER, limit=1),
        "get_task_records": partial(database.get_task_records, [old.id], max_bytes=1),
        "delete_old_tasks": partial(
            database.delete_old_tasks, marks, ArchiveFile("day/file", LATER)
        ),
        "find_archived_tasks": partial(database.find_archived_tasks, old.id),
    }


def group_verbs(database: Database) -> Calls:
    [task] = database.create_task_group(USER, [new_task()])
    group_id = task.group_id or 0
    return {
        "create_task_group": partial(database.create_task_group, USER, [new_task()]),
        "get_task_group": partial(database.get_task_group, USER, group_id),
        "list_task_groups": partial(database.list_task_groups, USER),
        "choose_task": partial(database.choose_task, USER, group_id, task.id),
    }


def usage_verbs(database: Database) -> Calls:
    task_id = running_task(database).id
    record = UsageRecord(USER, task_id, "run", None, "claude", LATER)
    query = UsageQuery(LATER.date(), LATER.date(), UsageGroup.DAY)
    return {
        "record_usage": partial(database.record_usage, record),
        "add_usage": partial(database.add_usage, USER, record),
        "sum_usage": partial(database.sum_usage, USER, query),
        "sum_all_usage": partial(database.sum_all_usage, query),
        "read_spending": partial(database.read_spending, USER, SpendingQuery(LATER)),
        "list_active_tasks": partial(database.list_active_tasks, limit=1),
        "list_waiting_tasks": partial(database.list_waiting_tasks, limit=1),
        "get_task_owner": partial(database.get_task_owner, task_id),
    }


def sandbox_verbs(database: Database) -> Calls:
    new = NewSandbox("local", LATER)
    sandbox_id = database.add_sandbox(USER, new, 10).id
    task = TaskSandbox(running_task(database).id, "local", "box", None, [], LATER)
    operation = SandboxOperation(sandbox_id, USER, "execute", LATER, "ls")
    running, ended = SandboxStatus.RUNNING, SandboxStatus.TERMINATED
    used = UsageRecord(USER, NO_TASK_ID, "sandbox", None, "sandbox", LATER)
    created = {SandboxStatus.CREATED}
    return {
        "add_sandbox": partial(database.add_sandbox, USER, new, 10),
        "record_task_sandbox": partial(database.record_task_sandbox, task),
        "get_sandbox": partial(database.get_sandbox, USER, sandbox_id),
        "get_sandbox_owner": partial(database.get_sandbox_owner, sandbox_id),
        "list_live_sandbox_page": partial(database.list_live_sandbox_page, limit=1),
        "list_sandboxes": partial(database.list_sandboxes, USER),
        "list_live_sandboxes": database.list_live_sandboxes,
        "list_uncounted_sandboxes": partial(database.list_uncounted_sandboxes, 1),
        "count_sandbox": partial(database.count_sandbox, sandbox_id, used, is_final=False),
        "move_sandbox": partial(database.move_sandbox, sandbox_id, created, running),
        "replace_sandbox_repositories": partial(
            database.replace_sandbox_repositories, sandbox_id, [], [{"name": "lib"}]
        ),
        "mark_sandboxes": partial(database.mark_sandboxes, "local", ["box"], ended),
        "record_sandbox_operation": partial(database.record_sandbox_operation, operation),
        "list_sandbox_operations": partial(database.list_sandbox_operations, USER, sandbox_id),
        "delete_old_sandboxes": partial(database.delete_old_sandboxes, LATER, limit=1),
    }


def repository_verbs(database: Database) -> Calls:
    new = replace(new_task(), further=(NewRepository("lib", "https://github.com/a/lib", ""),))
    task_id = database.create_task(USER, new).id
    address = "https://github.com/a/lib/pull/1"
    return {
        "list_repositories": partial(database.list_repositories, USER, task_id),
        "set_repository_pull_request": partial(
            database.set_repository_pull_request, USER, task_id, 1, {"pr_url": address}
        ),
        "set_repository_pull_states": partial(
            database.set_repository_pull_states, address, None, "closed"
        ),
    }


def server_verbs(database: Database) -> Calls:
    task_id = running_task(database).id
    ended = running_task(database)
    database.move_task(ended.id, {TaskStatus.RUNNING}, TaskStatus.CANCELLED)
    return {
        "record_heartbeat": database.record_heartbeat,
        "claim_unfinished_tasks": partial(database.claim_unfinished_tasks, ["gone"], own=True),
        "request_stop": partial(database.request_stop, USER, task_id),
        "delete_task": partial(database.delete_task, USER, ended.id),
    }


def engine_verbs(database: Database) -> Calls:
    run = "00000000-0000-4000-8000-0000000000ff"
    return {
        "use_engine": partial(database.use_engine, None),
        "join_engine": partial(database.join_engine, 2, NO_SILENCE, {}, None),
        "leave_engine": partial(database.leave_engine, NO_SILENCE),
        "limit_sandboxes": partial(database.limit_sandboxes, None),
        "count_sandboxes": database.count_sandboxes,
        "engine_admit": database.engine_admit,
        "engine_claim": partial(database.engine_claim, 30, 1),
        "engine_beat": partial(database.engine_beat, [run], 30),
        "engine_later": partial(database.engine_later, run, 1),
        "engine_done": partial(database.engine_done, run),
        "engine_release": database.engine_release,
        "engine_expired": database.engine_expired,
        "beat_worker": partial(database.beat_worker, "1.0", 4, 0, None),
        "drain_worker": partial(database.drain_worker, "unknown", True),
        "list_workers": partial(database.list_workers, NO_SILENCE),
        "remove_worker": database.remove_worker,
    }


def secret_verbs(database: Database, project_id: int) -> Calls:
    secret = ProjectSecret(project_id, "TOKEN", "sealed", for_agent=True, updated_at=LATER)
    return {
        "put_project_secret": partial(database.put_project_secret, USER, secret),
        "list_project_secrets": partial(database.list_project_secrets, USER, project_id),
        "list_secret_projects": database.list_secret_projects,
        "reseal_project_secret": partial(database.reseal_project_secret, secret, "again"),
        "delete_project_secret": partial(database.delete_project_secret, USER, project_id, "TOKEN"),
    }


def project_verbs(database: Database, project_id: int) -> Calls:
    return {
        "create_project": partial(database.create_project, USER, project_fields("other")),
        "list_projects": partial(database.list_projects, USER),
        "get_project": partial(database.get_project, USER, project_id),
        "get_project_settings": partial(database.get_project_settings, USER, project_id),
        "update_project": partial(database.update_project, USER, project_id, {"name": "new"}),
        "record_push": partial(database.record_push, [project_fields()["repo_url"]], "c" * 40),
        **secret_verbs(database, project_id),
        "delete_project": partial(database.delete_project, USER, project_id),
    }
