"""Builds the environment of our own git commands, and the author and message of our commits."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

AUTHOR_NAME = "async-code"
AUTHOR_EMAIL = "agent@async-code.invalid"
SUBJECT_CHARACTERS = 72

_CONFIGURATION = {
    # Run no program that a repository or a user's own configuration names.
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    # A redirect may lead to another host, which has to be checked first.
    "http.followRedirects": "false",
    # Keep the bytes of files.
    "core.autocrlf": "false",
    "core.safecrlf": "false",
    "core.quotePath": "true",
    "i18n.logOutputEncoding": "UTF-8",
    # One worker per core; git uses a single one for small checkouts.
    "checkout.workers": "0",
    # A sandbox's repository is temporary, so maintenance and fsync are wasted time.
    "gc.auto": "0",
    "maintenance.auto": "false",
    "core.fsync": "none",
    "advice.detachedHead": "false",
    # The sandbox's user and the files' owner may differ inside a cloud sandbox.
    "safe.directory": "*",
}


def git_environment(
    protocol: str | None = None, *, configuration: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Return the environment variables of our own git commands.

    `protocol` is the remote transport that git may use (`https`, `http`); None allows local files
    only. `configuration` adds to our settings or replaces them.
    """
    settings = {**_CONFIGURATION, **configuration}
    variables = {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        # Replacement refs (git replace) must not change what a commit or a file contains.
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
    """Return the `~/.gitconfig` of agents; its checks reject file names that hosts would refuse."""
    return (
        f"[user]\n\tname = {AUTHOR_NAME}\n\temail = {AUTHOR_EMAIL}\n[core]\n\tprotectHFS = true\n"
        "[init]\n\tdefaultBranch = main\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n"
    ).encode()


def commit_message(agent: str, prompt: str, task_id: int) -> bytes:
    """Return the message of the commit for changes that the agent left uncommitted."""
    words = " ".join("".join(c if c.isprintable() else " " for c in prompt).split())
    subject = f"{agent}: {words}"
    if len(subject) > SUBJECT_CHARACTERS:
        subject = subject[: SUBJECT_CHARACTERS - 3].rstrip() + "..."
    return f"{subject}\n\nTask: {task_id}\n".encode()
