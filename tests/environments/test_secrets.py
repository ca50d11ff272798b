"""Tests of the secrets of a project: who gets them, who sees them, and how they are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from database import Database
from tests.support.backends import USER as OWNER
from tests.support.backends import Backend, Repository, shell_agent
from tests.support.database.samples import LATER, STRANGER, USER, project_fields
from utils.commands.rotate_keys import CURRENT, RENEWED, UNREADABLE, rotate_keys
from utils.credentials.project_secrets import open_secrets, seal_secret
from utils.credentials.vault import Vault
from utils.database.shared import MAX_PROJECT_SECRETS
from utils.errors import Conflict, NotFound, TaskError
from utils.models.environments import ProjectSecret

DEPLOY, REGISTRY = "for-the-agent-0f1e2d3c", "for-the-setup-9a8b7c6d"
OLD, NEW = (SecretStr(f"key {name} of at least thirty-two characters") for name in "ab")


@pytest.fixture(scope="module", autouse=True)
def _shell() -> Iterator[None]:
    with shell_agent():
        yield


def sender(backend: Backend) -> Callable[..., tuple[int, Any]]:
    """Return a function that sends a request as the owner, or as another user."""
    client = backend.app.test_client()

    def send(method: str, path: str, user: str = OWNER, **body: Any) -> tuple[int, Any]:
        sent = body if method == "PUT" else None
        answer = client.open(path, method=method, headers={"X-User-ID": user}, json=sent)
        return answer.status_code, answer.get_json()

    return send


def test_the_setup_has_all_secrets_and_the_agent_only_its_own(
    backend: Backend, tmp_path: Path
) -> None:
    repository = Repository(tmp_path / "repository")
    repository.commit("echo first >file")
    settings = {"environment": {"setup": 'echo "$REGISTRY_TOKEN $DEPLOY_TOKEN"; env | wc -l'}}
    made = backend.post("/projects", name="P", repo_url=repository.url, settings=settings)
    project_id = made["project"]["id"]
    path, send = f"/projects/{project_id}/secrets", sender(backend)
    assert send("PUT", f"{path}/DEPLOY_TOKEN", value=DEPLOY, for_agent=True)[0] == 200
    status, answer = send("PUT", f"{path}/REGISTRY_TOKEN", value=REGISTRY)
    assert (status, answer["secret"]["for_agent"], "value" in answer["secret"]) == (
        200,
        False,
        False,
    )
    listed = send("GET", path)[1]["secrets"]
    assert [one["name"] for one in listed] == ["DEPLOY_TOKEN", "REGISTRY_TOKEN"]
    prompt = (
        'echo "${REGISTRY_TOKEN:-none} ${#DEPLOY_TOKEN}"; echo "$DEPLOY_TOKEN" | rev; '
        f"echo {REGISTRY[:9]}; printf %s%s {REGISTRY[:12]} {REGISTRY[12:]}"
    )
    row = backend.complete(prompt, repository, project_id=project_id)
    shown = repr(backend.events(row["id"])) + repr(row) + repr(backend.get("/projects"))
    assert backend.output(row["id"]).startswith(f"none {len(DEPLOY)}\n{DEPLOY[::-1]}\n")
    assert "'output': '[redacted] [redacted]" in shown
    assert DEPLOY not in shown
    assert REGISTRY not in shown
    assert send("DELETE", f"{path}/REGISTRY_TOKEN")[0] == 200
    assert send("DELETE", f"{path}/REGISTRY_TOKEN")[0] == 404


@pytest.mark.local_only("the answers of requests")
def test_secrets_of_another_user_do_not_exist(backend: Backend) -> None:
    made = backend.post("/projects", name="P", repo_url="https://github.com/octo/secrets")
    path, send = f"/projects/{made['project']['id']}/secrets", sender(backend)
    assert send("PUT", f"{path}/TOKEN", value="a value")[0] == 200
    for method, place in (("GET", path), ("PUT", f"{path}/TOKEN"), ("DELETE", f"{path}/TOKEN")):
        body = {"value": "another"} if method == "PUT" else {}
        assert send(method, place, STRANGER, **body)[0] == 404
    assert len(send("GET", path)[1]["secrets"]) == 1
    for name in ("LD_PRELOAD", "a-b", "x" * 101):
        assert send("PUT", f"{path}/{name}", value="a")[1]["code"] == "invalid_request"
        assert send("DELETE", f"{path}/{name}")[0] == 404
    status, answer = send("PUT", f"{path}/TOKEN", value="a\0b-never-repeated")
    assert (status, "never-repeated" in str(answer)) == (400, False)


def secret(project_id: int, name: str = "TOKEN", sealed: str = "sealed") -> ProjectSecret:
    """Return a secret to store."""
    return ProjectSecret(project_id, name, sealed, for_agent=True, updated_at=LATER)


def test_every_database_keeps_secrets_with_their_project(database: Database) -> None:
    project_id = database.create_project(USER, project_fields()).id
    first = secret(project_id)
    database.put_project_secret(USER, first)
    for call in (
        lambda: database.put_project_secret(STRANGER, first),
        lambda: database.list_project_secrets(STRANGER, project_id),
        lambda: database.delete_project_secret(STRANGER, project_id, "TOKEN"),
        lambda: database.delete_project_secret(USER, project_id, "OTHER"),
    ):
        with pytest.raises(NotFound):
            call()
    for number in range(1, MAX_PROJECT_SECRETS):
        database.put_project_secret(USER, secret(project_id, f"T{number}"))
    with pytest.raises(Conflict):
        database.put_project_secret(USER, secret(project_id, "ONE_MORE"))
    changed = secret(project_id, sealed="other")
    database.put_project_secret(USER, changed)
    stored = database.list_project_secrets(USER, project_id)
    assert (len(stored), stored[-1]) == (MAX_PROJECT_SECRETS, changed)
    assert not database.reseal_project_secret(first, "late")
    assert database.list_secret_projects() == [(project_id, USER)]
    assert database.list_secret_projects(project_id) == []
    database.delete_project(USER, project_id)
    assert database.list_secret_projects() == []


def test_the_rotation_of_keys_covers_secrets(database: Database) -> None:
    project_id = database.create_project(USER, project_fields()).id
    before, meanwhile, afterwards = Vault(OLD), Vault(NEW, OLD), Vault(NEW)
    text = SecretStr("a value")
    kept = seal_secret(before, USER, project_id, "TOKEN", text, for_agent=False)
    database.put_project_secret(USER, kept)
    database.put_project_secret(USER, secret(project_id, "MOVED", kept.sealed))
    assert rotate_keys(database, meanwhile) == {RENEWED: 1, UNREADABLE: 1}
    assert rotate_keys(database, meanwhile) == {CURRENT: 1, UNREADABLE: 1}
    moved, renewed = database.list_project_secrets(USER, project_id)
    assert open_secrets(afterwards, USER, [renewed]).for_setup == {"TOKEN": "a value"}
    assert open_secrets(afterwards, USER, [renewed]).for_agent == {}
    with pytest.raises(TaskError, match="Store it again with PUT"):
        open_secrets(meanwhile, USER, [moved])
