"""Pushes the result of a task as one commit on a branch, exact to the byte.

Needs only the stored base commit and patch, not the sandbox. Fetches the base commit and the blobs
that the patch changes into a temporary bare repository, and applies the patch to its index. Pushes
only if the result is the tree that the sandbox had, and if the diff that people review gives the
same tree: the sandbox hands over patch, diff and tree one by one. Equal requests give the same
commit, so a push that was already done is recognized.
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

from utils.errors import Forbidden, PushRefused
from utils.git.host_commands import MAX_TOKEN_CHARACTERS, Remote
from utils.git.repository_url import validate_branch
from utils.push import errors
from utils.push.commit import CommitText, commit_object, object_format, object_name
from utils.push.fetch import Heads, fetch_base, fetch_blobs, read_heads
from utils.push.patch import is_one_commit_of, plan_patch
from utils.push.repository import REMOTE, PushRepository
from utils.push.resource_limits import ResourceLimits
from utils.push.workflows import FOLDER, is_workflow, workflow_changes
from utils.redaction import Redactor

_FOLDER_PREFIX = "push-"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PushRequest:
    """The commit to push, its branch and the token.

    `repo_url` is canonical; `base_branch` contained the base commit when the task started.
    `expected_remote` is the last commit that this server pushed to the branch, None for none.
    `diff` is what people review instead of the patch; None when there is none.
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
    diff: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PushLimits:
    """The folder, the time limit and the environment (PATH, proxies, certificates) of a push.

    `resources` limit the git processes that read the patch or its results.
    """

    work_folder: Path
    timeout_seconds: float
    environment: Mapping[str, str] = field(repr=False)
    resources: ResourceLimits = field(default_factory=ResourceLimits)


@dataclass(frozen=True, slots=True)
class Pushed:
    """The commit on the branch. `was_there` is True if an earlier push had put it there."""

    commit: str
    tree: str
    was_there: bool
    objects_fetched: int


def push_branch(request: PushRequest, limits: PushLimits, redactor: Redactor) -> Pushed:
    """Push the result of a task to a branch of its repository. Blocks until it is done.

    Raises `BranchChanged` when someone else pushed to the branch; `PushRefused`, `Forbidden`,
    `NotFound` or `Unavailable` with a code of `utils.push.errors`; `Conflict` (`workflow_changes`).
    After an error nothing was pushed.
    """
    validate_branch(request.branch)
    _refuse_malformed_token(request.token)
    started = time.monotonic()
    own_redactor = redactor.child()
    remote = Remote(request.repo_url, request.token, limits.environment)
    deadline = started + limits.timeout_seconds
    with own_redactor.hold(request.token), _folder(limits.work_folder) as folder:
        kind = object_format(request.base_commit)
        repository = PushRepository(
            folder / "git", remote, kind, deadline, limits.resources, own_redactor.redact
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
    """Remove the folders of pushes that a killed server left. Call it while no push is running."""
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


def _refuse_malformed_token(token: str | None) -> None:
    # A line break would end git's credential answer early.
    if token and (
        len(token) > MAX_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable()
    ):
        raise Forbidden(
            "This is not a token: it is too long, or contains line breaks or other characters that "
            "no token has. Copy it again.",
            "github_token_refused",
        )


class _Push:
    """Performs one push."""

    def __init__(self, request: PushRequest, repository: PushRepository) -> None:
        self._request = request
        self._repository = repository
        self._reference = f"refs/heads/{request.branch}"
        # The tree is known, so the commit is known before anything is fetched.
        self._object = commit_object(request.tree_hash, request.base_commit, request.text)
        self._commit = object_name(self._object, object_format(request.base_commit))

    def run(self) -> Pushed:
        """Push, unless an earlier push has done it."""
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
        """Tell whether the commit is on the branch. Raise if others have pushed there."""
        present = heads.get(self._reference)
        # A deleted branch, for example after a merge, holds nobody's work.
        if present and present not in {self._commit, self._request.expected_remote}:
            raise errors.branch_changed(self._request.branch, present)
        return present == self._commit

    def _apply(self) -> None:
        """Write the tree of the result to the repository."""
        request, repository = self._request, self._repository
        plan = plan_patch(request.patch.encode())
        partial = fetch_base(repository, request.base_commit, request.base_branch, plan)
        self._local("read-tree", request.base_commit)
        if partial and plan.paths:
            fetch_blobs(repository, self._blobs_of(plan.paths).difference(plan.objects))
        self._apply_runs(plan.runs)
        self._write_tree()
        if request.diff and not is_one_commit_of(request.patch, request.diff):
            self._check_diff(request.diff)
        if not request.allow_workflow_changes and self._changes_workflows():
            raise workflow_changes()

    def _check_diff(self, diff: str) -> None:
        """Raise unless the diff makes the tree from the base commit, as the patch does.

        Not compared as text: versions of git write the same change in different ways.
        """
        self._local("read-tree", self._request.base_commit)
        try:
            self._apply_runs(plan_patch(diff.encode()).runs)
        except PushRefused as error:
            if error.code != errors.DOES_NOT_APPLY:
                raise
            raise errors.diff_mismatch() from error
        try:
            self._write_tree()
        except PushRefused as error:
            raise errors.diff_mismatch() from error

    def _write_tree(self) -> None:
        # git reuses the tree objects of unchanged folders, also those with outdated modes or empty
        # folders. A sandbox's clone writes them anew, so both forms are tried.
        for options in ((), ("--ignore-cache-tree",)):
            # Blobs of files that the patch does not change were not fetched.
            tree = self._local("write-tree", "--missing-ok", *options)
            if tree.decode().strip() == self._request.tree_hash:
                return
        raise errors.tree_mismatch()

    def _changes_workflows(self) -> bool:
        # Compare the trees: git may find more changes in a patch than our parser does.
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
            # Only the index is needed, and git converts no content there.
            names = [file.name for file in files]
            result = self._repository.run("apply", "--cached", "--whitespace=nowarn", *names)
            if not result.ok:
                raise errors.does_not_apply(result)

    def _store_commit(self) -> None:
        name = self._local("hash-object", "-t", "commit", "-w", "--stdin", stdin=self._object)
        if name.decode().strip() != self._commit:
            raise errors.tree_mismatch()

    def _send(self, heads: Heads) -> None:
        """Push the commit, unless someone has pushed to the branch since it was read."""
        expected = heads.get(self._reference, "")
        base_branch = f"refs/heads/{self._request.base_branch}"
        # git does not send objects that the remote's branches have. When no branch is at the base
        # commit any more, git must negotiate, or it would fetch and send every file.
        negotiate = heads.get(base_branch) != self._request.base_commit
        result = self._repository.run_remote(
            "-c",
            f"push.negotiate={'true' if negotiate else 'false'}",
            "-c",
            # Each thread would use memory of its own for deltas.
            "pack.threads=1",
            "push",
            "--porcelain",
            "--no-verify",
            f"--force-with-lease={self._reference}:{expected}",
            REMOTE,
            f"{self._commit}:{self._reference}",
        )
        # The answer may have been lost, or another request may have pushed the same commit.
        if not result.ok and (result.timed_out or not self._is_done(self._heads())):
            raise self._repository.failure(result)

    def _local(self, *arguments: str, stdin: bytes = b"") -> bytes:
        result = self._repository.run(*arguments, stdin=stdin)
        if not result.ok:
            raise self._repository.failure(result)
        return result.stdout
