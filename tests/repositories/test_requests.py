"""Requests for tasks over several repositories: those that are understood, and those refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import Backend, Repository, git
from utils.git.folder_names import folder_names

pytestmark = pytest.mark.local_only("nothing of it is about the sandbox")


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> list[Repository]:
    """Provide six repositories, of which two have the same name."""
    folder: Path = tmp_path_factory.mktemp("origins")
    found = [Repository(folder / name) for name in ("app", "a/lib", "b/lib", "c", "d", "e")]
    for one in found:
        one.commit("echo one >one.txt")
        git(one.folder, "checkout", "--quiet", "-b", "next")
        one.commit("echo next >next.txt")
    return found


def wanted(*repositories: Repository, **more: Any) -> list[dict[str, Any]]:
    return [{"repo_url": one.url, **more} for one in repositories]


@pytest.mark.parametrize("form", ["beside", "first", "alone"])
def test_the_first_repository_may_be_named_in_three_ways(
    backend: Backend, origins: list[Repository], form: str
) -> None:
    app, lib, other = origins[:3]
    repositories = wanted(lib, other) if form == "beside" else wanted(app, lib, other)
    body: dict[str, Any] = {"prompt": "Say hello", "repositories": repositories, "branch": "main"}
    if form != "alone":
        body["repo_url"] = app.url
    started = backend.post("/start-task", **body, idempotency_key=form)
    assert backend.post("/start-task", **body, idempotency_key=form) == started
    row = backend.wait(started["task_id"])
    assert row["status"] == "completed", row["error"]
    assert (row["repo_url"], row["branch"]) == (app.url, "main")
    found = row["repositories"]
    assert [one["name"] for one in found] == ["app", "lib", "lib-2"]
    assert [one["branch"] for one in found] == ["main", "next", "next"]
    # Without an AI each repository gets its own file.
    assert [one["changed_files"] for one in found] == [["AI_GENERATED.md"]] * 3
    assert [one["base_commit"] for one in found][1:] == [lib.head, other.head]


def test_one_repository_is_a_task_as_before(backend: Backend, origins: list[Repository]) -> None:
    row = backend.complete("Say hello", origins[0], repositories=wanted(origins[0]))
    assert "repositories" not in row
    assert row["changed_files"] == ["AI_GENERATED.md"]
    assert "repositories" not in backend.status(row["id"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda o: {"repositories": wanted(*o[1:6])}, "5 repositories at most"),
        (lambda o: {"repositories": wanted(o[1], o[1])}, "name each repository once"),
        (lambda o: {"repositories": wanted(o[1], o[0])}, "name each repository once"),
        (lambda o: {"repositories": wanted(o[1]), "attempts": 2}, "work in one repository"),
        (lambda _: {"repositories": [{"branch": "main"}]}, "repositories.0.repo_url: is required"),
        (lambda o: {"repositories": wanted(o[1], x=1)}, "repositories.0 has an unknown field"),
        (lambda o: {"repositories": wanted(o[1], branch="a..b")}, "The branch name"),
        (
            lambda o: {"repositories": wanted(o[0], branch="next"), "branch": "main"},
            "another branch of the same repository",
        ),
        (lambda _: {"repositories": [{"repo_url": "ftp://a/b"}]}, "addresses can be used"),
        (lambda _: {"repo_url": None}, "repo_url: is required"),
    ],
)
def test_other_requests_are_refused(
    backend: Backend, origins: list[Repository], change: Any, said: str
) -> None:
    answer = backend.post(
        "/start-task", **{"prompt": "Hello", "repo_url": origins[0].url, **change(origins)}
    )
    assert answer["http_status"] == 400
    assert said in answer["error"]


def test_a_failed_clone_names_its_repository(backend: Backend, origins: list[Repository]) -> None:
    row = backend.perform("Hello", origins[0], repositories=wanted(origins[1], branch="none"))
    assert (row["error_code"], row["error_stage"]) == ("branch_not_found", "cloning")
    assert row["error"].startswith("lib: ")


@pytest.mark.parametrize(
    ("urls", "names"),
    [
        (["https://h/a/x", "https://h/b/X.git", "https://h/c/x-2"], ["x", "X-2", "x-2-2"]),
        (["https://h/a/.git", "file:///a/..."], ["repository", "repository-2"]),
        (["https://h/a/b%20c/", f"https://h/a/{'x' * 200}"], ["b-c", "x" * 100]),
        (["https://h/a/.github", "https://h/a/-rf"], ["github", "rf"]),
    ],
)
def test_folders_have_different_harmless_names(urls: list[str], names: list[str]) -> None:
    assert folder_names(urls) == names
