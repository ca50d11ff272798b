"""Checks that a task's result can become a pull request."""

from __future__ import annotations

from dataclasses import dataclass

from utils.errors import Conflict
from utils.github.models import GitHubCommit
from utils.models.task_groups import TaskGroup
from utils.models.tasks import TERMINAL_STATUSES, Task
from utils.pipeline.capture.secret_search import FILES_FIELD, HasSecret, listed, secret_files_in
from utils.pull_requests.options import PullRequestOptions
from utils.push.workflows import is_workflow, workflow_changes


@dataclass(frozen=True, slots=True)
class Result:
    """The complete result of a task."""

    base_commit: str
    tree_hash: str
    patch: str

    def is_in(self, commit: GitHubCommit) -> bool:
        """Tell whether a commit has exactly this result, whoever created it."""
        return (commit.tree, commit.parents) == (self.tree_hash, (self.base_commit,))


def require_result(
    task: Task, options: PullRequestOptions, has_secret: HasSecret, *, takes_simulated: bool
) -> Result:
    """Return the result of a task. Raise `Conflict` if no pull request can be made from it.

    `takes_simulated` accepts a simulated result without `allow_simulated`. `has_secret` finds the
    secrets of this server and the token of this request; the capture searched for those of the run.
    """
    if task.status not in TERMINAL_STATUSES:
        raise Conflict(
            "The task has not ended yet. Wait until it ends, or cancel it; a cancelled task keeps "
            "its changes.",
            "task_not_ended",
        )
    result = _result(task)
    _refuse_secrets(task, has_secret)
    if is_simulated(task) and not (options.allow_simulated or takes_simulated):
        raise Conflict(
            "This result is simulated: no coding agent made it. To open a draft anyway, send "
            "allow_simulated: true.",
            "result_simulated",
        )
    if changes_workflows(task) and not options.allow_workflow_changes:
        raise workflow_changes()
    return result


def require_chosen(task: Task, group: TaskGroup) -> None:
    """Raise `Conflict` unless the task is the one that was chosen of its group."""
    if group.chosen_task_id == task.id:
        return
    chosen = "none of them" if group.chosen_task_id is None else f"task {group.chosen_task_id}"
    raise Conflict(
        f"The task belongs to group {group.id}, and {chosen} is chosen. Choose this one with "
        f"POST /task-groups/{group.id}/choose, then create its pull request.",
        "task_not_chosen",
    )


def is_simulated(task: Task) -> bool:
    """Tell whether a task ran without a coding agent."""
    return bool((task.execution_metadata or {}).get("simulated"))


def capture_notes(task: Task) -> list[str]:
    """Return the notes of the capture, such as files that it left out."""
    notes = (task.execution_metadata or {}).get("notes")
    # Rows of older backends may have any value here.
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def changes_workflows(task: Task) -> bool:
    """Tell whether the list of changed files has workflows; renamed files have both names in it.

    A patch that was edited by hand may differ from the list, so a push checks the tree as well.
    """
    return any(map(is_workflow, task.changed_files or ()))


def _refuse_secrets(task: Task, has_secret: HasSecret) -> None:
    noted = (task.execution_metadata or {}).get(FILES_FIELD)
    names = [str(name) for name in noted] if isinstance(noted, list) else []
    names = names or secret_files_in(task.git_diff or task.git_patch or "", has_secret)
    if names:
        raise Conflict(
            f"The changes contain a secret that this server knows, in {listed(names)}. Nothing was "
            "pushed. Have the agent keep keys out of files, and start the task again.",
            "secret_detected",
        )


def _result(task: Task) -> Result:
    metadata = task.execution_metadata or {}
    # Commits that revert each other have a patch but no changed files. Old rows have no list.
    if task.changed_files == [] or not (task.changed_files or task.git_patch):
        raise Conflict("The task changed nothing.", "no_changes")
    if not task.git_patch:
        raise Conflict(
            "The changes were too large to be stored (MAX_PATCH_BYTES), so they cannot be pushed. "
            "Split the work into smaller tasks.",
            "patch_too_large",
        )
    base, tree = metadata.get("base_commit"), metadata.get("tree_hash")
    if not (isinstance(base, str) and isinstance(tree, str)):
        raise Conflict(
            "This task was imported without the commit that it started from. Start the task again.",
            "base_commit_unknown",
        )
    return Result(base, tree, task.git_patch)
