"""Announces the tasks that the operations of a gateway change, once they are committed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar

from utils.database.changes import Change

Gateway = TypeVar("Gateway", bound=type)
Arguments = tuple[Any, ...]
Options = dict[str, Any]
Read = Callable[[Any, Arguments, Options], Iterator[Change]]


def _task_of_result(result: Any, _arguments: Arguments, _options: Options) -> Iterator[Change]:
    if result is not None:
        yield Change(result.id, result.user_id)


def _tasks_of_result(result: Any, _arguments: Arguments, _options: Options) -> Iterator[Change]:
    yield from (Change(task.id, task.user_id) for task in result)


def _task_in_result(result: Any, _arguments: Arguments, _options: Options) -> Iterator[Change]:
    if result is not None:
        yield Change(result.task.id, result.task.user_id)


def _progress(result: Any, arguments: Arguments, options: Options) -> Iterator[Change]:
    if result:
        yield Change(arguments[0], only_events=not options.get("fields"))


def _run(result: Any, arguments: Arguments, _options: Options) -> Iterator[Change]:
    if result:
        yield Change(arguments[0].task_id, only_events=True)


def _events(_result: Any, arguments: Arguments, _options: Options) -> Iterator[Change]:
    yield Change(arguments[1], arguments[0], only_events=True)


def _user_and_task(_result: Any, arguments: Arguments, _options: Options) -> Iterator[Change]:
    yield Change(arguments[1], arguments[0])


ANNOUNCED: dict[str, Read] = {
    "add_turn": _task_in_result,
    "append_chat_message": _task_of_result,
    "append_events": _events,
    "claim_task": _task_in_result,
    "create_task": _task_of_result,
    "create_task_group": _tasks_of_result,
    "delete_old_tasks": _tasks_of_result,
    "delete_task": _user_and_task,
    "finish_task": _task_of_result,
    "move_task": _task_of_result,
    "save_progress": _progress,
    "set_pull_request": _task_of_result,
    "set_repository_pull_request": _task_of_result,
    "start_run": _run,
    "take_back_turn": _task_of_result,
}
"""The operations of `Database` that change tasks, and how to find what a call has changed."""


def announcing(gateway: Gateway) -> Gateway:
    """Decorate a gateway: its operations on tasks announce what they have changed.

    They are called with the task and the user as positional arguments.
    """
    for name, read in ANNOUNCED.items():
        setattr(gateway, name, _announced(getattr(gateway, name), read))
    return gateway


def _announced(method: Callable[..., Any], read: Read) -> Callable[..., Any]:
    @wraps(method)
    def run(self: Any, /, *arguments: Any, **options: Any) -> Any:
        result = method(self, *arguments, **options)
        for change in read(result, arguments, options):
            self.changes.announce(change)
        return result

    return run
