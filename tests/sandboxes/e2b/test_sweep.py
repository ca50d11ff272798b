"""Sandboxes that nobody knows are ended, and nobody else's are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from e2b import AsyncSandbox

from tests.fakes.e2b import control_plane as e2b_control_plane
from tests.fakes.e2b.control import API_KEY, E2BControl
from tests.fakes.e2b.server import E2BServer
from tests.support.e2b.live import Live, live_cloud
from tests.support.waiting import eventually
from utils.config.settings import Settings
from utils.errors import SandboxUnavailable
from utils.sandboxes.e2b.provider import APP, E2BSandboxProvider
from utils.sandboxes.protocol import SandboxRequest

pytestmark = pytest.mark.anyio

REQUEST = SandboxRequest(task_id=1, user_id="user", attempt=1, lifetime_seconds=600)
OURS = {"app": APP, "deployment": "blue"}


def provider(
    folder: Path, grace_seconds: float = 0, deployment: str = "blue"
) -> E2BSandboxProvider:
    """Return what a server of a deployment uses, as if it had just started."""
    choices = {
        "data_dir": folder,
        "e2b_api_key": API_KEY,
        "deployment": deployment,
        "sweep_grace_seconds": grace_seconds,
    }
    return E2BSandboxProvider(Settings.model_validate(choices))


async def create(**metadata: str) -> str:
    sandbox = await AsyncSandbox.create("async-code", metadata=metadata)
    return sandbox.sandbox_id


def alive(cloud: E2BControl) -> set[str]:
    return {one["sandboxID"] for one in cloud.sandboxes()}


async def test_only_unknown_sandboxes_of_this_deployment_are_ended(
    cloud: E2BServer, tmp_path: Path
) -> None:
    kept = {
        await create(),
        await create(app=APP),
        await create(app=APP, deployment="green"),
        await create(app="another", deployment="blue"),
        (known := await create(**OURS, task_id="7")),
    }
    unknown = await create(**OURS, task_id="8")
    ours = provider(tmp_path)
    kept.add((await ours.open(REQUEST)).id)
    assert alive(cloud) == kept | {unknown}
    await ours.sweep([known])
    assert alive(cloud) == kept


async def test_a_sandbox_that_was_left_is_ended_when_no_run_names_it(
    cloud: E2BServer, tmp_path: Path
) -> None:
    ours = provider(tmp_path)
    left = (await ours.open(REQUEST)).id
    await ours.sweep(())
    assert alive(cloud) == {left}
    ours.release(left)
    await ours.sweep([left])
    assert alive(cloud) == {left}
    await ours.sweep(())
    assert alive(cloud) == set()


async def test_an_unknown_sandbox_is_ended_only_after_the_grace_time(
    cloud: E2BServer, tmp_path: Path
) -> None:
    unknown = await create(**OURS)
    await provider(tmp_path, grace_seconds=600).sweep(())
    assert alive(cloud) == {unknown}
    await provider(tmp_path).sweep(())
    assert alive(cloud) == set()


async def test_a_sandbox_is_known_from_its_opening_to_its_closing(
    cloud: E2BServer, tmp_path: Path
) -> None:
    ours = provider(tmp_path)
    sandbox = await ours.open(REQUEST)
    await ours.sweep(())
    assert alive(cloud) == {sandbox.id}
    earlier = await provider(tmp_path).open(REQUEST)
    await ours.attach(earlier.id, REQUEST)
    await ours.sweep(())
    assert alive(cloud) == {sandbox.id, earlier.id}
    cloud.add_fault("status", route="kill", status=403)
    await sandbox.close()
    cloud.remove_faults()
    await ours.sweep(())
    assert alive(cloud) == {earlier.id}


async def test_all_pages_are_swept_at_once(
    cloud: E2BServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(e2b_control_plane, "PAGE", 2)
    ids = [await create(**OURS, task_id=str(number)) for number in range(7)]
    cloud.forget_requests()
    await provider(tmp_path).sweep([ids[0], ids[3]])
    assert alive(cloud) == {ids[0], ids[3]}
    assert len(cloud.requests("list")) == 4


async def test_one_that_cannot_be_ended_does_not_stand_in_the_way(
    cloud: E2BServer, tmp_path: Path
) -> None:
    for _ in range(3):
        await create(**OURS)
    cloud.add_fault("status", route="kill", status=500, times=1)
    await provider(tmp_path).sweep(())
    assert len(alive(cloud)) == 1
    await provider(tmp_path).sweep(())
    assert alive(cloud) == set()


async def test_a_cloud_that_does_not_answer_ends_the_sweep(
    cloud: E2BServer, tmp_path: Path
) -> None:
    unknown = await create(**OURS)
    cloud.add_fault("status", route="list", status=503)
    with pytest.raises(SandboxUnavailable):
        await provider(tmp_path).sweep(())
    assert alive(cloud) == {unknown}


async def test_a_sandbox_is_ended_by_its_id_alone_even_by_a_cancelled_caller(
    cloud: E2BServer, tmp_path: Path
) -> None:
    left = await provider(tmp_path).open(REQUEST)
    cloud.add_fault("status", route="kill", status=503, times=2)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await provider(tmp_path).end(left.id)
    assert alive(cloud) == set()
    await provider(tmp_path).end(left.id)
    cloud.add_fault("status", route="kill", status=403)
    other = await provider(tmp_path).open(REQUEST)
    await provider(tmp_path).end(other.id)
    assert alive(cloud) == {other.id}


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    with live_cloud(tmp_path, DEPLOYMENT="blue", SWEEP_GRACE_SECONDS=0.5) as live:
        for name, value in live.cloud.environment.items():
            monkeypatch.setenv(name, value)
        yield live


async def test_a_server_sweeps_while_it_runs_and_leaves_its_tasks_alone(live: Live) -> None:
    live.server.start()
    client = live.server.client()
    go = live.folder / "go"
    task_id = client.start(f"say begun\nawait {go}\nwrite a.txt a", live.repository)
    client.wait_for_output(task_id, "begun")
    own = live.sandbox_of(task_id)["sandboxID"]
    foreign = await create(app=APP, deployment="green")
    for _ in range(2):
        unknown = await create(**OURS)
        eventually(lambda: unknown not in alive(live.cloud))  # noqa: B023
    assert alive(live.cloud) == {own, foreign}
    go.touch()
    client.wait_for(task_id, "completed")
    eventually(lambda: alive(live.cloud) == {foreign})
