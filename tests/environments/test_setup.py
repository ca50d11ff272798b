"""Tests of the setup of a project: before the agent, as files, and never a part of the changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import Backend, Open, Repository, Row, git, shell_agent
from tests.support.waiting import eventually

SETUP = """
set -e
mkdir -p tools && echo "$COLOUR $0" >tools/colour
echo changed >tracked.txt
echo 'a line'; echo "$COLOUR" >&2
"""


@pytest.fixture(scope="module", autouse=True)
def _shell() -> Iterator[None]:
    with shell_agent():
        yield


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Provide a repository of its own, because it can have one project."""
    made = Repository(tmp_path / "repository")
    made.commit("echo first >tracked.txt")
    return made


def project(backend: Backend, repository: Repository, **environment: Any) -> int:
    """Create a project with an environment; return its id."""
    settings = {"environment": environment, "mine": [1]}
    answer = backend.post("/projects", name="P", repo_url=repository.url, settings=settings)
    assert answer["http_status"] == 200, answer
    assert answer["project"]["settings"] == settings
    return int(answer["project"]["id"])


def setups(backend: Backend, task_id: int) -> list[Row]:
    """Return what the events of a task tell of its scripts."""
    return [one["data"] for one in backend.events(task_id) if one["kind"] == "setup"]


def test_a_setup_runs_before_the_agent_and_changes_nothing(
    backend: Backend, repository: Repository
) -> None:
    project_id = project(
        backend,
        repository,
        setup=SETUP,
        variables={"COLOUR": "dark blue"},
        check_command='test "$COLOUR" = "dark blue" && test -e tools/colour',
    )
    prompt = 'cat tools/colour tracked.txt; echo "$COLOUR" >new.txt; git status --porcelain'
    row = backend.complete(prompt, repository, project_id=project_id)
    assert row["changed_files"] == ["new.txt"]
    assert not row["execution_metadata"].get("notes")
    assert row["execution_metadata"]["stage_seconds"]["setup"] > 0
    assert row["execution_metadata"]["check"]["exit_code"] == 0
    [setup] = setups(backend, row["id"])
    assert (setup["script"], setup["exit_code"]) == ("setup", 0)
    assert setup["output"] == "a line\ndark blue"
    shown = backend.output(row["id"])
    assert shown.startswith("dark blue ")
    assert shown.endswith("setup.sh\nfirst\n?? new.txt\n")


def test_variables_of_a_user_keep_their_values_whatever_their_names(
    backend: Backend, repository: Repository
) -> None:
    # Names that are likely to be those of variables of our own scripts.
    names = [
        *("code", "directory", "err_line", "file", "folder", "follow", "group", "input"),
        *("kilobytes", "marked", "name", "out_line", "output", "reader", "round", "run"),
        *("scripts", "text", "tries", "work"),
    ]
    all_are_there = f"test $(env | grep -c '=hers$') = {len(names)}"
    project_id = project(
        backend,
        repository,
        setup=all_are_there,
        variables=dict.fromkeys(names, "hers"),
        check_command=all_are_there,
    )
    row = backend.complete(
        "env | grep '=hers$' | cut -d= -f1 | sort >found", repository, project_id=project_id
    )
    [setup] = setups(backend, row["id"])
    assert (setup["exit_code"], row["execution_metadata"]["check"]["exit_code"]) == (0, 0)
    assert row["git_diff"].endswith("".join(f"+{name}\n" for name in names))


@pytest.mark.local_only("the scripts of the pipeline are the same everywhere")
def test_a_script_of_the_repository_runs_when_the_project_says_so(
    backend: Backend, repository: Repository
) -> None:
    project_id = project(backend, repository, setup_from_repository=True, setup="echo first >a")
    without = backend.complete("cat a", repository, project_id=project_id)
    assert [one["script"] for one in setups(backend, without["id"])] == ["setup"]
    repository.commit("mkdir .async-code && echo 'cat a && echo two >b' >.async-code/setup.sh")
    row = backend.complete("cat a b", repository, project_id=project_id)
    assert [one["script"] for one in setups(backend, row["id"])] == ["setup", "repository"]
    assert backend.output(row["id"]) == "first\ntwo\n"


@pytest.mark.local_only("the scripts of the pipeline are the same everywhere")
def test_a_failed_setup_ends_the_task(backend: Backend, repository: Repository) -> None:
    project_id = project(backend, repository, setup="echo 'no such package' >&2; exit 7")
    row = backend.perform("echo never", repository, project_id=project_id)
    assert (row["status"], row["error_code"], row["error_stage"]) == (
        "failed",
        "setup_failed",
        "setup",
    )
    assert "exit code 7: no such package" in row["error"]
    [setup] = setups(backend, row["id"])
    assert (setup["exit_code"], setup["output"]) == (7, "no such package")
    assert backend.output(row["id"]) == ""


def test_a_setup_has_a_time_limit(backend: Backend, repository: Repository) -> None:
    project_id = project(
        backend, repository, setup="echo begun; sleep 300", setup_timeout_seconds=1.5
    )
    row = backend.perform("echo never", repository, project_id=project_id)
    assert (row["error_code"], row["error_stage"]) == ("setup_timeout", "setup")
    [setup] = setups(backend, row["id"])
    assert setup["output"] == "begun"
    assert "exit_code" not in setup


def test_a_cancel_ends_a_setup(backend: Backend, repository: Repository) -> None:
    project_id = project(backend, repository, setup="sleep 300")
    task_id = backend.start("echo never", repository, project_id=project_id)
    eventually(lambda: backend.status(task_id).get("stage") == "setup")
    assert backend.post(f"/tasks/{task_id}/cancel")["task"]["status"] == "cancelled"
    assert backend.wait(task_id)["error_stage"] == "setup"
    assert backend.sandboxes == []


@pytest.mark.cloud_with_all("the script is the same")
def test_a_kept_sandbox_gets_the_maintenance_instead(
    open_with: Open, repository: Repository
) -> None:
    backend = open_with(workspace_ttl_seconds=600)
    project_id = project(
        backend, repository, setup="echo setup >>made", maintenance="cat own; echo later >more"
    )
    task_id = backend.start("echo mine >own; cat made", repository, project_id=project_id)
    eventually(lambda: backend.status(task_id)["status"] == "completed")
    turn = {"role": "user", "content": "cat made more; echo 2 >own", "run": True}
    assert backend.post(f"/tasks/{task_id}/chat", **turn)["http_status"] == 200
    eventually(lambda: len(setups(backend, task_id)) == 2)
    eventually(lambda: backend.status(task_id)["status"] == "completed")
    assert [(one["script"], one["output"]) for one in setups(backend, task_id)] == [
        ("setup", ""),
        ("maintenance", "mine"),
    ]
    assert backend.output(task_id) == "setup\nsetup\nlater\n"
    assert backend.get(f"/tasks/{task_id}")["task"]["changed_files"] == ["own"]


@pytest.mark.local_only("the answer of a request")
def test_an_environment_is_checked_when_it_is_sent(
    backend: Backend, repository: Repository
) -> None:
    def refusal(environment: Any) -> str:
        answer = backend.post(
            "/projects",
            name="P",
            repo_url=repository.url,
            settings={"environment": environment},
        )
        assert (answer["http_status"], answer["code"]) == (400, "invalid_request")
        return str(answer["error"])

    unknown = refusal({"setup_script": "true"})
    assert unknown.startswith("settings: environment has an unknown key. Known keys: template, ")
    assert "setup_timeout_seconds" in unknown
    assert "environment.variables must have names" in refusal({"variables": {"LD_PRELOAD": "x"}})
    assert "environment.setup is not valid" in refusal({"setup": 5})
    assert refusal([]) == "settings: environment must be an object."
    assert git(repository.folder, "status", "--porcelain") == ""
