"""Pushes the result of a task as one commit on a branch, exact to the byte.

From the stored base commit and patch alone, long after the sandbox is gone: the base commit and the
blobs that the patch touches are fetched into a temporary bare repository, the patch is applied to
its index, and nothing is pushed unless that gives the tree that the sandbox held. The same request
always gives the same commit, so that a push that already happened is recognised.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from utils.errors import Forbidden
from utils.git.repository_url import validate_branch
from utils.push import errors
from utils.push.commit import CommitText, commit_object, object_format, object_name
from utils.push.fetch import Heads, fetch_base, fetch_blobs, read_heads
from utils.push.patch import plan_patch
from utils.push.repository import MAX_TOKEN_CHARACTERS, REMOTE, PushRepository, Remote
from utils.push.resource_limits import ResourceLimits
from utils.push.workflows import FOLDER, is_workflow, workflow_changes
from utils.redaction import Redactor

_FOLDER_PREFIX = "push-"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PushRequest:
    """The content to push to a branch, and its author.

    `repo_url` is canonical; `base_branch` is where the base commit was. `expected_remote` is the
    commit that was pushed to the branch last, None when none was.
    """

    repo_url: str
    base_branch: str
    base_commit: str
    tree_hash: str
    patch: str = field(repr=False)
    branch: str
    text: CommitText
    token: str | None = field(default=None, repr=False)
    expected_remote: str | None = None
    allow_workflow_changes: bool = False


@dataclass(frozen=True, slots=True)
class PushLimits:
    """The folder and the limits of a push.

    `environment` holds PATH, proxies and certificates for git. `bounds` are for the processes of
    git that read the patch or its results.
    """

    work_folder: Path
    timeout_seconds: float
    environment: Mapping[str, str] = field(repr=False)
    bounds: ResourceLimits = field(default_factory=ResourceLimits)


@dataclass(frozen=True, slots=True)
class Pushed:
    """The content of the branch after a push; `was_there` if an earlier push had done it."""

    commit: str
    tree: str
    was_there: bool
    objects_fetched: int


def push_branch(request: PushRequest, limits: PushLimits, redactor: Redactor) -> Pushed:
    """Put the result of a task on a branch of its repository, blocking.

    Raises `BranchChanged` when someone else pushed there, and otherwise `PushRefused`, `Forbidden`,
    `NotFound` or `Unavailable` with a code of `utils.push.errors`, or `Conflict` with
    `workflow_changes`; then nothing was pushed.
    """
    validate_branch(request.branch)
    _refuse_odd_token(request.token)
    started = time.monotonic()
    known = redactor.child()
    remote = Remote(request.repo_url, request.token, limits.environment)
    deadline = started + limits.timeout_seconds
    with known.hold(request.token), _folder(limits.work_folder) as folder:
        kind = object_format(request.base_commit)
        repository = PushRepository(
            folder / "git", remote, kind, deadline, limits.bounds, known.redact
        )
        pushed = _Push(request, repository).run()
        log.info(
            "branch pushed",
            action="push.finished",
            commit=pushed.commit,
            was_there=pushed.was_there,
            objects_fetched=pushed.objects_fetched,
            seconds=round(time.monotonic() - started, 3),
        )
    return pushed


def remove_leftovers(work_folder: Path) -> None:
    """Remove what a server that was killed during a push left, while no push is under way."""
    for folder in work_folder.glob(f"{_FOLDER_PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _folder(work_folder: Path) -> Iterator[Path]:
    folder = None
    try:
        work_folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=work_folder.absolute()))
        yield folder
    except OSError as error:
        raise errors.cannot_work(error) from error
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _refuse_odd_token(token: str | None) -> None:
    # A line break would end git's credential answer early.
    if token and (
        len(token) > MAX_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable()
    ):
        raise Forbidden(
            "This cannot be a token: it is too long, or holds line breaks or other characters that "
            "no token has. Copy it again.",
            "github_token_refused",
        )


class _Push:
    """One push."""

    def __init__(self, request: PushRequest, repository: PushRepository) -> None:
        self._request = request
        self._repository = repository
        self._reference = f"refs/heads/{request.branch}"
        # Known before anything is fetched, as the tree is.
        self._object = commit_object(request.tree_hash, request.base_commit, request.text)
        self._commit = object_name(self._object, object_format(request.base_commit))

    def run(self) -> Pushed:
        """Push, unless an earlier push did."""
        heads = self._heads()
        was_there = self._is_done(heads)
        if not was_there:
            self._apply()
            self._store_commit()
            self._send(heads)
        received = self._repository.objects_received
        return Pushed(self._commit, self._request.tree_hash, was_there, received)

    def _heads(self) -> Heads:
        return read_heads(self._repository, (self._request.base_branch, self._request.branch))

    def _is_done(self, heads: Heads) -> bool:
        """Return True when the branch has the result. Raises when it belongs to someone else."""
        present = heads.get(self._reference)
        # A branch that is gone, say after a merge, holds nobody's work.
        if present and present not in {self._commit, self._request.expected_remote}:
            raise errors.branch_changed(self._request.branch, present)
        return present == self._commit

    def _apply(self) -> None:
        """Have the tree of the result in the repository."""
        request, repository = self._request, self._repository
        plan = plan_patch(request.patch.encode())
        partial = fetch_base(repository, request.base_commit, request.base_branch, plan)
        self._local("read-tree", request.base_commit)
        if partial and plan.paths:
            fetch_blobs(repository, self._blobs_of(plan.paths).difference(plan.objects))
        self._apply_runs(plan.runs)
        self._write_tree()
        if not request.allow_workflow_changes and self._changes_workflows():
            raise workflow_changes()

    def _write_tree(self) -> None:
        # git keeps a folder that nothing touches as it is, also with modes that are written
        # otherwise today, and empty folders. A new clone writes such a folder anew.
        for options in ((), ("--ignore-cache-tree",)):
            # Files that the patch does not touch were not fetched.
            tree = self._local("write-tree", "--missing-ok", *options)
            if tree.decode().strip() == self._request.tree_hash:
                return
        raise errors.tree_mismatch()

    def _changes_workflows(self) -> bool:
        # Not the patch but what came of it: git understands more than a look at it would find.
        options = ("-r", "-z", "--name-only", "--no-renames", "--ignore-submodules=none")
        trees = (self._request.base_commit, self._request.tree_hash)
        changed = self._local("diff-tree", *options, *trees, "--", FOLDER)
        return any(map(is_workflow, changed.decode("utf-8", "replace").split("\0")))

    def _blobs_of(self, paths: Collection[bytes]) -> set[str]:
        entries = (
            line.split(b"\t", 1) for line in self._local("ls-files", "-sz").split(b"\0")[:-1]
        )
        return {columns.split(b" ")[1].decode() for columns, path in entries if path in paths}

    def _apply_runs(self, runs: Iterable[Sequence[bytes]]) -> None:
        for run in runs:
            files = [self._repository.folder / f"{number}.patch" for number in range(len(run))]
            for file, part in zip(files, run, strict=True):
                file.write_bytes(part)
            # The index is enough, and nothing converts what goes into it.
            names = [file.name for file in files]
            result = self._repository.run("apply", "--cached", "--whitespace=nowarn", *names)
            if not result.ok:
                raise errors.does_not_apply(result)

    def _store_commit(self) -> None:
        name = self._local("hash-object", "-t", "commit", "-w", "--stdin", stdin=self._object)
        if name.decode().strip() != self._commit:
            raise errors.tree_mismatch()

    def _send(self, heads: Heads) -> None:
        """Push the commit, unless someone has pushed to the branch since it was looked at."""
        expected = heads.get(self._reference, "")
        base_branch = f"refs/heads/{self._request.base_branch}"
        # git leaves out what the remote's branches have. When none of them is at the base commit
        # any more, it has to ask, or would send, and first fetch, every file.
        negotiate = heads.get(base_branch) != self._request.base_commit
        result = self._repository.run_remote(
            "-c",
            f"push.negotiate={'true' if negotiate else 'false'}",
            "-c",
            # Each thread would take memory of its own for what it compares.
            "pack.threads=1",
            "push",
            "--porcelain",
            "--no-verify",
            f"--force-with-lease={self._reference}:{expected}",
            REMOTE,
            f"{self._commit}:{self._reference}",
        )
        # The answer to a push may be lost, and another call may have done the same.
        if not result.ok and (result.timed_out or not self._is_done(self._heads())):
            raise self._repository.failure(result)

    def _local(self, *arguments: str, stdin: bytes = b"") -> bytes:
        result = self._repository.run(*arguments, stdin=stdin)
        if not result.ok:
            raise self._repository.failure(result)
        return result.stdout
