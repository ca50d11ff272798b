"""Describes the fields of usage and of what administrators see; see `fields`."""

from __future__ import annotations

from utils.api.openapi.field_text import FieldText

USAGE_FIELDS: dict[str, FieldText] = {
    "usage": FieldText("The sums. Days come in order, of other rows the newest first."),
    "total": FieldText("The sum of all rows, also of those that are cut off."),
    "from": FieldText("The first day of the report.", "2027-01-02"),
    "to": FieldText("The last day of the report.", "2027-01-31"),
    "group_by": FieldText("What has a row of its own.", "day"),
    "is_cut": FieldText("True when there are more rows than the report may have.", example=False),
    "UsageSumRow.key": FieldText(
        "The day, or the id of the project, agent, task or user. Null for tasks without a project.",
        "2027-01-31",
    ),
    "UsageSumRow.tasks": FieldText("The number of tasks.", 3),
    "UsageAmounts.tasks": FieldText("The number of tasks.", 3),
    "cost_micro_usd": FieldText("The whole cost in millionths of a US dollar.", 1_250_000),
    "sandbox_milliseconds": FieldText("The time for which sandboxes were used.", 90_000),
    "sandbox_micro_usd": FieldText("The part of the cost that is for sandboxes.", 5_000),
    "model_micro_usd": FieldText(
        "The part of the cost that is for models: as the agents report it, else by MODEL_PRICES.",
        1_245_000,
    ),
    "cached_input_tokens": FieldText("The part of the input that came from a cache.", 90_000),
    "unpriced_tokens": FieldText(
        "Tokens of models that MODEL_PRICES has no price for; they count as free.", 0
    ),
    "git_operations": FieldText("Clones, pushes and pull requests.", 4),
    "failed_git_operations": FieldText("Those of them that failed.", 0),
    "budgets": FieldText("Your budgets; empty where there are none."),
    "period": FieldText("Whether the budget is for a day or a month (UTC).", "day"),
    "budget_micro_usd": FieldText("The budget.", 5_000_000),
    "spent_micro_usd": FieldText("What was spent of it.", 1_250_000),
    "free_at": FieldText("When the next period begins.", "2027-02-01T00:00:00Z"),
    "ListActiveTasksAnswer.tasks": FieldText("The tasks of all users, newest first."),
    "server": FieldText("The name of the server that the task belongs to.", None),
    "ListWorkersAnswer.workers": FieldText("The workers that were seen lately, by name."),
    "WorkerRow.name": FieldText("The name of the worker.", "0f9a6c1f"),
    "WorkerRow.version": FieldText("The version of its program.", "1.0.0"),
    "places": FieldText("The number of tasks that it runs at most at the same time.", 4),
    "WorkerRow.running": FieldText("The number of tasks that it runs.", 2),
    "WorkerRow.started_at": FieldText("When it was seen first.", "2027-01-31T12:00:00Z"),
    "is_draining": FieldText(
        "True when an administrator has asked the worker to take no more tasks.", example=True
    ),
    "seen_at": FieldText("When it was seen last.", "2027-01-31T12:34:56Z"),
    "OwnedSandboxRow.status": FieldText("The status of the sandbox.", "running"),
    "OwnedSandboxRow.ended_at": FieldText("Null: it has not ended.", None),
    "OwnedSandboxRow.paused_at": FieldText("Since when it is paused.", None),
    "sandbox_id": FieldText("The sandbox of the task, null before it has one.", None),
}
