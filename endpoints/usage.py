"""Usage endpoint: what the tasks of a user have used and cost."""

from __future__ import annotations

from flask import Blueprint

from utils.api.endpoint import Services, endpoint
from utils.api.schemas.usage import (
    BudgetRow,
    UsageAmounts,
    UsageListQuery,
    UsageSumRow,
    budget_row,
    usage_report,
    whole,
)
from utils.models.tasks import Json

blueprint = Blueprint("usage", __name__)

REPORT = {
    "from": str,
    "to": str,
    "group_by": str,
    "usage": list[UsageSumRow],
    "total": UsageAmounts,
    "is_cut": bool,
}


@blueprint.get("/usage")
@endpoint({**REPORT, "budgets": list[BudgetRow]}, query=UsageListQuery)
def get_usage(services: Services, user_id: str, query: UsageListQuery) -> Json:
    """Report what your tasks have used and cost, by day, project, agent or task.

    Money is in millionths of a US dollar, time in milliseconds. Running tasks count with what they
    have used so far; deleted ones stay. `budgets` tells what you may still spend.
    """
    chosen, database = query.chosen(), services.database
    sums = database.sum_usage(user_id, chosen)
    report = usage_report(chosen, sums, database.sum_usage(user_id, whole(chosen)))
    return {**report, "budgets": [budget_row(one) for one in services.budgets.of_user(user_id)]}
