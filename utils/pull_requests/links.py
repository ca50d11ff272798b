"""Links the pull requests of a task over several repositories to one another, in their text.

The links stand between two comments, so that a later request changes them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from utils.errors import AppError
from utils.github.models import GitHubPull
from utils.pull_requests.concurrency import Deadline
from utils.pull_requests.publisher import PublishContext, PullRequestResult
from utils.pull_requests.repositories import Target
from utils.pull_requests.text import MAX_BODY_CHARACTERS, cut_body

BEGIN = "<!-- pull requests of the same task -->"
END = "<!-- end of the pull requests of the same task -->"

_NOT_LINKED = "The pull requests are open, but not linked to one another yet."


@dataclass(frozen=True, slots=True)
class Published:
    """A pull request that the present request has created or updated."""

    target: Target
    result: PullRequestResult


@dataclass(frozen=True, slots=True)
class PullRequestLinker:
    """Links the pull requests of a task. `open_github` opens a client for a repository."""

    open_github: Callable[[Target, str], AbstractContextManager[PublishContext]]
    full_name: Callable[[str], str]
    deadline: Deadline

    def link(self, published: Sequence[Published], targets: Sequence[Target]) -> list[Published]:
        """Add the missing links; return what was published, with warnings where that failed.

        `targets` are all repositories of the task, also those with an earlier pull request.
        """
        by_position = {one.target.position: one for one in published}
        urls = {one.position: one.task.pr_url for one in targets if one.task.pr_url}
        urls |= {position: one.result.pull.url for position, one in by_position.items()}
        for target in targets:
            others = [url for place, url in sorted(urls.items()) if place != target.position]
            one = by_position.get(target.position)
            if not others or not (one or target.task.pr_state == "open"):
                continue
            self.deadline.check(_NOT_LINKED)
            try:
                self._link(target, one, others)
            except AppError as error:
                if one:
                    warnings = (*one.result.warnings, error)
                    by_position[target.position] = replace(
                        one, result=replace(one.result, warnings=warnings)
                    )
        return list(by_position.values())

    def _link(self, target: Target, one: Published | None, urls: Sequence[str]) -> None:
        name = one.result.full_name if one else self.full_name(target.task.repo_url)
        if one and linked_body(one.result.pull.body, urls) == one.result.pull.body:
            return
        with self.open_github(target, name) as context:
            github = context.github
            pull = one.result.pull if one else github.pull(name, _number(target))
            body = linked_body(pull.body, urls)
            if body != pull.body and _is_open(pull):
                github.update_pull(name, pull.number, body=body)


def linked_body(body: str, urls: Sequence[str]) -> str:
    """Return the text of a pull request with links to others, in place of earlier ones."""
    beginning, found, rest = body.partition(BEGIN)
    ending = rest.partition(END)[2] if found else ""
    links = "\n".join(f"- {url}" for url in urls)
    section = f"{BEGIN}\n### Pull requests of the same task\n\n{links}\n{END}"
    room = MAX_BODY_CHARACTERS - len(section.encode()) - len(ending.encode()) - 2
    return f"{cut_body(beginning.rstrip(), room)}\n\n{section}{ending}"


def _number(target: Target) -> int:
    return target.task.pr_number or 0


def _is_open(pull: GitHubPull) -> bool:
    return pull.state == "open"
