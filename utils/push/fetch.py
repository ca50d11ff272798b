"""Fetches the objects that a patch needs, and no others where the server allows it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from utils.git.failures import BRANCH_MISSING
from utils.models.runs import CommandResult
from utils.push import errors
from utils.push.patch import PatchPlan
from utils.push.repository import REMOTE, PushRepository

FIRST_DEPTH = 64
DEPTH_STEP = 1024

_QUIETLY = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
_BASE_REFERENCE = "refs/heads/base"
_TIP_REFERENCE = "refs/remotes/tip"

_HEAD = re.compile(r"([0-9a-f]{64}|[0-9a-f]{40})\t(refs/heads/.+)")
# With protocol version 2 any object can be fetched by name; this is the answer for a missing one.
_NO_SUCH_OBJECT = re.compile(r"not our ref ([0-9a-f]{40,64})")
_NOT_BY_NAME = re.compile(r"unadvertised object|want [0-9a-f]{40,64} not valid")
_NO_FILTER = re.compile(r"filtering not recognized by server")

Heads = dict[str, str]
"""Commits by full reference name."""


def read_heads(repository: PushRepository, branches: Iterable[str]) -> Heads:
    """Return the commits of branches on the remote; missing branches are left out."""
    references = [f"refs/heads/{branch}" for branch in branches]
    result = repository.run_remote("ls-remote", REMOTE, *references)
    if not result.ok:
        raise repository.failure(result)
    lines = result.stdout.decode("utf-8", "replace").split("\n")
    found = {match[2]: match[1] for match in map(_HEAD.fullmatch, lines) if match}
    return {reference: found[reference] for reference in references if reference in found}


def fetch_base(repository: PushRepository, base: str, base_branch: str, plan: PatchPlan) -> bool:
    """Fetch a commit without its history, and only the blobs that a patch names.

    Return False when the server sent all files because it does not support filters. Raises
    `PushRefused` (`base_commit_gone`, `patch_does_not_apply`) and what `failure` returns.
    """
    names = [f"{base}:{_BASE_REFERENCE}", *plan.objects]
    result = _fetch_names(repository, ["--depth=1", "--filter=blob:none"], names)
    text = errors.output_text(result)
    if result.ok:
        return not _NO_FILTER.search(text)
    if _NOT_BY_NAME.search(text):
        _fetch_history(repository, base, base_branch)
        return False
    missing = _NO_SUCH_OBJECT.search(text)
    if missing is None:
        raise repository.failure(result)
    raise errors.base_missing() if missing[1] == base else errors.does_not_apply(result)


def fetch_blobs(repository: PushRepository, names: Collection[str]) -> None:
    """Fetch blobs with one request."""
    if not names:
        return
    result = _fetch_names(repository, ["--filter=blob:none"], names)
    if not result.ok:
        raise repository.failure(result)


def _fetch_names(
    repository: PushRepository, options: Iterable[str], names: Iterable[str]
) -> CommandResult:
    # Use stdin: a patch may name more objects than fit on a command line.
    lines = "".join(f"{name}\n" for name in names).encode()
    # None of the objects are here, so there is nothing to negotiate.
    fetch = ("-c", "fetch.negotiationAlgorithm=noop", "fetch", *_QUIETLY)
    return repository.run_remote(*fetch, *options, "--stdin", REMOTE, stdin=lines)


def _fetch_history(repository: PushRepository, base: str, base_branch: str) -> None:
    """Fetch more and more history of the base branch, with all files, up to the base commit."""
    # Start empty: the server would assume that fetched commits have all their files.
    repository.empty()
    for depth in (f"--depth={FIRST_DEPTH}", f"--deepen={DEPTH_STEP}", "--unshallow"):
        source = f"+refs/heads/{base_branch}:{_TIP_REFERENCE}"
        result = repository.run_remote("fetch", *_QUIETLY, "--no-filter", depth, REMOTE, source)
        if not result.ok and re.search(BRANCH_MISSING, errors.output_text(result)):
            raise errors.base_missing()
        if not result.ok:
            raise repository.failure(result)
        if repository.run("cat-file", "-e", f"{base}^{{commit}}").ok:
            return
        if not (repository.folder / "shallow").exists():
            break
    raise errors.base_missing()
