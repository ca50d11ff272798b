"""Faults of the fake hit the requests that they name; the fake records all requests."""

from __future__ import annotations

import pytest
from e2b import AsyncSandbox, AuthenticationException

from tests.fakes.e2b.control import E2BControl
from tests.fakes.e2b.faults import Fault

pytestmark = pytest.mark.anyio


async def test_a_fault_hits_every_nth_request_of_its_route(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    cloud.add_fault("status", route="files.read", status=401, every=3, skip=1, times=2)
    await sandbox.files.write("a", "")
    hit = []
    for number in range(1, 12):
        try:
            await sandbox.files.read("a")
        except AuthenticationException:
            hit.append(number)
    assert hit == [4, 7]
    assert cloud.stats()["fault_hits"] == 2


async def test_a_fault_is_for_one_sandbox_or_counts_each_alone(cloud: E2BControl) -> None:
    first, second = [await AsyncSandbox.create() for _ in range(2)]
    one = cloud.add_fault("status", route="files.*", sandbox=first.sandbox_id, status=401)
    with pytest.raises(AuthenticationException):
        await first.files.write("a", "")
    await second.files.write("a", "")
    cloud.remove_faults(one)
    cloud.add_fault("status", route="process.List", status=401, times=1, per_sandbox=True)
    for sandbox in (first, second):
        with pytest.raises(AuthenticationException):
            await sandbox.commands.list()
        await sandbox.commands.list()


async def test_the_record_of_requests_shows_secrets(cloud: E2BControl) -> None:
    sandbox = await AsyncSandbox.create()
    await sandbox.commands.run("true", envs={"TOKEN": "secret-1"})
    (start,) = cloud.requests("process.Start")
    assert "secret-1" in start["body"]
    assert start["status"] == 200
    assert cloud.requests("create")[0]["headers"]["x-api-key"] == "e2b_fake"
    counts = cloud.stats()["sandbox_requests"][sandbox.sandbox_id]
    assert counts == {"process.Start": 1}
    cloud.forget_requests()
    assert cloud.requests() == []


def test_a_fault_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind of fault: storm"):
        Fault("storm")  # type: ignore[arg-type]
