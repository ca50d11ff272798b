"""Builds the default title and body of a pull request.

The body quotes the prompt, which may be anybody's text. It stands in a fenced block that it cannot
close, so that GitHub sends no notifications for mentions and closes no issues.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from utils.models.tasks import Task, TaskStatus
from utils.pull_requests.conventional_commits import conventional_title
from utils.pull_requests.preconditions import is_simulated

MAX_TITLE_CHARACTERS = 256
MAX_BODY_CHARACTERS = 65_536

_TITLE_CHARACTERS = 72
_PROMPT_CHARACTERS = 20_000
_FILES = 100
_PATH_CHARACTERS = 200
_CUT = "\n\nThe rest is left out because of GitHub's size limit."
_ELLIPSIS = "..."
_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_MENTION = re.compile(r"@(?=\w)")
# `closes #1`, `Fixes: owner/name#1`, `resolved GH-1`, and the same with an address.
_REFERENCE = re.compile(
    r"#(?=\d)|\bGH-(?=\d)|https?://(?=\S{0,300}/(?:issues|pull)/\d)", re.IGNORECASE
)
_SEPARATOR = "\u200b"
_SIMULATED = "[simulated]"
_SIMULATED_NOTICE = "**This is a simulated result:** no coding agent worked on it.\n\n"


@dataclass(frozen=True, slots=True)
class PullRequestFacts:
    """The facts for the text.

    `notes` are those of the capture, such as files that were left out. `link` is the address of the
    task, if known.
    """

    task_id: int
    prompt: str
    agent: str
    changed_files: Sequence[str]
    notes: Sequence[str] = ()
    link: str | None = None


def default_title(facts: PullRequestFacts, *, conventional: bool = False) -> str:
    """Return the first line of the prompt, cut between words, without mentions and references.

    With `conventional` it follows Conventional Commits.
    """
    lines = (" ".join(_visible(line).split()) for line in facts.prompt.splitlines())
    line = next((line.lstrip("#*->` ") for line in lines if line.strip("#*->` ")), "")
    title = line or f"Changes of task {facts.task_id}"
    title = _shortened(conventional_title(title) if conventional else title, _TITLE_CHARACTERS)
    # The scope of a conventional title may be a package name such as @angular/core.
    kind, colon, description = title.partition(": ") if conventional else ("", "", title)
    return f"{kind}{colon}{_harmless(description)}"


def default_body(facts: PullRequestFacts) -> str:
    """Return the body, with the agent, the prompt and the changed files."""
    task = f"[task {facts.task_id}]({facts.link})" if facts.link else f"task {facts.task_id}"
    prompt = _cut(_visible(facts.prompt), _PROMPT_CHARACTERS)
    # Notes contain file names, and these may contain any characters.
    notes = _visible("\n".join(facts.notes))
    noted = f"### Notes\n\n{fenced(notes)}\n\n" if notes else ""
    return cut_body(
        f"Made by the agent {_code(facts.agent)} in {task}.\n\n"
        f"### Prompt\n\n{fenced(prompt)}\n\n{noted}{_file_list(facts.changed_files)}"
    )


def mark_simulated(title: str) -> str:
    """Return the title of a pull request whose result no coding agent has made."""
    return title if title.startswith(_SIMULATED) else cut_title(f"{_SIMULATED} {title}")


def result_notice(task: Task) -> str:
    """Return what a reader has to know about a result before anything else; often nothing."""
    notice = _SIMULATED_NOTICE if is_simulated(task) else ""
    if task.status is TaskStatus.COMPLETED:
        return notice
    ended = {
        TaskStatus.CANCELLED: "was cancelled",
        TaskStatus.FAILED: f"failed (`{task.error_code or 'unknown'}`)",
    }[task.status]
    return (
        f"**This is a partial result:** the task {ended}. "
        f"These are the changes up to that point.\n\n{notice}"
    )


def cut_title(title: str) -> str:
    """Return a title within GitHub's limit: one line of at most 256 characters."""
    return _shortened(" ".join(_visible(title).split()), MAX_TITLE_CHARACTERS)


def cut_body(body: str, most_bytes: int = MAX_BODY_CHARACTERS) -> str:
    """Return a body within GitHub's limit; a cut body ends with a line that says so.

    GitHub counts some characters more than once, so the limit is applied to UTF-8 bytes.
    """
    if len(body.encode(errors="replace")) <= most_bytes:
        return body
    room = most_bytes - len(_CUT) - _closing_room(body)
    beginning = body.encode(errors="replace")[:room].decode(errors="ignore")
    line_end = beginning.rfind("\n")
    beginning = beginning[:line_end] if line_end > room // 2 else beginning
    return beginning + _open_fence(beginning) + _CUT


def fenced(text: str) -> str:
    """Return text as a fenced code block that the text cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(longest + 1, 3)
    return f"{fence}text\n{text}\n{fence}"


def _closing_room(body: str) -> int:
    fences = re.findall(r"^ {0,3}(?:`{3,}|~{3,})", body, re.MULTILINE)
    return max(map(len, fences), default=0) + 1


def _open_fence(text: str) -> str:
    # Only a line of at least as many marks, and nothing else, closes a fence.
    fence = ""
    for match in re.finditer(r"^ {0,3}(`{3,}|~{3,})([^\n]*)$", text, re.MULTILINE):
        marks, rest = match.groups()
        if not fence:
            fence = marks
        elif marks.startswith(fence) and not rest.strip():
            fence = ""
    return f"\n{fence}" if fence else ""


def _file_list(paths: Sequence[str]) -> str:
    if not paths:
        return "### Changed files\n\nNone."
    shown = [_cut(_visible(path).replace("\n", " "), _PATH_CHARACTERS) for path in paths[:_FILES]]
    lines = [f"- {_code(path)}" for path in shown]
    if len(paths) > _FILES:
        lines.append(f"- and {len(paths) - _FILES} more")
    return f"### Changed files ({len(paths)})\n\n" + "\n".join(lines)


def _code(text: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    marks = "`" * (longest + 1)
    room = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{marks}{room}{text}{room}{marks}"


def _harmless(title: str) -> str:
    """Return a title that reads the same but has no mentions and references for GitHub."""
    apart = _MENTION.sub(f"@{_SEPARATOR}", title)
    return _REFERENCE.sub(lambda found: f"{found[0]}{_SEPARATOR}", apart)


def _visible(text: str) -> str:
    plain = _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    "))
    return plain.encode(errors="replace").decode()


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - len(_ELLIPSIS)] + _ELLIPSIS


def _shortened(line: str, characters: int) -> str:
    if len(line) <= characters:
        return line
    beginning = line[: characters - len(_ELLIPSIS)]
    word_end = beginning.rfind(" ")
    if word_end > characters // 2:
        beginning = beginning[:word_end]
    return beginning.rstrip(" ,;:.") + _ELLIPSIS
