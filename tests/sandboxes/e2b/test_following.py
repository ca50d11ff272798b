"""An agent in the cloud is followed to its end, whatever the connection and the agent do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.e2b.control import API_KEY
from tests.fakes.e2b.server import E2BServer
from tests.support.backends import Repository, open_backend
from tests.support.e2b.live import Live, comparable, events_of, live_cloud
from tests.support.live_server import Json
from tests.support.waiting import eventually
from utils.sandboxes.e2b import sandbox as sandbox_e2b

IDLE_SECONDS = 6


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("following")
    with live_cloud(folder, AGENT_IDLE_SECONDS=IDLE_SECONDS) as live:
        live.server.start()
        yield live


def test_agents_that_do_not_end_by_themselves_are_ended(live: Live) -> None:
    client = live.server.client()
    hanging = client.start("write a.txt a\nhang", live.repository)
    silent = client.start("write b.txt b\nraw half\nsilent", live.repository)
    row = client.wait_for(hanging)
    assert row["status"] == "completed", row
    assert "+a" in client.task(hanging)["git_diff"]
    assert row["chat_messages"][-1]["content"] == "Done, and staying."
    row = client.task(client.wait_for(silent)["id"])
    assert (row["status"], row["error_code"], row["error_stage"]) == (
        "failed",
        "agent_timeout",
        "agent",
    )
    assert "AGENT_IDLE_SECONDS" in row["error"]
    assert "+b" in row["git_diff"]
    assert ("output", {"stream": "stdout", "text": "half"}) in events_of(client, silent)
    live.wait_until_none_alive()


def test_a_connection_that_breaks_again_and_again_loses_and_doubles_nothing(live: Live) -> None:
    client = live.server.client()
    chatter = "lines 5\nerror öhm\nraw ☃ a\\n☃\nunknown\n" * 6
    prompt = f"started {live.folder}/chatter\n{chatter}\nwrite c.txt c"
    undisturbed = client.start(prompt, live.repository, branch="main")
    client.wait_for(undisturbed, "completed")
    live.cloud.forget_requests()
    live.cloud.add_fault("split", route="process.Start", skip=1, piece_bytes=7)
    live.cloud.add_fault("cut", route="process.Start", skip=1, times=5, after_bytes=20_011)
    disturbed = client.start(prompt, live.repository, branch="main")
    row = client.wait_for(disturbed)
    live.cloud.remove_faults()
    assert row["status"] == "completed", row
    assert comparable(events_of(client, disturbed)) == comparable(events_of(client, undisturbed))
    assert len(starts_of_agents(live)) > 2
    assert (live.folder / "chatter").read_text().count("started") == 2


def starts_of_agents(live: Live) -> list[Json]:
    starts = live.cloud.requests("process.Start")
    return [one for one in starts if '"agent.sh"' in one["body"]]


def test_an_agent_whose_start_was_not_heard_of_is_not_started_again(live: Live) -> None:
    client = live.server.client()
    names = [f"unheard-{number}" for number in range(5)]
    live.cloud.forget_requests()
    live.cloud.add_fault(
        "drop", route="process.Start", skip=1, times=1, when="after", per_sandbox=True
    )
    ids = [
        client.start(f"started {live.folder / name}\nsay hello", live.repository, branch="main")
        for name in names
    ]
    rows = [client.wait_for(task_id) for task_id in ids]
    live.cloud.remove_faults()
    assert [row["status"] for row in rows] == ["completed"] * 5, rows
    assert [one["status"] for one in starts_of_agents(live)].count(0) == 5
    assert [(live.folder / name).read_text() for name in names] == ["started\n"] * 5


def requests_for_agents(cloud: E2BServer) -> list[Json]:
    return [one for one in cloud.requests("process.Start") if '"agent.sh"' in one["body"]]


def test_an_agent_that_says_nothing_for_long_is_followed_anew(
    cloud: E2BServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox_e2b, "SILENCE_SECONDS", 0.2)
    repository = Repository(tmp_path / "repository")
    repository.commit("echo a >a.txt")
    folder = tmp_path / "data"
    with open_backend(folder, e2b_api_key=API_KEY, e2b_smoke_test=True) as backend:
        script = "script:\nprint one\nsleep 1\nprint two\nwrite b.txt b"
        task_id = backend.start(script, repository)
        eventually(lambda: len(requests_for_agents(cloud)) > 2)
        # On a busy machine each answer may come later than after the short time.
        monkeypatch.setattr(sandbox_e2b, "SILENCE_SECONDS", 120)
        row = backend.wait(task_id)
        assert row["status"] == "completed", row
        assert backend.output(task_id).endswith("one\ntwo\n")
    agents = requests_for_agents(cloud)
    assert {one["headers"].get("connect-timeout-ms", "0") for one in agents} == {"0"}
