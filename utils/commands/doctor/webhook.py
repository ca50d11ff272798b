"""The check of `./run.sh doctor` that asks whether comments on GitHub can start tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from database import Database
from utils.commands.doctor.findings import Finding, ok, problem
from utils.config.settings import Settings
from utils.database.migrations import require_head_revision, stored_revision
from utils.database.sql.database import SqlDatabase
from utils.database.sql.engine import SQLITE_FILE, open_engines
from utils.errors import AppError, NotFound
from utils.git.repository_url import find_github_name


def check_webhook(settings: Settings) -> Iterator[Finding]:
    """Is there a user whose tasks those are, with a project?"""
    if settings.github_webhook_secret is None:
        return
    if not settings.webhook_tasks:
        yield ok("webhook: deliveries are taken; comments start no tasks")
        return
    try:
        repositories = _repositories(settings, str(settings.webhook_user_id))
    except NotFound:
        yield problem(
            "webhook: comments start no tasks: there is no user WEBHOOK_USER_ID",
            "Sign in as the user whose tasks they are to be, take the id that GET /users/me "
            "answers, and add a project for each repository.",
        )
        return
    except AppError:
        # What is wrong with the database is told where it is looked at.
        return
    if repositories:
        yield ok(f"webhook: comments start tasks in {', '.join(repositories)}")
    else:
        yield problem(
            "webhook: comments start no tasks: WEBHOOK_USER_ID has no active project on "
            f"{settings.github_host}",
            "Add one as that user, with POST /projects, for each repository whose comments may "
            "start tasks.",
        )


def _repositories(settings: Settings, user_id: str) -> list[str]:
    """Return where on GitHub a user has active projects.

    Raises `NotFound` and what databases raise.
    """
    is_shared = settings.uses_supabase or settings.database_url is not None
    if not is_shared and not (settings.data_dir / SQLITE_FILE).exists():
        raise NotFound("There is no database yet.")
    with closing(_open(settings)) as database:
        if isinstance(database, SqlDatabase):
            require_head_revision(
                database.engines.read(stored_revision), "The tables are not current."
            )
        database.get_user(user_id)
        projects = database.list_projects(user_id)
    active = [one.repo_url for one in projects if one.is_active]
    host = settings.github_host
    return sorted({name for url in active if (name := find_github_name(url, host))})


def _open(settings: Settings) -> Database:
    """Return the database as it is: nothing is migrated, and no name of a server made."""
    if settings.uses_supabase:
        # Its client takes long to import.
        from utils.database.supabase.database import SupabaseDatabase, connect_current

        return SupabaseDatabase(connect_current(settings), server="")
    return SqlDatabase(open_engines(settings), server="")
