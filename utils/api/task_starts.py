"""Turns what a request or a schedule asks for into tasks, and starts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from pydantic import SecretStr

from utils.agents.registry import AGENT_NAMES, DEFAULT_AGENT
from utils.api.endpoint import Services, validated
from utils.api.schemas.tasks import WantedTask
from utils.api.task_repositories import chosen_repositories
from utils.config.settings import Settings
from utils.errors import InvalidInput
from utils.git.repository_url import RepositoryUrl, parse_repository_url
from utils.models.schedules import Schedule
from utils.models.tasks import Mode, NewTask, Task, priority_number


def wanted_tasks(
    settings: Settings, body: WantedTask, request_key: str | None = None
) -> list[NewTask]:
    """Return the task that a body asks for, or the tasks of a group. Raises `InvalidInput`."""
    chosen = chosen_repositories(body, partial(allowed_repository, settings))
    new = NewTask(
        prompt=body.prompt,
        repo_url=chosen.url,
        branch=chosen.branch,
        further=chosen.further,
        agent=_agent_name("model", body.model),
        agent_model=body.agent_model,
        project_id=body.project_id,
        request_key=request_key,
        mode=Mode(body.mode),
        check_command=body.check_command,
        priority=priority_number(body.priority),
    )
    return _group(body, new, settings.group_size)


def start_tasks(
    services: Services,
    user_id: str,
    group: Sequence[NewTask],
    token: SecretStr | None,
    *,
    wish: bool | None,
) -> list[Task]:
    """Store and queue a task, or all tasks of a group, with the `wish` for a pull request.

    Raises what `Dispatcher.start_task` and `AutomaticPullRequests.with_wish` raise.
    """
    wanted = services.automatic_pull_requests.with_wish(user_id, group, token, wish=wish)
    if len(wanted) == 1:
        return [services.dispatcher.start_task(user_id, wanted[0], token)]
    return services.dispatcher.start_task_group(user_id, wanted, token)


def check_start(services: Services, user_id: str, body: WantedTask) -> None:
    """Raise what a start without a token would raise now, but for budgets and full queues."""
    if body.project_id is not None:
        services.database.get_project_settings(user_id, body.project_id)
    group = wanted_tasks(services.settings, body)
    for new in group:
        services.dispatcher.agents.check_model(new.agent, new.agent_model)
    services.automatic_pull_requests.with_wish(user_id, group, None, wish=body.auto_pr)


def start_scheduled(services: Services, schedule: Schedule) -> None:
    """Start the task of the moment of a schedule that is due, as its user.

    Raises what `start_tasks` raises, `InvalidInput` where this version or these settings do not
    accept what was stored, and `Conflict` when the moment has its task, or is no longer due.
    """
    body = validated(WantedTask, schedule.task)
    moment = schedule.next_run_at
    text = None if moment is None else moment.isoformat()
    first, *others = (
        replace(new, schedule_id=schedule.id) for new in wanted_tasks(services.settings, body)
    )
    group = [replace(first, scheduled_for=text), *others]
    start_tasks(services, schedule.user_id, group, None, wish=body.auto_pr)


def allowed_repository(settings: Settings, text: str) -> RepositoryUrl:
    """Return the address of a repository that tasks may clone. Raises `InvalidInput`."""
    return parse_repository_url(
        text,
        allowed_hosts=settings.allowed_git_hosts,
        allow_local=settings.local_repos_allowed,
    )


def _agent_name(field: str, given: str | None) -> str:
    name = DEFAULT_AGENT if given is None else given
    if name not in AGENT_NAMES:
        raise InvalidInput(f"{field}: must be one of {', '.join(AGENT_NAMES)}.", "unknown_model")
    return name


def _group(body: WantedTask, new: NewTask, most: int) -> list[NewTask]:
    """Return the tasks to start: one, or a group with `attempts` tasks of each agent."""
    agents = [_agent_name("agents", name) for name in body.agents or (new.agent,)]
    if body.agents and body.model is not None:
        raise InvalidInput("agents: send either agents or model.")
    if len(set(agents)) < len(agents):
        raise InvalidInput("agents: name each agent once. For several tasks of it, send attempts.")
    if body.agent_model is not None and len(agents) > 1:
        raise InvalidInput("agent_model: belongs to one agent. Leave it out to compare agents.")
    count = len(agents) * body.attempts
    if count > most:
        raise InvalidInput(
            f"attempts: {count} tasks are too many for one request; at most {most} are allowed "
            "(MAX_GROUP_SIZE, MAX_QUEUED_PER_USER). Ask for fewer attempts or agents.",
            "group_too_large",
        )
    if count == 1:
        return [replace(new, agent=agents[0])]
    if new.further:
        raise InvalidInput(
            "repositories: the tasks of a group work in one repository. Leave out agents and "
            "attempts, or send only repo_url."
        )
    return [
        replace(new, agent=agent, group_attempt=number)
        for agent in agents
        for number in range(1, body.attempts + 1)
    ]
