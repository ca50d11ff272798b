"""A server that is killed in a turn loses no turn and makes none of its changes twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backends import Row, git
from tests.support.live_server import Client, ServerFactory
from tests.support.places import Place
from tests.support.supabase.stack import SupabaseStack
from tests.support.waiting import eventually
from tests.turns.steps import check_chain

pytestmark = pytest.mark.isolated_with_all(
    "the folders of kept sandboxes are bound by a new server"
)

TURN = "script:\nprint begun {turn}\nsleep 1\nappend all.txt {turn}\\n\nwrite {turn}.txt {turn}"
WAITS = {"waiting", "running"}


def turns_of(client: Client, task_id: int) -> list[Row]:
    turns: list[Row] = client.get(f"/tasks/{task_id}/turns").body["turns"]
    return turns


def check(client: Client, task_id: int, origin: Path, folder: Path) -> None:
    """Assert that each turn made its own change once, and that the patch holds all of them."""
    task, turns = client.task(task_id), turns_of(client, task_id)
    assert [turn["status"] for turn in turns] == ["completed"] * 3, task["error"]
    diffs = [
        client.get(f"/tasks/{task_id}/turns/{turn['number']}/diff").body["git_diff"]
        for turn in turns
    ]
    check_chain(origin, turns, diffs, folder / "chain")
    for turn, diff in zip(turns, diffs, strict=True):
        number = turn["number"]
        added = [line for line in diff.splitlines() if line[:1] == "+" and line[:3] != "+++"]
        assert added == [f"+{number}", f"+{number}"], diff
    clone = folder / "patched"
    git(origin, "clone", "--quiet", "--", ".", str(clone))
    git(clone, "am", "--quiet", stdin=task["git_patch"].encode())
    assert git(clone, "rev-parse", "HEAD^{tree}") == turns[-1]["tree_after"]
    assert task["execution_metadata"]["tree_hash"] == turns[-1]["tree_after"]


def other_rows(place: Place, request: pytest.FixtureRequest) -> dict[str, object]:
    """Return the variables of the database that the place does not have by itself."""
    if place.project:
        return {"SUPABASE_URL": "", "SUPABASE_SERVICE_ROLE_KEY": ""}
    project: SupabaseStack = request.getfixturevalue("supabase_stack")
    keys = {"SUPABASE_URL": project.url, "SUPABASE_SERVICE_ROLE_KEY": project.service_role_key}
    return {**keys, "TRUST_USER_ID": "true", "SERVER_SILENCE_SECONDS": 3600}


@pytest.mark.parametrize(
    "kept_seconds",
    [pytest.param(0, marks=pytest.mark.exhaustive("a kept sandbox has more to lose")), 600],
)
@pytest.mark.parametrize(
    ("count", "rows"),
    [
        (2, "own"),
        pytest.param(8, "own", marks=pytest.mark.exhaustive("the same with more tasks")),
        pytest.param(6, "other", marks=pytest.mark.exhaustive("each part is tested elsewhere")),
    ],
)
def test_three_turns_of_each_task_survive_a_kill_in_the_second(
    new_server: ServerFactory,
    small_repository: str,
    tmp_path: Path,
    place: Place,
    request: pytest.FixtureRequest,
    count: int,
    rows: str,
    kept_seconds: int,
) -> None:
    limits = {"MAX_CONCURRENT_TASKS": count, "MAX_TASKS_PER_USER": count}
    settings = other_rows(place, request) if rows == "other" else {}
    server = new_server(WORKSPACE_TTL_SECONDS=kept_seconds, **limits, **settings)
    server.start()
    client = server.client()

    def send(turn: int) -> None:
        for one in ids:
            body = {"role": "user", "content": TURN.format(turn=turn), "run": True}
            assert client.post(f"/tasks/{one}/chat", body).code == 200

    def rests() -> bool:
        return not any(turn["status"] in WAITS for one in ids for turn in turns_of(client, one))

    ids = [client.start(TURN.format(turn=1), small_repository) for _ in range(count)]
    eventually(rests)
    send(2)
    client.wait_for_output(ids[0], "begun 2")
    server.kill()
    server.start()
    client = server.client(client.user_id)
    eventually(rests)
    send(3)
    eventually(rests)
    for one in ids:
        check(client, one, Path(small_repository), tmp_path / str(one))
        sequences = [event["sequence"] for event in client.events(one)]
        assert sequences == list(range(1, len(sequences) + 1))
