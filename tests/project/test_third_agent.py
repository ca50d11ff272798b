"""A new agent is its own file, a line of the registry, two settings and lines of e2b.Dockerfile."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

import pytest

from tests.fakes.agents.parrot import PARROT_PROGRAM
from tests.fakes.e2b.server import E2BServer
from tests.support.agents.third_agent import PARROT, copy_with_parrot
from tests.support.e2b.preloaded_cloud import PreloadedCloud
from tests.support.e2b.template_tools import VERSION_LINES, install, missing_in_template
from tests.support.git.repositories import make_repository
from tests.support.live_server import Client, Json, LiveServer
from tests.support.source_files import ROOT, python_files, syntax_tree
from utils.agents.registry import PROGRAMS
from utils.commands.agents_table import PAGE, agents_table
from utils.commands.build_template import Recipe
from utils.sandboxes.templates.definitions import BASE, read_definitions

SERVER_KEY, OWN_KEY = "sk-parrot-of-the-server", "sk-parrot-of-a-user"

pytestmark = pytest.mark.with_all("the record of an agent is the same", environment="e2b")

ALLOWED = (
    "utils/agents/registry.py",
    "utils/config/groups/cloud.py",
    "utils/pipeline/capture/secret_search.py",
    "tests/*",
    "benchmarks/*",
)
"""Files that may name an agent besides its own file; tests and benchmarks use agents.

The search for secrets knows the keys of many services, whether an agent uses them or not.
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a copy of the project with a third agent."""
    return copy_with_parrot(tmp_path_factory.mktemp("parrot") / "project")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide the programs of a template that has the third agent as well."""
    folder = tmp_path_factory.mktemp("tools")
    for name, line in VERSION_LINES.items():
        install(folder, name, line)
    (folder / "parrot").symlink_to(PARROT / "parrot")
    return folder


@pytest.fixture(scope="module", params=["local", "e2b"])
def environment(request: pytest.FixtureRequest, tools: Path) -> Iterator[Mapping[str, str]]:
    """Provide the settings that have the real agents work, in local folders and in the cloud."""
    key = {"PARROT_API_KEY": SERVER_KEY}
    if request.param == "local":
        path = f"{tools}:{os.environ['PATH']}"
        yield {**key, "SIMULATE_WITH_REAL_AGENT": "true", "PATH": path}
        return
    with PreloadedCloud() as cloud:
        cloud.configure(tools=str(tools), templates=["async-code"])
        yield {**key, **cloud.environment}


@pytest.fixture(scope="module")
def client(
    project: Path, environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    """Provide a user of a server with the third agent."""
    server = LiveServer(tmp_path_factory.mktemp("live") / "server")
    server.source = project
    try:
        server.start(**environment)
        yield server.client()
    finally:
        server.stop()


def run_parrot(client: Client, folder: Path, **more: str) -> tuple[Json, str]:
    """Run a task; return its row and the only message of its agent."""
    repository = make_repository(folder / "repository")
    task_id = client.start("Polly wants a cracker", str(repository), model="parrot", **more)
    client.wait_for(task_id, "completed")
    events = client.get(f"/tasks/{task_id}/events").body["events"]
    (message,) = [event["data"]["text"] for event in events if event["kind"] == "message"]
    return client.task(task_id), message


def run_doctor(project: Path, folder: Path, environment: Mapping[str, str]) -> str:
    """Run the doctor of a project, which must find no problem; return its output."""
    ended = subprocess.run(
        [sys.executable, "-m", "utils.commands.doctor"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(project),
            "ALLOWED_GIT_HOSTS": "127.0.0.1:1",
            **environment,
        },
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def digest(key: str) -> str:
    """Return the beginning of a key's hash, as the program prints it."""
    return sha256(key.encode()).hexdigest()[:16]


def test_a_third_agent_does_a_task_with_the_servers_key(client: Client, tmp_path: Path) -> None:
    row, message = run_parrot(client, tmp_path)
    assert message == f"model green, key {digest(SERVER_KEY)}, quiet 1"
    assert row["changed_files"] == ["PARROT.md"]
    assert "+Polly wants a cracker" in row["git_diff"]
    assert row["chat_messages"][-1]["content"] == "The prompt is in PARROT.md."
    assert row["execution_metadata"]["agent_program"] == "parrot"


def test_a_third_agent_has_models(client: Client, tmp_path: Path) -> None:
    _, message = run_parrot(client, tmp_path, agent_model="grey")
    assert message.startswith("model grey,")
    body = {"prompt": "x", "repo_url": str(tmp_path), "model": "parrot", "agent_model": "blue"}
    answer = client.post("/start-task", body)
    assert (answer.code, answer.body["code"]) == (400, "unknown_model")
    assert "green, grey" in answer.body["error"]


def test_a_third_agent_shows_its_status(client: Client) -> None:
    agents = client.get("/health/ready").body["agents"]
    (status,) = [agent for agent in agents if agent["name"] == "parrot"]
    assert status == {"name": "parrot", "usable": True, "simulated": False, "reason": None}


def test_a_user_has_preferences_for_a_third_agent(client: Client, tmp_path: Path) -> None:
    own = {"env": {"PARROT_API_KEY": OWN_KEY}}
    answer = client.put("/users/me", {"preferences": {"parrot": own}})
    assert answer.code == 200, answer
    stored = client.get("/users/me").body["user"]["preferences"]
    assert stored["parrot"]["env"] == {"PARROT_API_KEY": "[stored]"}
    _, message = run_parrot(client, tmp_path)
    assert f"key {digest(OWN_KEY)}," in message


def test_the_doctor_checks_the_key_of_a_third_agent(
    project: Path, tools: Path, tmp_path: Path
) -> None:
    path = f"{tools}:{os.environ['PATH']}"
    real = {"SIMULATE_WITH_REAL_AGENT": "true", "PATH": path, "PARROT_API_KEY": SERVER_KEY}
    output = run_doctor(project, tmp_path, real)
    assert "ok       agent parrot: its key is set\n" in output


def test_the_doctor_checks_the_version_of_a_third_agent(
    project: Path, cloud: E2BServer, tools: Path, tmp_path: Path
) -> None:
    for name in VERSION_LINES:
        (tmp_path / name).symlink_to(tools / name)
    install(tmp_path, "parrot", "parrot 3.2")
    cloud.configure(tools=str(tmp_path), templates=["async-code"])
    output = run_doctor(project, tmp_path, cloud.environment)
    assert "warning  agent parrot: Parrot has no key. Set PARROT_API_KEY" in output
    assert "warning  parrot is 3.2; 3.1.4 was tested\n" in output


def test_the_check_of_the_template_includes_a_third_agent(project: Path) -> None:
    with_parrot = Recipe(read_definitions(project)[BASE]).steps
    assert missing_in_template(PARROT_PROGRAM, with_parrot) == []
    older = [step.replace("3.1.4", "3.1.3") for step in with_parrot]
    assert missing_in_template(PARROT_PROGRAM, older) == ["ENV PARROT_VERSION 3.1.4"]
    without = Recipe(read_definitions(ROOT)[BASE]).steps
    assert len(missing_in_template(PARROT_PROGRAM, without)) == 3


def test_the_page_about_agents_lists_the_registry() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert agents_table() in page, "run: python -m utils.commands.agents_table"


def names_in_code(path: Path, words: frozenset[str]) -> Iterator[str]:
    """Yield the names and texts of a file's code that contain one of the words.

    Docstrings are left out, and comments are no part of the tree.
    """
    tree = syntax_tree(path)
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        found = [value for name, value in ast.iter_fields(node) if isinstance(value, str)]
        if id(node) not in texts:
            yield from (text for text in found if any(word in text.lower() for word in words))


def test_an_agent_is_named_in_its_four_places_only() -> None:
    words = frozenset(
        word.lower() for one in PROGRAMS for word in (one.command, one.provider, one.sections[0])
    )
    own = tuple(f"utils/agents/{program.command}.py" for program in PROGRAMS)
    named = {
        str(path): names
        for path in python_files()
        if not any(fnmatchcase(str(path), pattern) for pattern in (*ALLOWED, *own))
        and (names := list(names_in_code(path, words)))
    }
    assert named == {}
