"""Runs git commands of this server that speak to a repository host, with a hidden token.

The token is passed through a pipe that git's processes inherit. A credential helper in git's
environment reads it from the pipe when git asks for the scheme, host and port of the repository.
The token is in no argument, environment variable, file or URL.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from utils.git.credentials import credential_helper_output, credential_url
from utils.git.pipes import MAX_OUTPUT_BYTES, communicate
from utils.models.runs import KILLED, CommandResult
from utils.processes import exit_code

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

# Several processes of one command may each ask once. All answers must fit into a pipe.
_ANSWERS = 6
_PIPE_BYTES = 16_384
MAX_TOKEN_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Remote:
    """A remote repository.

    `environment` holds the variables of this process that git needs: PATH, proxies, certificates.
    """

    url: str
    token: str | None = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)


def credential_settings(url: str) -> dict[str, str]:
    """Return the git settings with which git asks for the token, and nobody else."""
    return {
        # The empty value clears the list of helpers, so that ours is the only one.
        "credential.helper": "",
        f"credential.{credential_url(url)}.helper": _HELPER,
    }


@contextlib.contextmanager
def offered_token(remote: Remote) -> Iterator[tuple[dict[str, str], int]]:
    """Yield the variables and the descriptor with which the helper reads the credentials."""
    reading, writing = os.pipe()
    try:
        try:
            answer = credential_helper_output(remote.url, remote.token).encode()
            fitting = _PIPE_BYTES // max(1, len(answer))
            os.write(writing, answer * min(_ANSWERS, fitting))
        finally:
            os.close(writing)
        variables = {
            "CREDENTIAL_URL": credential_url(remote.url),
            "CREDENTIAL_DESCRIPTOR": str(reading),
        }
        yield variables, reading
    finally:
        os.close(reading)


def run_git(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    timeout_seconds: float,
    stdin: bytes = b"",
    descriptors: Sequence[int] = (),
    most_output_bytes: int = MAX_OUTPUT_BYTES,
) -> CommandResult:
    """Run a command in a process group of its own, of which nothing is left afterwards."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=descriptors,
        start_new_session=True,
    )
    try:
        stdout, stderr = communicate(process, stdin, timeout_seconds, most_output_bytes)
    except subprocess.TimeoutExpired:
        return CommandResult(KILLED, b"", b"", timed_out=True)
    finally:
        # Also after success: a process that outlives git would hold the token's pipe.
        _end_group(process)
    return CommandResult(exit_code(process.returncode), stdout, stderr)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            # Unwritten input has no reader any more.
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()
