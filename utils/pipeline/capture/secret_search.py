"""Searches the changes of an agent for secrets, before they are stored.

A live secret is one that this server knows: the keys of the run, its git token, and the keys of the
server. Other keys are recognized by their form, which may be wrong, so they only give a warning.
Only what the agent added counts: what it left or removed is in the repository already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from utils.git.added_text import added_text
from utils.git.output import NO_OBJECT, decode_path
from utils.models.runs import Changes, ChangeTexts, FileChange, Outcome, RepositoryOutcome
from utils.pipeline.capture.bundle import Raw

FILES_FIELD = "secret_files"
"""Field of `execution_metadata` that names the files with live secrets."""

MESSAGES = "the agent's commit messages or an earlier commit"
"""Named in place of a file when a secret is in the patch, but in no file of the result."""

NAMED_FILES = 20
"""Longest list of names that is stored."""

NAME_CHARACTERS = 200


def _key(beginning: str, rest: str) -> re.Pattern[str]:
    """Return the form of a key at whose beginning a word begins.

    A search for a fixed beginning takes a twentieth of the time of one for the edge of a word, so
    the edge is checked behind it.
    """
    return re.compile(rf"{beginning}(?<!\w{beginning}){rest}")


_KEY_FORMS = {
    "a GitHub token": (
        _key("gh", r"[oprsu]_[A-Za-z0-9]{36,255}"),
        _key("github_pat_", r"[A-Za-z0-9_]{22,255}"),
    ),
    "a GitLab token": (_key("glpat-", r"[A-Za-z0-9_-]{20,255}"),),
    "an AWS key": (_key("AKIA", r"[A-Z0-9]{16}\b"), _key("ASIA", r"[A-Z0-9]{16}\b")),
    "a Slack token": (
        _key("xox", r"[abeoprs]-[A-Za-z0-9-]{10,255}"),
        re.compile(r"hooks\.slack\.com/services/[A-Z0-9]{1,20}/[A-Z0-9]{1,20}/[A-Za-z0-9]{20,30}"),
    ),
    "a private key": (re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY-----"),),
    "a Google API key": (_key("AIza", r"[A-Za-z0-9_-]{35}"),),
    "an Anthropic key": (_key("sk-ant-", r"[A-Za-z0-9_-]{20,255}"),),
    "an OpenAI key": (_key("sk-", r"(?:proj-|svcacct-)?[A-Za-z0-9_-]{40,255}"),),
    "a Stripe key": (
        _key("rk_live_", r"[A-Za-z0-9]{20,255}"),
        _key("sk_live_", r"[A-Za-z0-9]{20,255}"),
    ),
    "an API key of this server": (_key("ac_", r"[0-9A-Fa-f]{20,255}"),),
    "an npm token": (_key("npm_", r"[A-Za-z0-9]{36}\b"),),
}
"""Keys that are common and easy to recognize, by kind."""

HasSecret = Callable[[str], bool]
"""Tells whether a text has a live secret, in any form; see `utils.redaction`."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The files with live secrets, and a note for each file with what looks like a key."""

    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def search_changes(raw: Raw, has_secret: HasSecret) -> Findings:
    """Search names, contents, diff and patch of a capture."""
    files: dict[str, None] = {}
    warnings: dict[str, None] = {}
    for name, text in _added_texts(raw):
        if has_secret(name) or has_secret(text):
            files[name] = None
        else:
            warnings |= dict.fromkeys(_warnings(name, text))
    # Kept as texts of their own, also when the result has nothing of them.
    if not files and any(has_secret(text) for text in _added_in_patch(raw)):
        files[MESSAGES] = None
    return Findings(tuple(files)[:NAMED_FILES], tuple(warnings)[:NAMED_FILES])


def secret_files_in(diff: str, has_secret: HasSecret) -> list[str]:
    """Return the names of the files to which a diff adds a live secret."""
    return [name for name, text in added_text(diff) if has_secret(name) or has_secret(text)]


def without_secrets(outcome: Outcome, redact: Callable[[str], str]) -> Outcome:
    """Return the outcome with live secrets replaced in all texts of its changes."""
    changes, own = outcome.changes, outcome.own
    clean = _redacted(changes, redact) if changes and changes.secret_files else changes
    # The diff of a turn also shows a secret that it removes from what an earlier one wrote.
    own = clean if own is changes else own and _redacted(own, redact)
    further = (_repository_without_secrets(one, redact) for one in outcome.further)
    return replace(outcome, changes=clean, own=own, further=tuple(further))


def _repository_without_secrets(
    one: RepositoryOutcome, redact: Callable[[str], str]
) -> RepositoryOutcome:
    changes = one.changes
    clean = _redacted(changes, redact) if changes and changes.secret_files else changes
    own = clean if one.own is changes else one.own and _redacted(one.own, redact)
    return replace(one, changes=clean, own=own)


def _redacted(changes: Changes, redact: Callable[[str], str]) -> Changes:
    diff, patch = changes.diff, changes.patch
    return replace(
        changes,
        texts=ChangeTexts.of(diff and redact(diff), patch and redact(patch)),
        changed_files=tuple(map(redact, changes.changed_files)),
        file_changes=tuple(_without_secrets(change, redact) for change in changes.file_changes),
        notes=tuple(map(redact, changes.notes)),
        secret_files=tuple(map(redact, changes.secret_files)),
    )


def notes_of(found: Findings) -> Iterator[str]:
    """Yield the notes of the task about what was found."""
    if found.files:
        yield (
            f"The changes contain a secret that this server knows, in {listed(found.files)}. "
            "It is replaced by [redacted] in what is stored, and no pull request can be opened. "
            "Have the agent keep keys out of files, and start the task again."
        )
    for warning in found.warnings:
        yield f"Check before you open a pull request: {warning}."


def listed(names: Iterable[str]) -> str:
    """Return names as a list in a sentence."""
    return ", ".join(name[:NAME_CHARACTERS] for name in names)


def _added_texts(raw: Raw) -> Iterator[tuple[str, str]]:
    for change in raw.changes:
        name = decode_path(change.path)
        if NO_OBJECT.match(change.new_object):
            continue
        # The diff shows what is new in a file, but nothing of a binary one.
        is_whole = NO_OBJECT.match(change.old_object) or change.additions is None
        content = raw.contents.get(change.new_object, b"") if is_whole else b""
        # Wide encodings put a zero byte beside each character.
        yield name, content.replace(b"\0", b"").decode("utf-8", "replace")
    if raw.diff is not None:
        read = {decode_path(c.path) for c in raw.changes if c.new_object in raw.contents}
        diff = raw.diff.decode("utf-8", "replace")
        yield from added_text(diff, lambda name: name not in read)


def _added_in_patch(raw: Raw) -> Iterator[str]:
    if raw.patch is None or raw.is_one_commit:
        return
    patch = raw.patch.decode("utf-8", "replace")
    for _, text in added_text(patch):
        yield text
    yield "\n".join(_message_lines(patch))


def _message_lines(patch: str) -> Iterator[str]:
    is_message = False
    for line in patch.split("\n"):
        if line.startswith("From "):
            is_message = True
        elif line.startswith("diff --git "):
            is_message = False
        if is_message:
            yield line


def _warnings(name: str, text: str) -> Iterator[str]:
    for kind, forms in _KEY_FORMS.items():
        if any(form.search(text) for form in forms):
            yield f"{name[:NAME_CHARACTERS]} may contain {kind}"


def _without_secrets(change: FileChange, redact: Callable[[str], str]) -> FileChange:
    return FileChange(redact(change.filename), redact(change.before), redact(change.after))
