"""The number of requests to Supabase, each of which is a network round trip."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.backends import Backend, Repository, open_backend
from tests.support.supabase.settings import rows_in
from tests.support.supabase.stack import SupabaseStack
from tests.support.waiting import eventually
from utils.dispatcher.dispatcher import Dispatcher

MOST_FOR_A_TASK = 8
BACKGROUND = {
    f"POST /rest/v1/rpc/backend_{name}"
    for name in (
        "heartbeat",
        "list_live_sandboxes",
        # A task records its sandbox without waiting for it.
        "mark_sandboxes",
        "record_task_sandbox",
    )
}
USER_ID = "00000000-0000-4000-8000-0000000000aa"


@pytest.fixture(scope="module")
def supabase_backend(
    supabase_stack: SupabaseStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    """Provide a backend with local sandboxes and its rows in Supabase."""
    secret = supabase_stack.jwt_secret
    settings = rows_in(supabase_stack, supabase_jwt_secret=secret, trust_user_id=True)
    supabase_stack.clear()
    with open_backend(tmp_path_factory.mktemp("data"), **settings) as backend:
        yield backend


def asked(project: SupabaseStack) -> list[str]:
    """Return the requests that something waits for."""
    return [
        name
        for name, count in project.requests().items()
        for _ in range(count)
        if name not in BACKGROUND
    ]


def test_a_simulated_task_takes_few_requests(
    supabase_backend: Backend, supabase_stack: SupabaseStack, sample: Repository
) -> None:
    supabase_backend.complete("Warm up", sample)
    supabase_stack.reset_requests()
    task_id = supabase_backend.start("Fix it", sample)
    dispatcher: Dispatcher = supabase_backend.app.extensions["services"].dispatcher
    eventually(lambda: dispatcher.running == 0 and dispatcher.queued == 0)
    requests = asked(supabase_stack)
    assert requests.count("POST /rest/v1/rpc/backend_create_task") == 1
    assert requests.count("POST /rest/v1/rpc/backend_claim_turn") == 1
    assert len(requests) <= MOST_FOR_A_TASK, requests
    assert supabase_backend.wait(task_id)["status"] == "completed"


def test_a_poll_is_one_request(
    supabase_backend: Backend, supabase_stack: SupabaseStack, sample: Repository
) -> None:
    task = supabase_backend.complete("Fix it", sample)
    supabase_stack.reset_requests()
    supabase_backend.status(task["id"])
    assert len(asked(supabase_stack)) == 1


def test_the_first_task_of_a_new_user_starts_with_two_requests(
    supabase_backend: Backend, supabase_stack: SupabaseStack, sample: Repository
) -> None:
    token = supabase_stack.token_for(supabase_stack.add_auth_user(USER_ID))
    body = {"prompt": "script:\nsleep 1", "repo_url": sample.url}
    supabase_stack.reset_requests()
    answer = supabase_backend.app.test_client().post(
        "/start-task", json=body, headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 200
    before_answer = [name for name in asked(supabase_stack) if "claim" not in name]
    assert sorted(before_answer)[:2] == [
        "POST /rest/v1/rpc/backend_create_task",
        "POST /rest/v1/rpc/backend_ensure_account",
    ]
    assert len([name for name in before_answer if "progress" not in name]) == 2
