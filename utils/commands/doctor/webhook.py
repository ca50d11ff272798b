"""Checks for `./run.sh doctor` that comments on GitHub can start tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from utils.commands.doctor.findings import Finding, ok, problem
from utils.commands.doctor.gateway import open_gateway
from utils.config.settings import Settings
from utils.database.sql.engine import SQLITE_FILE
from utils.errors import AppError, NotFound
from utils.git.repository_url import find_github_name


def check_webhook(settings: Settings) -> Iterator[Finding]:
    """Check that the user of these tasks exists and has an active project."""
    if settings.github_webhook_secret is None:
        return
    if not settings.webhook_tasks:
        yield ok("webhook: deliveries are accepted; comments start no tasks")
        return
    try:
        repositories = _repositories(settings, str(settings.webhook_user_id))
    except NotFound:
        yield problem(
            "webhook: comments start no tasks: the user WEBHOOK_USER_ID does not exist",
            "Sign in as the user who shall own these tasks, set WEBHOOK_USER_ID to the id in the "
            "answer of GET /users/me, and add a project for each repository.",
        )
        return
    except AppError:
        # The check of the database reports this.
        return
    if repositories:
        yield ok(f"webhook: comments start tasks in {', '.join(repositories)}")
    else:
        yield problem(
            "webhook: comments start no tasks: WEBHOOK_USER_ID has no active project on "
            f"{settings.github_host}",
            "As that user, add a project with POST /projects for each repository whose comments "
            "may start tasks.",
        )


def _repositories(settings: Settings, user_id: str) -> list[str]:
    """Return the names on GitHub of the repositories in which a user has active projects.

    Raises `NotFound` and the errors of the database.
    """
    if not settings.shares_rows and not (settings.data_dir / SQLITE_FILE).exists():
        raise NotFound("There is no database yet.")
    with closing(open_gateway(settings)) as database:
        database.get_user(user_id)
        projects = database.list_projects(user_id)
    active = [one.repo_url for one in projects if one.is_active]
    host = settings.github_host
    return sorted({name for url in active if (name := find_github_name(url, host))})
