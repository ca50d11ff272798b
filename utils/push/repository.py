"""Runs git for a push: in a process group of its own, with a limit, and with a token nobody sees.

The token goes through a pipe that git's processes inherit. A credential helper, written into git's
environment, reads it from there when git asks for exactly the scheme, host and port of the
repository. It is in no argument, environment, file or URL.
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
from utils.models.runs import KILLED, CommandResult
from utils.processes import exit_code
from utils.push import resource_limits as memory
from utils.push.errors import failure, no_turn, unpacks_too_large, worked_too_long

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

# A push that negotiates has several processes that each ask; a pipe holds at least 16 KB.
_ANSWERS = 6
MAX_TOKEN_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository elsewhere.

    `environment` holds what git needs of this process's own: PATH, proxies, certificates.
    """

    url: str
    token: str | None = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)


class PushRepository:
    """A bare repository for one push, with one remote. Everything in it ends at one moment."""

    def __init__(
        self,
        folder: Path,
        remote: Remote,
        object_format: str,
        deadline: float,
        bounds: memory.ResourceLimits,
        redact: Callable[[str], str],
    ) -> None:
        self.folder = folder
        self._object_format = object_format
        self._remote = remote
        self._deadline = deadline
        self._allowance = memory.ResourceBudget(bounds, folder.with_name("times"))
        self._redact = redact
        self._environment = self._variables()
        self.empty()

    def empty(self) -> None:
        """Make the repository, also in the place of what it was."""
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
        """Run a git command that stays on this machine, within bounds.

        Raises `PushRefused` (`file_too_large`) when it needs more than those before it left, and
        `Unavailable` when the time is over before it could begin (`github_busy`) or end
        (`git_timeout`).
        """
        # An object that should be here is not to be fetched by the way, one after the other.
        variables = {"GIT_ALLOW_PROTOCOL": "none"}
        command = self._allowance.limited(["git", *arguments])
        with memory.place(self._deadline) as is_taken:
            if not is_taken:
                raise no_turn()
            result = self._run(command, stdin, variables, ())
        if result.timed_out:
            raise worked_too_long()
        lacking = self._allowance.exceeded(result)
        if lacking:
            raise unpacks_too_large(lacking)
        return result

    def run_remote(self, *arguments: str, stdin: bytes = b"") -> CommandResult:
        """Run a git command that may ask for the token."""
        with _credential_pipe(self._remote) as descriptor:
            variables = {"CREDENTIAL_DESCRIPTOR": str(descriptor)}
            return self._run(["git", *arguments], stdin, variables, (descriptor,))

    def failure(self, result: CommandResult) -> AppError:
        """Return the error for a command that failed, without the token."""
        url, token = self._remote.url, self._remote.token
        return failure(result, url=url, has_token=bool(token), redact=self._redact)

    @property
    def objects_received(self) -> int:
        """The number of objects fetched from the remote so far."""
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
            stdout, stderr = process.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired:
            return CommandResult(KILLED, b"", b"", timed_out=True)
        finally:
            # Also after a good end: what outlives git would keep the token's pipe.
            _end_group(process)
        return CommandResult(exit_code(process.returncode), stdout, stderr)

    def _variables(self) -> dict[str, str]:
        url = self._remote.url
        bound_to = credential_url(url)
        configuration = {
            f"remote.{REMOTE}.url": url,
            f"remote.{REMOTE}.promisor": "true",
            # A repository that moved may have moved to another host.
            "http.followRedirects": "false",
            # Empties the list of helpers, so that ours is the only one.
            "credential.helper": "",
            f"credential.{bound_to}.helper": _HELPER,
            # Each fetch stays one pack, which is quick to write and to count.
            "fetch.unpackLimit": "1",
            "submodule.recurse": "false",
            **memory.CONFIGURATION,
        }
        return {
            **self._remote.environment,
            **git_environment(urlsplit(url).scheme or None, configuration=configuration),
            **memory.ENVIRONMENT,
            # Nobody's .netrc and configuration.
            "HOME": str(self.folder),
            "GIT_DIR": str(self.folder),
            "CREDENTIAL_URL": bound_to,
        }


@contextlib.contextmanager
def _credential_pipe(remote: Remote) -> Iterator[int]:
    """Yield a descriptor from which the helper can read the answer, each time it is asked."""
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
            # What is still to be written has nobody to read it.
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


def _objects_in(pack: Path) -> int:
    with pack.open("rb") as file:
        return int.from_bytes(file.read(12)[8:], "big")
