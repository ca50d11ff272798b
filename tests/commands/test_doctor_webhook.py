"""`./run.sh doctor` says whether comments on GitHub can start tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from database import Database
from tests.support.database.samples import NOBODY, USER, project_fields
from tests.support.doctor_program import Doctor
from tests.support.supabase.settings import rows_in
from utils.commands.doctor.webhook import check_webhook
from utils.config.settings import Settings

SECRET = "what-only-github-knows"
COMMENTS = {
    "GITHUB_WEBHOOK_SECRET": SECRET,
    "WEBHOOK_TASKS": "true",
    "WEBHOOK_USER_ID": USER,
    "GITHUB_TOKEN": "ghp_deployment4711",
}
NO_USER = "problem  webhook: comments start no tasks: the user WEBHOOK_USER_ID does not exist"
NO_PROJECT = (
    "problem  webhook: comments start no tasks: WEBHOOK_USER_ID has no active project on github.com"
)


@pytest.fixture
def rows(database: Database, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Provide the settings of a server that uses `database`."""
    where: dict[str, Any] = {"data_dir": tmp_path}
    if database.kind == "supabase":
        return rows_in(request.getfixturevalue("supabase_stack"), **where)
    if database.kind == "postgresql":
        where["database_url"] = request.getfixturevalue("postgres_server").url("contract")
    return where


def finding(rows: dict[str, Any], user_id: str = USER) -> str:
    """Return the first line of what is found."""
    comments = {name.lower(): value for name, value in COMMENTS.items()}
    settings = Settings.model_validate({**rows, **comments, "webhook_user_id": user_id})
    [finding] = check_webhook(settings)
    return finding.text.splitlines()[0]


def test_comments_need_a_user_with_an_active_project(
    database: Database, rows: dict[str, Any]
) -> None:
    assert finding(rows, NOBODY) == NO_USER
    assert finding(rows) == NO_PROJECT
    project_id = database.create_project(USER, project_fields()).id
    database.create_project(USER, project_fields("another"))
    assert finding(rows) == "ok       webhook: comments start tasks in octo/another, octo/demo"
    database.update_project(USER, project_id, {"is_active": False})
    assert finding(rows) == "ok       webhook: comments start tasks in octo/another"


def test_projects_are_found_by_their_address_on_github(
    database: Database, rows: dict[str, Any]
) -> None:
    for number, repo_url in enumerate(
        (
            "https://github.com/octo/demo/",
            "git@github.com:octo/demo.git",
            "ssh://git@github.com/octo/other",
            "file:///srv/git/local",
            "https://git.example/octo/away",
            "no address",
        )
    ):
        fields = project_fields(f"project-{number}") | {"repo_url": repo_url}
        database.create_project(USER, fields)
    assert finding(rows) == "ok       webhook: comments start tasks in octo/demo, octo/other"
    for project in database.list_projects(USER):
        if "github.com" in project.repo_url:
            database.update_project(USER, project.id, {"is_active": False})
    assert finding(rows) == NO_PROJECT


def test_what_the_webhook_lacks_is_reported_with_what_to_do(tmp_path: Path) -> None:
    doctor = Doctor(tmp_path, "127.0.0.1:1")
    code, output = doctor.ask(COMMENTS | {"GITHUB_API_URL": "http://127.0.0.1:1/api/v3"})
    assert code == 1
    assert NO_USER in output
    assert "the id in the answer of GET /users/me" in output
    assert SECRET not in output
    assert list(tmp_path.iterdir()) == [], "looking changes nothing"
    code, output = doctor.ask({"WEBHOOK_TASKS": "true"})
    assert code == 1
    for name in ("GITHUB_WEBHOOK_SECRET", "WEBHOOK_USER_ID", "GITHUB_APP_ID or GITHUB_TOKEN"):
        assert name in output
    assert "set the missing settings" in output


def test_a_webhook_without_comments_needs_nobody() -> None:
    assert list(check_webhook(Settings(_env_file=None))) == []
    [finding] = check_webhook(Settings(_env_file=None, github_webhook_secret=SECRET))
    assert finding.text == "ok       webhook: deliveries are accepted; comments start no tasks"
