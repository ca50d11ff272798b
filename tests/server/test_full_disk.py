"""A full disk: a server says so and does not start, or says so and recovers when there is room."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.support.live_server import Client
from tests.support.source_files import ROOT
from tests.support.waiting import PATIENCE_SECONDS, eventually

# A small disk of its own, which is gone with the last process that sees it.
DISK = 'mount -t tmpfs -o size=12m none data && eval "$1" && shift && exec "$@"'
FILL = "head -c 20000000 /dev/zero >data/fill || true"


def on_a_small_disk(before: str, *command: str | Path) -> list[str | Path]:
    """Return a command that runs with 12 MB for its folder `data`."""
    return ["unshare", "-rm", "sh", "-c", DISK, "sh", before, *command]


def can_mount() -> bool:
    """Tell whether this machine lets its users mount something in a namespace of their own."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return bool(shutil.which("unshare")) and not subprocess.run(command, check=False).returncode


pytestmark = pytest.mark.skipif(not can_mount(), reason="needs a disk to fill")


@contextmanager
def started(folder: Path, before: str) -> Iterator[subprocess.Popen[str]]:
    (folder / "data").mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PORT": "0"}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            on_a_small_disk(before, sys.executable, ROOT / "main.py"),
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


def test_a_server_does_not_start_on_a_full_disk_and_says_why(tmp_path: Path) -> None:
    with started(tmp_path, FILL) as process:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    errors = (tmp_path / "log").read_text().splitlines()
    assert (process.returncode, output) == (75, "")
    assert errors[-1].startswith("The server cannot start: The disk of the database is full. Free")
    assert [line for line in errors if not line.startswith("head: ")] == errors[-1:]


def test_a_task_fails_alone_when_the_disk_is_full_and_later_ones_complete(
    tmp_path: Path, small_repository: str
) -> None:
    with started(tmp_path, ":") as process, ExitStack() as clients:
        assert process.stdout is not None
        port = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert port is not None
        client = clients.enter_context(closing(Client(int(port[1]))))
        data = Path(f"/proc/{process.pid}/root{tmp_path}/data")
        writes = "".join(f"write {number}.txt x\nsleep 0.1\n" for number in range(600))
        writer, other = (
            client.start(f"script:\nprint begun\n{rest}", small_repository)
            for rest in (writes, "sleep 600")
        )
        for task_id in (writer, other):
            client.wait_for_output(task_id, "begun")
        with pytest.raises(OSError, match="No space left"), (data / "fill").open("wb") as fill:
            fill.write(bytes(20_000_000))
        assert eventually(lambda: not_ready(client)) == "disk_full"
        failed = client.wait_for(writer)
        assert (failed["status"], failed["error_code"]) == ("failed", "disk_full")
        assert "Free some space" in failed["error"]
        (data / "fill").unlink()
        eventually(lambda: not not_ready(client))
        assert client.status(other)["status"] == "running"
        later = client.start("hello", small_repository)
        assert client.wait_for(later)["status"] == "completed"
        client.post(f"/tasks/{other}/cancel")
        client.wait_for(other, "cancelled")


def not_ready(client: Client) -> str:
    """Return the reason why a server is not ready, empty when it is."""
    answer = client.get("/health/ready")
    return "" if answer.code == 200 else str(answer.body["code"])


def test_what_is_written_once_is_whole_or_not_there(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from utils.config.private_folder import write_once\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "write_once(Path(sys.argv[1]), 'key')"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "key")]
    result = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    assert "File too large" in result.stderr
    assert list(tmp_path.iterdir()) == []
