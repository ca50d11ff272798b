"""Reads which repositories a task is to work in, and answers with those that it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from database import Database
from utils.api.responses import FullTaskRow
from utils.api.schemas.tasks import WantedTask
from utils.api.serializers import full_task_row
from utils.database.shared import NO_REPOSITORY
from utils.errors import InvalidInput, NotFound
from utils.git.folder_names import folder_names
from utils.git.repository_url import RepositoryUrl, validate_branch
from utils.models.repositories import MAX_REPOSITORIES, NewRepository, TaskRepository
from utils.models.tasks import Task
from utils.pull_requests.repositories import first_repository


class ChosenRepositories(NamedTuple):
    """The repositories of a task to start: the first one, and those beside it."""

    url: str
    branch: str
    further: tuple[NewRepository, ...]


def chosen_repositories(
    body: WantedTask, parse: Callable[[str], RepositoryUrl]
) -> ChosenRepositories:
    """Return the repositories that a request names.

    `repo_url` may be the first one of `repositories` as well. Raises `InvalidInput`.
    """
    named = [(parse(one.repo_url), one.branch) for one in body.repositories]
    first = named[0][0] if body.repo_url is None else parse(body.repo_url)
    if not named or _key(named[0][0]) != _key(first):
        named.insert(0, (first, None))
    of_first = named[0][1]
    if body.branch is not None and of_first not in {None, body.branch}:
        raise InvalidInput(
            "branch: repositories names another branch of the same repository. Send one of them.",
            "invalid_branch",
        )
    named[0] = (first, of_first if body.branch is None else body.branch)
    if len(named) > MAX_REPOSITORIES:
        raise InvalidInput(
            f"repositories: a task may work in {MAX_REPOSITORIES} repositories at most, with "
            "repo_url. Start several tasks."
        )
    if len({_key(repository) for repository, _ in named}) < len(named):
        raise InvalidInput("repositories: name each repository once.")
    names = folder_names([repository.url for repository, _ in named])
    chosen = [
        NewRepository(name, repository.url, _branch(branch, repository.branch))
        for name, (repository, branch) in zip(names, named, strict=True)
    ]
    return ChosenRepositories(chosen[0].repo_url, chosen[0].target_branch, tuple(chosen[1:]))


def repositories_of(
    database: Database, task: Task, *, with_texts: bool = False
) -> list[TaskRepository]:
    """Return the repositories of a task that has several, else none."""
    if not task.has_further_repositories:
        return []
    further = database.list_repositories(task.user_id, task.id, with_texts=with_texts)
    return [first_repository(task), *further]


def full_row_of(database: Database, user_id: str, task_id: int) -> FullTaskRow:
    """Return the row of a task with all its texts. Raises `NotFound`."""
    task = database.get_task(user_id, task_id)
    return full_task_row(task, repositories_of(database, task, with_texts=True))


def repository_named(
    database: Database, user_id: str, task_id: int, name: str | None
) -> TaskRepository:
    """Return a repository of a task with its texts, the first one without a name.

    Raises `NotFound`.
    """
    task = database.get_task(user_id, task_id)
    first = first_repository(task)
    if name in {None, first.name}:
        return first
    for one in repositories_of(database, task, with_texts=True):
        if one.name == name:
            return one
    raise NotFound(NO_REPOSITORY)


def _key(repository: RepositoryUrl) -> str:
    url = repository.url.removesuffix(".git")
    return url if repository.is_local else url.lower()


def _branch(given: str | None, in_address: str | None) -> str:
    """Return the branch to clone; an empty text stands for the repository's default branch."""
    if given is not None and in_address not in {None, given}:
        raise InvalidInput(
            "branch: the page in repo_url belongs to another branch. Send the address of the "
            "repository as repo_url.",
            "invalid_branch",
        )
    name = in_address if given is None else given
    return "" if name is None else validate_branch(name)
