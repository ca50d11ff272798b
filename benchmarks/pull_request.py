"""Measures the push of a stored result to a git server with partial clones and a token.

Each round pushes to its own branch, then pushes the same result again. The git server counts the
objects and bytes it sends.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from structlog.testing import capture_logs

from benchmarks.figures import Bench, Figure
from benchmarks.repositories import make_repository
from tests.support.backends import Repository, git
from tests.support.git.pushes import TOKEN, open_to_partial_clones, request_of, result_of
from tests.support.git.server import GitServer, serve_git
from tests.support.pull_requests import open_hub
from utils.push.push import PushLimits, PushRequest, push_branch
from utils.redaction import Redactor

SCRIPT = """
set -- $(git ls-files | head -40)
for path; do echo more >>"$path"; done
git mv "$1" moved.py; git rm -q -f "$2"; chmod +x "$3"; printf '\\000' >new.bin
"""
# The calls of GitHub's API may take the rest of the 1.5 s.
TARGET_SECONDS = 1.0
TARGET_CALL_SECONDS = 1.5
TARGET_SHARE = 5.0


def push_result(bench: Bench) -> list[Figure]:
    """Measure the push of 40 changed files in a repository of 2,000 files and 500 commits."""
    files, commits = bench.size((2000, 500), (60, 10))
    bare = make_repository(bench.folder / "sample.git", files=files, commits=commits)
    repository = Repository(bench.folder / "repository")
    git(repository.folder, "pull", "--quiet", str(bare), "main")
    result = result_of(repository, SCRIPT)
    every_object = int(git(repository.folder, "rev-list", "--objects", "--count", "HEAD"))
    whole_bytes = sum(pack.stat().st_size for pack in bare.glob("objects/pack/*.pack"))
    limits = PushLimits(bench.folder / "pushes", 60.0, {"PATH": os.environ["PATH"]})
    # Standard output is reserved for the figures.
    with serve_git(bench.folder / "served") as server, capture_logs():
        url = server.publish(repository, "sample", TOKEN)
        open_to_partial_clones(server.bare("sample"))
        request = request_of(url, result)
        first, again = _times(request, limits, bench.size(15, 1))
        objects, sent = _fetched(server, replace(request, branch="counted"), limits)
    return [
        Figure("first push, median", _median(first), "s", TARGET_SECONDS),
        Figure("first push, slowest", round(max(first), 3), "s"),
        Figure("push of what is there, median", _median(again), "s"),
        Figure("objects fetched", round(100 * objects / every_object, 2), "%", TARGET_SHARE),
        Figure("objects in the repository", every_object, ""),
        Figure("bytes fetched", round(100 * sent / whole_bytes, 2), "%"),
    ]


def create_pull_request(bench: Bench) -> list[Figure]:
    """Measure a whole call of create-pr on the same repository, with a fake GitHub."""
    files, commits = bench.size((2000, 500), (60, 10))
    bare = make_repository(bench.folder / "sample.git", files=files, commits=commits)
    repository = Repository(bench.folder / "repository")
    git(repository.folder, "pull", "--quiet", str(bare), "main")
    every_object = int(git(repository.folder, "rev-list", "--objects", "--count", "HEAD"))
    first, again, fetched = [], [], []
    with open_hub(bench.folder / "hub") as hub, capture_logs():
        hosted = hub.host(repository)
        for _ in range(bench.size(10, 1)):
            task_id = hosted.task(SCRIPT)
            sent = hub.server.sent_objects
            first.append(_seconds(hosted.created, task_id))
            fetched.append(hub.server.sent_objects - sent)
            again.append(_seconds(hosted.created, task_id))
    return [
        Figure("first call, median", _median(first), "s", TARGET_CALL_SECONDS),
        Figure("first call, slowest", round(max(first), 3), "s"),
        Figure("second call, median", _median(again), "s"),
        Figure("objects fetched", round(100 * max(fetched) / every_object, 2), "%", TARGET_SHARE),
    ]


def _times(
    request: PushRequest, limits: PushLimits, rounds: int
) -> tuple[list[float], list[float]]:
    first: list[float] = []
    again: list[float] = []
    for number in range(rounds):
        own = replace(request, branch=f"round-{number}")
        for times in (first, again):
            times.append(_seconds(push_branch, own, limits, Redactor()))
    return first, again


def _seconds(action: Callable[..., object], *arguments: Any) -> float:
    started = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - started


def _fetched(server: GitServer, request: PushRequest, limits: PushLimits) -> tuple[int, int]:
    objects, sent = server.sent_objects, server.sent_bytes
    push_branch(request, limits, Redactor())
    return server.sent_objects - objects, server.sent_bytes - sent


def _median(times: list[float]) -> float:
    return round(statistics.median(times), 3)
