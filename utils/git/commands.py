"""Builds the arguments and the environment of git commands, and reads what git prints."""

from __future__ import annotations

import base64
import re
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from utils.errors import CloneError
from utils.models.runs import CommandResult

AUTHOR_NAME = "async-code"
AUTHOR_EMAIL = "agent@async-code.invalid"

NO_OBJECT = re.compile(r"^0+$")
SUBMODULE_MODE = "160000"
LINK_MODE = "120000"
SUBJECT_CHARACTERS = 72

_CONFIGURATION = {
    # Nothing that a repository or a user's own configuration names may be executed.
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    # The bytes of files stay as they are.
    "core.autocrlf": "false",
    "core.safecrlf": "false",
    "core.quotePath": "true",
    "i18n.logOutputEncoding": "UTF-8",
    # As many as there are cores; small checkouts use one anyway.
    "checkout.workers": "0",
    # A sandbox's repository is thrown away: neither housekeeping nor flushing to disk pays.
    "gc.auto": "0",
    "maintenance.auto": "false",
    "core.fsync": "none",
    "advice.detachedHead": "false",
    # The sandbox's user and the files' owner may differ inside a cloud sandbox.
    "safe.directory": "*",
}


BINARY_LINKS = {"diff.default.binary": "true", "diff.plain.binary": "auto"}
"""Makes git write as binary what no attribute can reach; see `binary_attributes`."""


def environment(
    protocol: str | None = None, *, configuration: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Return the environment of our own git commands.

    `protocol` is the only transport git may use (`https`, `http` or `file`); None forbids all.
    """
    settings = {**_CONFIGURATION, **configuration}
    variables = {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        # What a commit or a file is must not depend on what someone wants shown in its place.
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_ALLOW_PROTOCOL": "file" if protocol is None else f"{protocol}:file",
        "GIT_AUTHOR_NAME": AUTHOR_NAME,
        "GIT_AUTHOR_EMAIL": AUTHOR_EMAIL,
        "GIT_COMMITTER_NAME": AUTHOR_NAME,
        "GIT_COMMITTER_EMAIL": AUTHOR_EMAIL,
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for number, (key, value) in enumerate(settings.items()):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables


def agent_configuration() -> bytes:
    """Return the `~/.gitconfig` with which an agent can commit what hosts take."""
    return (
        f"[user]\n\tname = {AUTHOR_NAME}\n\temail = {AUTHOR_EMAIL}\n[core]\n\tprotectHFS = true\n"
        "[init]\n\tdefaultBranch = main\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n"
    ).encode()


def credential_url(repo_url: str) -> str:
    """Return the part of a URL that a token is bound to: scheme, host and port."""
    parts = urlsplit(repo_url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else "none://"


def credential_answer(repo_url: str, token: str | None) -> str:
    """Return what a git credential helper prints for a token; empty without one.

    The user names are those the hosts document for tokens; other hosts ignore the name.
    """
    if not token:
        return ""
    host = urlsplit(repo_url).hostname or ""
    if host == "bitbucket.org":
        user = "x-token-auth"
    elif host.startswith("gitlab."):
        user = "oauth2"
    else:
        user = "x-access-token"
    return f"username={user}\npassword={token}\n"


def authorization_header(repo_url: str, token: str) -> str:
    """Return the HTTP header value that says the same as `credential_answer`."""
    lines = credential_answer(repo_url, token).splitlines()
    user, password = (line.partition("=")[2] for line in lines)
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def commit_message(agent: str, prompt: str, task_id: int) -> bytes:
    """Return the message of the commit that holds an agent's uncommitted work."""
    words = " ".join("".join(c if c.isprintable() else " " for c in prompt).split())
    subject = f"{agent}: {words}"
    if len(subject) > SUBJECT_CHARACTERS:
        subject = subject[: SUBJECT_CHARACTERS - 3].rstrip() + "..."
    return f"{subject}\n\nTask: {task_id}\n".encode()


@dataclass(frozen=True, slots=True)
class ChangedPath:
    """One line of `git diff --raw --numstat`; counts are None for binary files."""

    path: bytes
    old_mode: str
    new_mode: str
    old_object: str
    new_object: str
    additions: int | None
    deletions: int | None

    @property
    def is_link(self) -> bool:
        """Whether it was or is a symbolic link."""
        return LINK_MODE in {self.old_mode, self.new_mode}


def parse_changes(output: bytes) -> list[ChangedPath]:
    """Read `git diff --raw --numstat --no-renames --no-abbrev`."""
    raw: dict[bytes, tuple[str, str, str, str]] = {}
    counts: dict[bytes, tuple[int | None, int | None]] = {}
    for line in output.split(b"\n"):
        if line.startswith(b":"):
            columns, path = line[1:].split(b"\t", 1)
            old_mode, new_mode, old, new, _status = columns.decode().split(" ")
            raw[unquoted(path)] = (old_mode, new_mode, old, new)
        elif line:
            added, deleted, path = line.split(b"\t", 2)
            counts[unquoted(path)] = (_count(added), _count(deleted))
    return [
        ChangedPath(path, *columns, *counts.get(path, (None, None)))
        for path, columns in raw.items()
    ]


def unquoted(path: bytes) -> bytes:
    """Return a path as it is, from how git prints it with core.quotePath: ASCII, C's escapes."""
    if not path.startswith(b'"'):
        return path
    return path[1:-1].decode("unicode_escape").encode("latin-1")


def _count(field: bytes) -> int | None:
    return None if field == b"-" else int(field)


def split_mail(mail: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the message, the changes and the diff of a mail with one commit of ours.

    Reads `git format-patch --raw --numstat`; a commit without changes gives an empty mail.
    """
    if not mail:
        return b"", b"", b""
    changes = mail.index(b"\n\n:") + 2
    diff = mail.index(b"\n\n", changes) + 2
    return mail[:changes], mail[changes:diff], mail[diff:]


def parse_objects(output: bytes) -> dict[str, bytes]:
    """Read `git cat-file --batch`: contents by object name."""
    return dict(_objects(output))


def _objects(output: bytes) -> Iterator[tuple[str, bytes]]:
    position = 0
    while position < len(output):
        end = output.index(b"\n", position)
        words = output[position:end].split(b" ")
        position = end + 1
        if len(words) == 3:  # noqa: PLR2004 - name, type, size; other lines say "missing"
            size = int(words[2])
            yield words[0].decode(), output[position : position + size]
            position += size + 1


def path_text(path: bytes) -> str:
    r"""Return a path as text; bytes that are not UTF-8 appear as `\xe9`."""
    return path.decode("utf-8", "backslashreplace").replace("\0", "\\0")


_PLAIN_BYTES = frozenset(string.ascii_letters.encode() + string.digits.encode() + b"/._-+*?[] ")


def binary_attributes(changes: Iterable[ChangedPath], *, links: bool) -> bytes:
    """Return gitattributes that make git treat exactly these files as binary.

    Attributes do not reach symbolic links. With `links` and `BINARY_LINKS` all of them are
    binary, by way of the default driver, and the other files get one that looks like git's own.
    """
    first = b"* diff=plain\n" if links else b""
    return first + b"".join(_attribute_line(change.path) for change in changes)


def _attribute_line(path: bytes) -> bytes:
    pattern = re.sub(rb"([*?\[\]\\])", rb"\\\1", path)
    quoted = b"".join(
        bytes([byte]) if byte in _PLAIN_BYTES else b"\\%03o" % byte for byte in b"/" + pattern
    )
    return b'"' + quoted + b'" -diff\n'


NO_ACCESS_WORDS = (
    r"could not read (Username|Password)|terminal prompts disabled|Authentication failed"
    r"|Access denied|returned error: 401|Invalid username or (password|token)"
    r"|[Pp]assword authentication was removed"
)
"""What git and hosts print when there is no token, or one that the host does not know."""

NO_PERMISSION_WORDS = (
    r"Write access to repository not granted|Permission .*denied to|returned error: 403"
    r"|insufficient permission(?! for adding)|not authorized"
)
"""What they print when whoever has the token may not do this."""

_CLONE_FAILURES: tuple[tuple[str, str, str], ...] = (
    (
        r"Remote branch .* not found|couldn't find remote ref|Could not find remote branch",
        "branch_not_found",
        "The branch {branch} does not exist in this repository, or the repository has no commits "
        "yet. Check the name, or push the branch first.",
    ),
    (
        f"{NO_ACCESS_WORDS}|{NO_PERMISSION_WORDS}",
        "clone_auth_failed",
        "The repository host refused access. Either the repository does not exist, or it needs a "
        "github_token that can read it (for GitHub: permission Contents, read).",
    ),
    (
        r"[Rr]epository .*not found|does not appear to be a git repository|not found: did you run"
        r"|returned error: 404|No such file or directory|does not exist|not a git repository",
        "repo_not_found",
        "The repository was not found. Check the URL; a private repository also looks like this "
        "to a github_token that may not see it.",
    ),
    (
        r"Could not resolve host|Failed to connect|Connection (refused|reset|timed out)"
        r"|unable to access|SSL|Network is unreachable|early EOF|remote end hung up"
        r"|returned error: 5",
        "repo_unreachable",
        "The repository host could not be reached. Check the URL and the network, then start the "
        "task again.",
    ),
    (
        r"dubious ownership",
        "repo_not_readable",
        "The local repository belongs to another user of this machine. Run the server as its "
        "owner, or give it to the user the server runs as (chown).",
    ),
    (
        r"No space left on device",
        "disk_full",
        "The disk of the sandbox is full. Free some space and start the task again.",
    ),
)


def clone_error(result: CommandResult, branch: str) -> CloneError:
    """Translate what a failed clone printed into an error with a code and a remedy."""
    text = result.stderr.decode("utf-8", "replace")
    for pattern, code, message in _CLONE_FAILURES:
        if re.search(pattern, text):
            return CloneError(message.format(branch=branch), code)
    last = [line for line in text.splitlines() if line.strip()][-1:] or ["no message"]
    return CloneError(f"git could not clone the repository: {last[0].strip()}", "clone_failed")
