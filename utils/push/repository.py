"""Runs git for a push, in its own process group, with resource limits and a hidden token."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from utils.errors import AppError
from utils.git.environment import git_environment
from utils.git.host_commands import Remote, credential_settings, offered_token, run_git
from utils.git.hosts import HostRules, Place, pinned, resolve
from utils.models.runs import CommandResult
from utils.push import resource_limits as limits
from utils.push.errors import failure, queue_timed_out, unpacks_too_large, worked_too_long

REMOTE = "origin"


class PushRepository:
    """A bare repository for one push, with one remote. All its commands share one deadline."""

    def __init__(
        self,
        folder: Path,
        remote: Remote,
        object_format: str,
        deadline: float,
        resources: limits.ResourceLimits,
        redact: Callable[[str], str],
    ) -> None:
        self.folder = folder
        self._object_format = object_format
        self._remote = remote
        self._deadline = deadline
        self._budget = limits.ResourceBudget(resources, folder.with_name("times"))
        self._redact = redact
        self._environment = self._variables()
        self.empty()

    def empty(self) -> None:
        """Create the repository; remove the old one if there is one."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("objects/pack", "refs/heads"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "HEAD").write_text("ref: refs/heads/none\n")
        (self.folder / "config").write_text(
            "[core]\n\trepositoryformatversion = 1\n\tbare = true\n"
            f"[extensions]\n\tpartialClone = {REMOTE}\n"
            f"\tobjectFormat = {self._object_format}\n"
        )

    def run(self, *arguments: str, stdin: bytes = b"") -> CommandResult:
        """Run a local git command within the resource limits of the push.

        Raises `PushRefused` (`file_too_large`) when the limits are exceeded, and `Unavailable`
        when the deadline passes before the command starts (`github_busy`) or ends (`git_timeout`).
        """
        # git must not fetch missing objects on demand, one after the other.
        variables = {"GIT_ALLOW_PROTOCOL": "none"}
        command = self._budget.limit(["git", *arguments])
        with limits.process_slot(self._deadline) as is_free:
            if not is_free:
                raise queue_timed_out()
            result = self._run(command, stdin, variables, ())
        if result.timed_out:
            raise worked_too_long()
        lacking = self._budget.record(result)
        if lacking:
            raise unpacks_too_large(lacking)
        return result

    def run_remote(self, *arguments: str, stdin: bytes = b"") -> CommandResult:
        """Run a git command that may use the network and the token."""
        with offered_token(self._remote) as (variables, descriptor):
            return self._run(["git", *arguments], stdin, variables, (descriptor,))

    def failure(self, result: CommandResult) -> AppError:
        """Return the error for a failed command, with the token redacted."""
        url, token = self._remote.url, self._remote.token
        return failure(result, url=url, has_token=bool(token), redact=self._redact)

    @property
    def objects_received(self) -> int:
        """The number of objects received from the remote."""
        packs = (self.folder / "objects" / "pack").glob("*.pack")
        return sum(_objects_in(pack) for pack in packs)

    def _run(
        self,
        command: Sequence[str],
        stdin: bytes,
        variables: Mapping[str, str],
        descriptors: Sequence[int],
    ) -> CommandResult:
        return run_git(
            command,
            folder=self.folder,
            environment={**self._environment, **variables},
            timeout_seconds=max(0.0, self._deadline - time.monotonic()),
            stdin=stdin,
            descriptors=descriptors,
        )

    def _variables(self) -> dict[str, str]:
        url = self._remote.url
        configuration = {
            f"remote.{REMOTE}.url": url,
            f"remote.{REMOTE}.promisor": "true",
            **credential_settings(url),
            # Keep each fetch as one pack, which is fast to write and to count.
            "fetch.unpackLimit": "1",
            "submodule.recurse": "false",
            **limits.CONFIGURATION,
            **_pins(url),
        }
        return {
            **self._remote.environment,
            **git_environment(urlsplit(url).scheme or None, configuration=configuration),
            **limits.ENVIRONMENT,
            # Ignore the .netrc and the configuration of the server's user.
            "HOME": str(self.folder),
            "GIT_DIR": str(self.folder),
        }


def _pins(url: str) -> dict[str, str]:
    """Return the setting that binds git to the checked addresses of the host.

    Raises `RepositoryNotAllowed` when they are addresses of this machine.
    """
    place = Place.of(url)
    if place is None:
        return {}
    try:
        addresses = resolve(place)
    except OSError:  # a proxy may resolve the name; otherwise git tells that it cannot
        return {}
    HostRules((place.authority,), allow_local=False).check_addresses(place, addresses)
    return pinned(place, addresses)


def _objects_in(pack: Path) -> int:
    with pack.open("rb") as file:
        return int.from_bytes(file.read(12)[8:], "big")
