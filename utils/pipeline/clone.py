"""Clones the repository of a job: checks where it leads, follows redirects, tries once more.

git itself follows no redirect. A redirect that the rules of the server allow is cloned from
instead; a token goes to the host that it was sent for only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urljoin

import anyio
from anyio import to_thread

from utils.errors import CloneError, RepositoryNotAllowed
from utils.git.credentials import credential_helper_output, credential_url
from utils.git.environment import git_environment
from utils.git.failures import clone_error
from utils.git.hosts import Address, HostRules, Place, Reach, pinned, reach_of, resolve
from utils.git.output import last_line
from utils.git.repository_url import parse_repository_url
from utils.models.runs import CommandResult, EarlierTurns, Job
from utils.pipeline.script_text import script_command
from utils.sandboxes.protocol import Mirror, Sandbox

# Read now, because a file is not read on the event loop.
_CLONE = script_command("clone.sh")
_REBUILD = script_command("rebuild.sh")
_REMOTE_HEAD = script_command("remote_head.sh")

MIRROR_OUTDATED = "mirror outdated"
NO_BRANCH = b"no branch\n"
BRANCH = "branch "
"""Before the name of the branch that was cloned, when none was asked for."""
MAX_REDIRECTS = 3

_ADVERTISEMENT = "/info/refs?service=git-upload-pack"
_READ_BYTES = 4_000
_BROKEN_TRANSFER = (
    b"early EOF",
    b"hung up unexpectedly",
    b"unexpected disconnect",
    b"Connection reset",
    b"Connection timed out",
    b"RPC failed",
    b"Recv failure",
    b"SSL_read",
    b"GnuTLS recv error",
    b"transfer closed",
    b"invalid index-pack output",
    b"returned error: 50",
)
_ANSWERED = b"returned error: 4"


@dataclass(frozen=True, slots=True)
class CloneLimits:
    """Limits of a clone, and what it may reach.

    `environment` holds variables that only git receives. `resolves_here` is true when git uses the
    network and the name servers of this machine, `behind_proxy` when a proxy may resolve names.
    """

    seconds: float
    depth: int
    environment: Mapping[str, str]
    rules: HostRules
    resolves_here: bool
    behind_proxy: bool


@dataclass(frozen=True, slots=True)
class Clone:
    """A finished clone: the commit that the task starts from, and its branch.

    `commit` and `tree` are those of its files, which may hold the changes of earlier turns.
    """

    base_commit: str
    branch: str
    commit: str
    tree: str


@dataclass(frozen=True, slots=True)
class _Source:
    url: str
    token: str | None = field(repr=False)


class _RedirectedError(Exception):
    """The host redirects to another address."""


async def clone_repository(sandbox: Sandbox, job: Job, limits: CloneLimits) -> Clone:
    """Clone a branch of the repository, or the branch of its HEAD. Raises `CloneError`.

    For a later turn the clone goes back to the base commit and gets the changes of earlier turns.
    """
    run = _CloneRun(sandbox, job, limits)
    for _ in range(MAX_REDIRECTS):
        try:
            clone = await run.clone()
            return await run.rebuild(clone, job.earlier) if job.earlier else clone
        except _RedirectedError:
            await run.follow_redirect()
    raise CloneError(
        "The repository host redirects again and again. Send the address that the repository has "
        "now.",
        "repo_unreachable",
    )


class _CloneRun:
    """The state of one clone. All its commands share one deadline."""

    def __init__(self, sandbox: Sandbox, job: Job, limits: CloneLimits) -> None:
        self._sandbox = sandbox
        self._paths = sandbox.paths.within(job.folder)
        self._limits = limits
        self._source = _Source(job.repo_url, job.git_token)
        self._branch = job.branch
        self._deadline = time.monotonic() + limits.seconds

    async def clone(self) -> Clone:
        """Clone from the present source. Raises `_RedirectedError`."""
        environment = await self._environment()
        # The clone of the default branch tells its name; a mirror is found by it.
        if not self._branch and self._sandbox.may_have_mirror(self._source.url):
            self._branch = await self._default_branch(environment)
        async with self._sandbox.mirror(self._source.url, self._branch) as mirror:
            result = await self._transfer(mirror, environment)
            if result.stdout == NO_BRANCH:
                raise _no_branch()
            lines = result.stdout.decode("utf-8", "replace").split("\n")
            *notes, base_commit, tree = lines[:-1]
            for note in notes:
                if note.startswith(BRANCH):
                    self._branch = note.removeprefix(BRANCH)
            await mirror.record_clone(
                repository=self._paths.repository,
                base_commit=base_commit,
                outdated=MIRROR_OUTDATED in notes,
            )
        return Clone(base_commit, self._branch, base_commit, tree)

    async def rebuild(self, clone: Clone, earlier: EarlierTurns) -> Clone:
        """Return a clone with the changes of earlier turns. Raises `_RedirectedError`."""
        base_commit, paths = earlier.base_commit, self._paths
        patch_file, url = f"{paths.work}/earlier.patch", self._source.url
        if earlier.patch:
            await self._sandbox.write_files({patch_file: earlier.patch.encode()})
        arguments = [*_REBUILD, paths.repository, base_commit, patch_file]
        arguments += [url.removeprefix("file://"), str(self._limits.depth), credential_url(url)]
        result = await self._run(arguments, await self._environment())
        if _is_redirect(result):
            raise _RedirectedError
        if not result.ok:
            raise _not_rebuilt(last_line(result.stderr))
        commit, tree = result.stdout.decode().split()
        if tree != earlier.tree:
            raise _not_rebuilt("the stored patch does not hold all of them")
        return Clone(base_commit, clone.branch, commit, tree)

    async def follow_redirect(self) -> None:
        """Go on at the address that the host redirects to. Raises `CloneError`."""
        result = await self._read_head(await self._environment())
        lines = result.stdout.decode("utf-8", "replace").splitlines()
        locations = [line.removeprefix("location ") for line in lines if line[:9] == "location "]
        here = self._source.url + _ADVERTISEMENT
        target = urljoin(here, locations[-1].strip()) if locations else ""
        if not target.endswith(_ADVERTISEMENT):
            raise CloneError(
                "The repository host redirects to a page that is no repository. Check the URL; "
                "if the repository is private, send a github_token.",
                "repo_not_found",
            )
        rules = self._limits.rules
        try:
            repository = parse_repository_url(
                target.removesuffix(_ADVERTISEMENT),
                allowed_hosts=rules.allowed,
                allow_local=rules.allow_local,
            )
        except RepositoryNotAllowed as error:
            raise CloneError(
                "The repository host redirects to an address that this server does not clone "
                f"from. {error.message}",
                error.code,
            ) from error
        if repository.is_local:
            raise CloneError("The repository host redirects to a file.", "repository_not_allowed")
        is_same_place = Place.of(repository.url) == Place.of(self._source.url)
        token = self._source.token if is_same_place else None
        self._source = replace(self._source, url=repository.url, token=token)

    async def _transfer(self, mirror: Mirror, environment: Mapping[str, str]) -> CommandResult:
        result = await self._run(self._clone_arguments(mirror), environment)
        if _is_broken_transfer(result):
            result = await self._run(self._clone_arguments(mirror), environment)
        if result.ok:
            return result
        if _is_redirect(result):
            raise _RedirectedError
        if b"git: not found" in result.stderr[-_READ_BYTES:]:
            raise CloneError(
                "git was not found where the task runs. Install git 2.30 or newer there, and check "
                "PATH.",
                "clone_failed",
            )
        error = clone_error(result, self._branch or "HEAD")
        if error.code == "branch_not_found" and self._branch:
            default = _head_branch(await self._read_head(environment))
            if default and default != self._branch:
                error = CloneError(
                    f"{error.message} The default branch is {default}.", "branch_not_found"
                )
        raise error

    async def _default_branch(self, environment: Mapping[str, str]) -> str:
        result = await self._read_head(environment)
        if _is_broken_transfer(result):
            result = await self._read_head(environment)
        if _is_redirect(result):
            raise _RedirectedError
        if not result.ok:
            raise clone_error(result, "HEAD")
        branch = _head_branch(result)
        if branch is None:
            raise _no_branch()
        return branch

    async def _read_head(self, environment: Mapping[str, str]) -> CommandResult:
        work = self._paths.work
        arguments = [
            *_REMOTE_HEAD,
            self._source.url.removeprefix("file://"),
            f"{work}/head.trace",
            credential_url(self._source.url),
        ]
        return await self._run(arguments, environment)

    async def _run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> CommandResult:
        seconds = self._deadline - time.monotonic()
        if seconds > 0:
            result = await self._sandbox.run_repeatable(
                arguments,
                timeout_seconds=seconds,
                environment=environment,
                stdin=credential_helper_output(self._source.url, self._source.token),
                source=self._local_path,
            )
            if not result.timed_out:
                return result
        raise CloneError(
            "The clone took longer than CLONE_TIMEOUT_SECONDS. Raise it, or set CLONE_DEPTH=1 "
            "to leave out the history.",
            "clone_timeout",
        )

    @property
    def _local_path(self) -> str:
        """The path of a repository on this machine's disk, empty for any other."""
        url = self._source.url
        return "" if Place.of(url) else url.removeprefix("file://")

    async def _environment(self) -> dict[str, str]:
        """Return the variables of git, after a check of where the source leads."""
        place = Place.of(self._source.url)
        pins = await self._pins(place) if place else {}
        protocol = place.scheme if place else None
        return {**self._limits.environment, **git_environment(protocol, configuration=pins)}

    async def _pins(self, place: Place) -> dict[str, str]:
        limits = self._limits
        try:
            limits.rules.check_name(place)
            addresses = await self._resolve(place)
            limits.rules.check_addresses(place, addresses)
        except RepositoryNotAllowed as error:
            raise CloneError(error.message, error.code) from error
        # In another network a name of a private network may have other addresses.
        is_same_everywhere = all(reach_of(address) is Reach.PUBLIC for address in addresses)
        return pinned(place, addresses) if limits.resolves_here or is_same_everywhere else {}

    async def _resolve(self, place: Place) -> Sequence[Address]:
        try:
            with anyio.fail_after(self._limits.seconds):
                return await to_thread.run_sync(resolve, place, abandon_on_cancel=True)
        except (OSError, TimeoutError) as error:
            if self._limits.behind_proxy or not self._limits.resolves_here:
                return ()
            raise CloneError(
                "The name of the repository host could not be resolved. Check the URL and the "
                "network, then start the task again.",
                "repo_unreachable",
            ) from error

    def _clone_arguments(self, mirror: Mirror) -> list[str]:
        url, paths, depth = self._source.url, self._paths, self._limits.depth
        return [
            *_CLONE,
            # With a plain path git copies the files of a local repository, several times faster
            # than with file://. With a depth the path must not be plain: git would ignore the
            # depth and use hard links.
            url if depth else url.removeprefix("file://"),
            self._branch,
            paths.repository,
            f"{paths.work}/git_config",
            str(depth),
            mirror.path,
            credential_url(url),
        ]


def _no_branch() -> CloneError:
    return CloneError(
        "The repository has no commits yet, or its HEAD names no branch. Push a commit, or send "
        "the name of a branch.",
        "branch_not_found",
    )


def _head_branch(result: CommandResult) -> str | None:
    """Return the branch that HEAD names, from the output of `git ls-remote --symref`."""
    for line in result.stdout.decode("utf-8", "replace").splitlines():
        reference, _, name = line.partition("\t")
        if name == "HEAD" and reference.startswith("ref: refs/heads/"):
            return reference.removeprefix("ref: refs/heads/")
    return None


def _is_broken_transfer(result: CommandResult) -> bool:
    end = result.stderr[-_READ_BYTES:]
    return (
        not result.ok and _ANSWERED not in end and any(words in end for words in _BROKEN_TRANSFER)
    )


def _not_rebuilt(reason: str) -> CloneError:
    return CloneError(
        "The sandbox of the earlier turns is gone, and their changes could not be made again: "
        f"{reason}. Start a new task.",
        "workspace_gone",
    )


def _is_redirect(result: CommandResult) -> bool:
    return not result.ok and b"returned error: 30" in result.stderr[-_READ_BYTES:]
