"""Runs git for a push, in its own process group, with resource limits and a hidden token.

The token is passed through a pipe that git's processes inherit. A credential helper in git's
environment reads it from the pipe when git asks for the scheme, host and port of the repository.
The token is in no argument, environment variable, file or URL.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from utils.errors import AppError
from utils.git.credentials import credential_helper_output, credential_url
from utils.git.environment import git_environment
from utils.git.hosts import HostRules, Place, pinned, resolve
from utils.models.runs import KILLED, CommandResult
from utils.processes import exit_code
from utils.push import resource_limits as limits
from utils.push.errors import failure, queue_timed_out, unpacks_too_large, worked_too_long
from utils.push.pipes import communicate

REMOTE = "origin"

_HELPER = """!answer() {
    [ "$1" = get ] || return 0
    protocol='' host=''
    while IFS= read -r line && [ "$line" ]; do
        case $line in
        protocol=*) protocol=${line#*=} ;;
        host=*) host=${line#*=} ;;
        esac
    done
    [ "$protocol://$host" = "$CREDENTIAL_URL" ] || return 0
    { IFS= read -r user && IFS= read -r password; } <"/dev/fd/$CREDENTIAL_DESCRIPTOR"
    printf '%s\\n' "$user" "$password"
}; answer"""

# Several processes of one push may each ask once. All answers must fit into a pipe (16 KB).
_ANSWERS = 6
MAX_TOKEN_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Remote:
    """A remote repository.

    `environment` holds the variables of this process that git needs: PATH, proxies, certificates.
    """

    url: str
    token: str | None = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)


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
        with _credential_pipe(self._remote) as descriptor:
            variables = {"CREDENTIAL_DESCRIPTOR": str(descriptor)}
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
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self._environment, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=descriptors,
            start_new_session=True,
        )
        try:
            seconds = max(0.0, self._deadline - time.monotonic())
            stdout, stderr = communicate(process, stdin, seconds)
        except subprocess.TimeoutExpired:
            return CommandResult(KILLED, b"", b"", timed_out=True)
        finally:
            # Also after success: a process that outlives git would hold the token's pipe.
            _end_group(process)
        return CommandResult(exit_code(process.returncode), stdout, stderr)

    def _variables(self) -> dict[str, str]:
        url = self._remote.url
        bound_to = credential_url(url)
        configuration = {
            f"remote.{REMOTE}.url": url,
            f"remote.{REMOTE}.promisor": "true",
            # The empty value clears the list of helpers, so that ours is the only one.
            "credential.helper": "",
            f"credential.{bound_to}.helper": _HELPER,
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
            "CREDENTIAL_URL": bound_to,
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


@contextlib.contextmanager
def _credential_pipe(remote: Remote) -> Iterator[int]:
    """Yield a descriptor from which the helper can read the credentials several times."""
    reading, writing = os.pipe()
    try:
        try:
            answer = credential_helper_output(remote.url, remote.token).encode()
            os.write(writing, answer * _ANSWERS)
        finally:
            os.close(writing)
        yield reading
    finally:
        os.close(reading)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            # Unwritten input has no reader any more.
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


def _objects_in(pack: Path) -> int:
    with pack.open("rb") as file:
        return int.from_bytes(file.read(12)[8:], "big")
