"""Checks the preconditions of a pull request from a task's result."""

from __future__ import annotations

from dataclasses import dataclass

from utils.errors import Conflict
from utils.github.models import GitHubCommit
from utils.models.tasks import TERMINAL_STATUSES, Task
from utils.pull_requests.options import PullRequestOptions
from utils.push.workflows import is_workflow, workflow_changes


@dataclass(frozen=True, slots=True)
class Result:
    """The complete result of a task."""

    base_commit: str
    tree_hash: str
    patch: str

    def is_in(self, commit: GitHubCommit) -> bool:
        """Return True when a commit contains exactly this result, whoever made it."""
        return (commit.tree, commit.parents) == (self.tree_hash, (self.base_commit,))


def require_result(task: Task, options: PullRequestOptions) -> Result:
    """Return what a task left. Raises `Conflict` with the reason why there is no pull request."""
    if task.status not in TERMINAL_STATUSES:
        raise Conflict(
            "The task has not ended yet. Wait for its end, or cancel it: what it has changed until "
            "then is kept.",
            "task_not_ended",
        )
    result = _result(task)
    if is_simulated(task) and not options.allow_simulated:
        raise Conflict(
            "No coding agent made this result: it is simulated. Send allow_simulated: true for a "
            "pull request from it all the same.",
            "result_simulated",
        )
    if changes_workflows(task) and not options.allow_workflow_changes:
        raise workflow_changes()
    return result


def is_simulated(task: Task) -> bool:
    """Return True when no coding agent worked on a task."""
    return bool((task.execution_metadata or {}).get("simulated"))


def notes_of(task: Task) -> list[str]:
    """Return what the capture noted of a result, such as what it left out."""
    notes = (task.execution_metadata or {}).get("notes")
    # Rows of older backends may hold anything there.
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def changes_workflows(task: Task) -> bool:
    """Return True when a result changes workflows; it lists both names of a renamed file.

    A patch that was stored by hand may do what the list does not say, so a push looks at its tree.
    """
    return any(map(is_workflow, task.changed_files or ()))


def _result(task: Task) -> Result:
    metadata = task.execution_metadata or {}
    # The patch of commits that take each other back is not empty. Old rows have no list.
    if task.changed_files == [] or not (task.changed_files or task.git_patch):
        raise Conflict("The task changed nothing.", "no_changes")
    if not task.git_patch:
        raise Conflict(
            "The changes were too large to be stored (MAX_PATCH_BYTES), so nothing can be "
            "pushed. Ask for less in one task.",
            "patch_too_large",
        )
    base, tree = metadata.get("base_commit"), metadata.get("tree_hash")
    if not (isinstance(base, str) and isinstance(tree, str)):
        raise Conflict(
            "It is not known which commit this task started from: it was imported. Start it again.",
            "base_commit_unknown",
        )
    return Result(base, tree, task.git_patch)
