"""Describes the fields of groups of tasks."""

from __future__ import annotations

from utils.api.openapi.field_text import FieldText

_COMMIT = "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"

GROUP_FIELDS: dict[str, FieldText] = {
    "task_ids": FieldText("The numbers of all new tasks, if there are several.", None),
    "group_id": FieldText("The group that the task belongs to, if it belongs to one.", None),
    "groups": FieldText("The groups, newest first."),
    "group": FieldText("The group."),
    "GroupSummaryRow.status": FieldText("`running` until all of its tasks have ended.", "ended"),
    "GroupRow.status": FieldText("`running` until all of its tasks have ended.", "ended"),
    "GroupRow.branch": FieldText("The branch that was asked for, empty for the default.", "master"),
    "GroupSummaryRow.branch": FieldText(
        "The branch that was asked for, empty for the default.", "master"
    ),
    "GroupRow.tasks": FieldText("Its tasks, oldest first."),
    "chosen_task_id": FieldText("The task that was chosen, null before that.", None),
    "ChosenTask.task_id": FieldText("The task to choose.", 3),
    "check_command": FieldText("The command that checks each result, null without one.", "make"),
    "order_rule": FieldText("Says what `rank` goes by.", "Completed tasks with ..."),
    "GroupTaskRow.task_id": FieldText("The number of the task.", 1),
    "GroupTaskRow.attempt": FieldText("The number among the tasks of this agent, from 1.", 1),
    "agent_model": FieldText("The model that was asked for, null for the agent's own.", None),
    "seconds": FieldText("The time from its start to its end, or up to now.", 42.5),
    "input_tokens": FieldText("Tokens that the agent has sent.", 12_000),
    "output_tokens": FieldText("Tokens that the agent has received.", 900),
    "cost_usd": FieldText("The costs in US dollars, where the agent tells them.", 0.12),
    "files": FieldText("The number of changed files.", 1),
    "additions": FieldText("The number of added lines.", 10),
    "deletions": FieldText("The number of removed lines.", 2),
    "check_exit_code": FieldText("The exit code of the check, 0 when it passed.", 0),
    "check_output": FieldText("The last lines that the check has printed.", "3 passed"),
    "tree": FieldText("The hash of the resulting files.", _COMMIT),
    "same_tree_as": FieldText("The tasks of the group with the same resulting files.", []),
    "rank": FieldText("The place by `order_rule`, from 1; null until the task has ended.", 1),
}
