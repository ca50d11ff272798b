"""Limits of memory and time apply to unpacking a patch, even a forged one.

The limits are those of the kernel, so these tests are for Linux.
"""

from __future__ import annotations

import base64
import hashlib
import os
import pickle
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.backends import Repository, git
from tests.support.git.pushes import AMPLE_SECONDS, bare_copy, local_request, push, result_of
from tests.support.source_files import ROOT
from tests.support.waiting import eventually
from utils.errors import PushRefused, Unavailable
from utils.push import resource_limits
from utils.push.push import PushLimits, PushRequest
from utils.push.resource_limits import ResourceLimits

pytestmark = pytest.mark.skipif(
    sys.platform == "darwin", reason="this system has no limit of address space"
)

MIB = 2**20
BLOCK_BYTES = 2**16
"""Bytes that one instruction of a delta copies; the changed file of the base has as many."""

# Peaks are those of all processes that have ended, so that each push needs a parent of its own.
PROGRAM = """
import pickle, resource, sys
from utils.push.push import push_branch
from utils.errors import PushRefused
from utils.redaction import Redactor
try:
    push_branch(*pickle.load(sys.stdin.buffer), Redactor())
except PushRefused as error:
    print(error.code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.fixture(scope="module")
def push_origin(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    origin = Repository(tmp_path_factory.mktemp("large") / "origin")
    origin.commit(f"ln -s 'one\n' link-1; echo one >one; head -c {BLOCK_BYTES} /dev/zero >block")
    return origin


@pytest.fixture
def small_request(push_origin: Repository, push_bare: Path) -> PushRequest:
    """Provide a push request for a valid change."""
    return local_request(push_bare, result_of(push_origin, "echo more >>one"))


def hunk(kind: str, content: bytes) -> str:
    """Return a part of a binary patch as git writes it."""
    packed = zlib.compress(content, 9)
    lines = (packed[start : start + 26] for start in range(0, len(packed), 26))
    text = "".join(
        chr(ord("@") + len(line)) + base64.b85encode(line + bytes(-len(line) % 4)).decode() + "\n"
        for line in lines
    )
    return f"{kind} {len(content)}\n{text}\n"


def number(value: int) -> bytes:
    """Return a size as the head of a delta has it."""
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def bomb(repository: Repository, blocks: int, changes: int) -> str:
    """Return changes of the block, each of which makes it so many times as large."""
    delta = number(BLOCK_BYTES) + number(BLOCK_BYTES * blocks) + b"\x80" * blocks
    old = git(repository.folder, "rev-parse", "HEAD:block")
    binary = "GIT binary patch\n" + hunk("delta", delta) + hunk("literal", b"")
    return "".join(
        f"diff --git a/block b/{name}\nsimilarity index 9%\ncopy from block\ncopy to {name}\n"
        f"index {old}..{old[::-1]}\n{binary}"
        for name in (f"block{change}" for change in range(changes))
    )


def refused(request: PushRequest, folder: Path, memory_bytes: int) -> tuple[str, int]:
    """Push in a process of its own; return the code and the largest process in bytes."""
    environment = {"PATH": os.environ["PATH"]}
    limits = PushLimits(folder / "pushes", AMPLE_SECONDS, environment, ResourceLimits(memory_bytes))
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        input=pickle.dumps((request, limits)),
        capture_output=True,
        check=True,
    )
    code, peak_kib = finished.stdout.decode().splitlines()[-1].split()
    return code, int(peak_kib) * 1024


def forged(repository: Repository, bare: Path, patch: str) -> PushRequest:
    result = result_of(repository, "printf '\\0' >zero")
    return local_request(bare, {**result, "git_patch": patch})


@pytest.mark.parametrize(
    ("blocks", "changes", "memory_bytes"),
    [
        pytest.param(2**14, 1, resource_limits.MAX_MEMORY_BYTES, id="one of a gigabyte"),
        pytest.param(2**8, 12, 128 * MIB, id="many that are large together"),
    ],
)
def test_a_small_patch_of_very_much_ends_at_the_limit(
    push_origin: Repository,
    push_bare: Path,
    tmp_path: Path,
    blocks: int,
    changes: int,
    memory_bytes: int,
) -> None:
    patch = bomb(push_origin, blocks, changes)
    assert len(patch) < 500 * changes
    request = forged(push_origin, push_bare, patch)
    code, peak_bytes = refused(request, tmp_path, memory_bytes)
    assert code == "file_too_large"
    assert peak_bytes <= memory_bytes
    assert git(push_bare, "branch", "--list", request.branch) == ""


@pytest.mark.parametrize("size", ["9" * 5_000, f"-{2**64 - 10**12}", f" \t+{10**12} bytes"])
def test_a_size_that_nothing_has_is_refused(
    push_origin: Repository, push_bare: Path, tmp_path: Path, size: str
) -> None:
    result = result_of(push_origin, "printf '\\0' >zero")
    assert "literal 1\n" in result["git_patch"]
    patch = result["git_patch"].replace("literal 1\n", f"literal {size}\n")
    with pytest.raises(PushRefused) as raised:
        push(tmp_path, forged(push_origin, push_bare, patch))
    assert raised.value.code == "file_too_large"


def test_a_large_file_that_packs_well_is_pushed(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit("truncate -s 12000000 rewritten")
    result = result_of(repository, "head -c 12000000 /dev/zero | tr '\\0' x >rewritten")
    assert result["git_patch"].count("literal 12000000") == 2
    bare = bare_copy(repository, tmp_path / "bare")
    request = local_request(bare, result)
    push(tmp_path, request, resources=ResourceLimits(80 * MIB))
    assert git(bare, "rev-parse", f"{request.branch}^{{tree}}") == request.tree_hash


def mails(repository: Repository, count: int, blocks: int, extra: str = "") -> str:
    """Return commits, each of which makes a file of so many blocks, that are all right so far.

    `extra` is for what else each of them changes, with its number and that of the one before it.
    """
    change = bomb(repository, blocks, 1)
    old = git(repository.folder, "rev-parse", "HEAD:block")
    content = bytes(BLOCK_BYTES * blocks)
    made = hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()
    return "".join(
        f"From {number:040} Mon Sep 17 00:00:00 2001\n\n"
        + change.replace("block0", f"copy{number}").replace(old[::-1], made)
        + extra.format(number, number - 1)
        for number in range(count)
    )


# Beside the file `link-1`, each commit makes a link, and has a folder in the place of the last one.
TURNING_LINK = """
diff --git a/link{0} b/link{0}
new file mode 120000
--- /dev/null
+++ b/link{0}
@@ -0,0 +1 @@
+one
diff --git a/link{1} b/link{1}
deleted file mode 120000
--- a/link{1}
+++ /dev/null
@@ -1 +0,0 @@
-one
diff --git a/link{1}/file b/link{1}/file
new file mode 100644
"""


@pytest.mark.parametrize("extra", ["", TURNING_LINK], ids=["in one run", "in a run each"])
def test_a_small_patch_of_much_work_ends_at_the_limit(
    push_origin: Repository, push_bare: Path, tmp_path: Path, extra: str
) -> None:
    request = forged(push_origin, push_bare, mails(push_origin, 60, 2**10, extra))
    with pytest.raises(PushRefused) as raised:
        push(tmp_path, request, resources=ResourceLimits(processor_seconds=1))
    assert raised.value.code == "file_too_large"
    assert "too large or too many: git needs more processor time" in raised.value.message


@pytest.mark.parametrize("seconds", [20.0, 30.2], ids=["no time to wait", "a moment to wait"])
def test_a_push_without_a_turn_says_so(
    small_request: PushRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    # What comes before its turn is not to take all of the time, on however slow a machine.
    monkeypatch.setattr(resource_limits, "SECONDS_AFTER_WAIT", 30)
    with both_slots_taken(), pytest.raises(Unavailable) as raised:
        push(tmp_path, small_request, timeout_seconds=seconds)
    assert (raised.value.code, raised.value.http_status) == ("github_busy", 503)
    assert raised.value.retry_after_seconds
    assert not push(tmp_path, small_request).was_there


def test_a_push_waits_for_its_turn(small_request: PushRequest, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        with both_slots_taken():
            pushing = threads.submit(push, tmp_path, small_request)
            eventually(lambda: any((tmp_path / "pushes").rglob("*.pack")))
            assert not pushing.done()
        assert not pushing.result().was_there


@contextmanager
def both_slots_taken() -> Iterator[None]:
    """Have no push prepared while the block runs."""
    ends_at = time.monotonic() + AMPLE_SECONDS
    with (
        resource_limits.process_slot(ends_at) as first,
        resource_limits.process_slot(ends_at) as second,
    ):
        assert (first, second) == (True, True)
        yield


def test_a_push_whose_time_is_over_here_does_not_blame_the_host(
    small_request: PushRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    program = (
        f"#!/bin/sh\n[ $1 = read-tree ] && sleep 60\nPATH='{os.environ['PATH']}' exec git \"$@\"\n"
    )
    (tools / "git").write_text(program)
    (tools / "git").chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}"}

    def monotonic() -> float:
        # However long the host took, nearly all of the time is over when it has answered.
        has_answered = any((tmp_path / "pushes").rglob("*.pack"))
        return time.monotonic() + has_answered * (AMPLE_SECONDS - 0.5)

    monkeypatch.setattr("utils.push.repository.time", SimpleNamespace(monotonic=monotonic))
    with pytest.raises(Unavailable) as raised:
        push(tmp_path, small_request, environment=environment)
    assert raised.value.code == "git_timeout"
    assert "this server is busy" in raised.value.message
