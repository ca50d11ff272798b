"""Lists the branches of a repository by asking its host, as a clone would.

The host may be anybody's, so its answer is limited in time, bytes and the memory of git.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from utils.error_rules import ErrorTemplate, Rule, first_match
from utils.errors import AppError, Conflict, Forbidden, InvalidInput, NotFound, Unavailable
from utils.git.branch_names import broken_branch_rule
from utils.git.environment import git_environment
from utils.git.failures import (
    CREDENTIALS_REFUSED,
    FOREIGN_OWNER,
    PERMISSION_MISSING,
    REPOSITORY_MISSING,
)
from utils.git.host_commands import Remote, credential_settings, offered_token, run_git
from utils.git.hosts import HostRules, Place, pinned, resolve
from utils.git.output import tail
from utils.models.runs import CommandResult

MAX_BRANCHES = 1_000
TIMEOUT_SECONDS = 10.0

_MAX_OUTPUT_BYTES = 2**20
_MAX_MEMORY_BYTES = 512 * 2**20
"""Address space of git, which keeps all that a host lists in memory before it prints it."""

_LIMITED = 'ulimit -v "$1" 2>/dev/null; ulimit -c 0 2>/dev/null; shift; exec "$@"'
_HEADS = "refs/heads/"

_RefusalRule = Rule[CommandResult, ErrorTemplate[AppError]]

_NO_ACCESS = f"{CREDENTIALS_REFUSED}|{PERMISSION_MISSING}"
_TOKEN_NEEDED: _RefusalRule = Rule(
    ErrorTemplate(
        InvalidInput,
        "github_token_needed",
        "The repository host asks for a token. Send one that can read the repository.",
    ),
    pattern=_NO_ACCESS,
)
_TOKEN_REFUSED: _RefusalRule = Rule(
    ErrorTemplate(
        Forbidden,
        "github_token_refused",
        "The repository host does not accept this token for the repository.",
    ),
    pattern=_NO_ACCESS,
)
_REFUSALS: tuple[_RefusalRule, ...] = (
    Rule(
        ErrorTemplate(
            Conflict,
            "repository_moved",
            "The repository has moved. Use its new address.",
        ),
        pattern=r"returned error: 30\d|unable to update url base from redirection",
    ),
    Rule(
        ErrorTemplate(
            NotFound,
            "repository_not_found",
            "The repository was not found. Check the address. If it is private, check that the "
            "token can read it.",
        ),
        pattern=f"{REPOSITORY_MISSING}|{FOREIGN_OWNER}",
    ),
)


@dataclass(frozen=True, slots=True)
class RemoteBranches:
    """The names of branches, the default one first; it is None where HEAD names no branch."""

    names: list[str]
    default: str | None


def list_branches(remote: Remote, rules: HostRules, *, behind_proxy: bool) -> RemoteBranches:
    """Return the branches of a repository, at most `MAX_BRANCHES`. Blocks.

    `remote.url` is canonical. With `behind_proxy` a proxy may resolve its host. Raises
    `RepositoryNotAllowed` when the host leads to an address that is not allowed, `InvalidInput`
    (`github_token_needed`), `Forbidden` (`github_token_refused`), `NotFound`
    (`repository_not_found`), `Conflict` (`repository_moved`) and `Unavailable`
    (`repo_unreachable`).
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    place = Place.of(remote.url)
    pins = _pins(place, rules, behind_proxy=behind_proxy) if place else {}
    settings = {**credential_settings(remote.url), **pins}
    with (
        tempfile.TemporaryDirectory(prefix="branches-") as folder,
        offered_token(remote) as (variables, descriptor),
    ):
        environment = {
            **remote.environment,
            **git_environment(place.scheme if place else None, configuration=settings),
            **variables,
            # Ignore the .netrc of the server's user, and any repository around the folder.
            "HOME": folder,
            "GIT_CEILING_DIRECTORIES": str(Path(folder).parent),
        }
        result = run_git(
            _command(remote.url),
            folder=Path(folder),
            environment=environment,
            timeout_seconds=max(0.0, deadline - time.monotonic()),
            descriptors=(descriptor,),
            most_output_bytes=_MAX_OUTPUT_BYTES,
        )
    if not result.ok:
        raise _failure(result, has_token=bool(remote.token))
    return _read(result)


def _command(url: str) -> list[str]:
    limits = ("sh", "-c", _LIMITED, "sh", str(_MAX_MEMORY_BYTES // 1024))
    listing = ("git", "ls-remote", "--quiet", "--symref", "--")
    return [*limits, *listing, url.removeprefix("file://"), "HEAD", f"{_HEADS}*"]


def _pins(place: Place, rules: HostRules, *, behind_proxy: bool) -> dict[str, str]:
    rules.check_name(place)
    try:
        addresses = resolve(place)
    except OSError as error:
        if behind_proxy:
            return {}
        # Another answer to git itself would not have been checked.
        raise _unreachable() from error
    rules.check_addresses(place, addresses)
    return pinned(place, addresses)


def _read(result: CommandResult) -> RemoteBranches:
    default = None
    names: list[str] = []
    # The last line may be cut.
    for line in result.stdout.decode("utf-8", "replace").split("\n")[:-1]:
        value, _, reference = line.partition("\t")
        name = reference.removeprefix(_HEADS)
        if reference == "HEAD" and value.startswith(f"ref: {_HEADS}"):
            default = value.removeprefix(f"ref: {_HEADS}")
        elif name != reference and name.isprintable() and broken_branch_rule(name) is None:
            names.append(name)
    if default not in names:
        return RemoteBranches(names[:MAX_BRANCHES], None)
    others = (name for name in names if name != default)
    return RemoteBranches([default, *others][:MAX_BRANCHES], default)


def _failure(result: CommandResult, *, has_token: bool) -> AppError:
    access = _TOKEN_REFUSED if has_token else _TOKEN_NEEDED
    text = "" if result.timed_out else tail(result.stderr)
    template = first_match((access, *_REFUSALS), result, text=text)
    return template.fill() if template else _unreachable()


def _unreachable() -> Unavailable:
    return Unavailable(
        "The repository host could not be reached, or did not answer as a git server. Check the "
        "address.",
        "repo_unreachable",
    )
