"""A key of E2B is replaced while tasks run: the server goes on with the second one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.e2b.control import API_KEY, E2BServerProcess
from tests.support.backends import Backend, Repository
from tests.support.e2b.tasks import cloud_backend, ended, failure_of, wait_until_none_alive
from tests.support.waiting import eventually
from utils.config.settings import Settings

NEXT_KEY = "e2b_the_next"
BOTH = {"e2b_api_key": API_KEY, "e2b_api_key_next": NEXT_KEY, "sweep_grace_seconds": 0.1}


def keys_of(backend: Backend) -> list[dict[str, Any]]:
    """Return the states of the keys as /health/ready tells them."""
    states: list[dict[str, Any]] = backend.get("/health/ready")["sandboxes"]["keys"]
    return states


def states_of(backend: Backend) -> list[tuple[int, bool, bool]]:
    """Return the position of each key, whether it is in use, and whether it is refused."""
    return [
        (state["position"], state["in_use"], state["refused_at"] is not None)
        for state in keys_of(backend)
    ]


def test_a_key_that_is_revoked_under_a_task_is_replaced_by_the_next(
    failing_cloud: E2BServerProcess,
    tmp_path: Path,
    small: Repository,
    capfd: pytest.CaptureFixture[str],
) -> None:
    failing_cloud.configure(teams={NEXT_KEY: API_KEY}, api_keys=[API_KEY, NEXT_KEY])
    with cloud_backend(failing_cloud, tmp_path, **BOTH) as backend:
        task_id = backend.start("script:\nwrite a.txt one\nsleep 2\nwrite b.txt two", small)
        eventually(lambda: backend.status(task_id)["status"] == "running")
        eventually(lambda: failing_cloud.stats()["processes"] > 0)
        assert states_of(backend) == [(1, True, False), (2, False, False)]
        failing_cloud.configure(api_keys=[NEXT_KEY])
        task = ended(backend, task_id)
        assert (task["status"], task["attempt"]) == ("completed", 1), task["error"]
        eventually(lambda: states_of(backend) == [(1, False, True), (2, True, False)])
        ready = backend.get("/health/ready")
        assert [text.partition(" ")[0] for text in ready["warnings"]] == ["E2B_API_KEY"]
        assert ended(backend, backend.start("Another one", small))["status"] == "completed"
    everything = json.dumps([task, ready]) + capfd.readouterr().err
    assert API_KEY not in everything
    assert NEXT_KEY not in everything
    assert everything.count("e2b.key_refused") == 1
    assert wait_until_none_alive(failing_cloud)["created"] == 2


def test_a_task_fails_only_when_every_key_is_refused_and_one_may_be_accepted_again(
    failing_cloud: E2BServerProcess, tmp_path: Path, small: Repository
) -> None:
    failing_cloud.configure(teams={NEXT_KEY: API_KEY}, api_keys=["e2b_another"])
    with cloud_backend(failing_cloud, tmp_path, **BOTH) as backend:
        task = ended(backend, backend.start("Without a key", small))
        assert failure_of(task) == ("failed", "e2b_auth_failed", "cloning")
        assert [refused for _, _, refused in states_of(backend)] == [True, True]
        failing_cloud.configure(api_keys=[API_KEY])
        assert ended(backend, backend.start("With the first", small))["status"] == "completed"
        eventually(lambda: states_of(backend) == [(1, True, False), (2, False, True)])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"e2b_api_key_next": NEXT_KEY}, "needs E2B_API_KEY"),
        ({"e2b_api_key": NEXT_KEY, "e2b_api_key_next": NEXT_KEY}, "is the same key"),
        ({"e2b_api_key": API_KEY, "e2b_api_key_next": "sk-ant-x"}, "ANTHROPIC_API_KEY"),
    ],
)
def test_a_next_key_that_cannot_serve_is_refused_at_the_start(
    values: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Settings.model_validate(values)
