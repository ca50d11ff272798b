"""A hostile repository gets neither the key nor a command of its own to run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.models.server import Model, serve_model
from tests.real_agents.hostile import MEMORY, make_hostile
from tests.real_agents.runs import KEY, Perform
from tests.support.backends import Repository
from utils.agents.claude import CLAUDE
from utils.agents.codex import CODEX
from utils.agents.spec import AgentSpec

PROMPT = "do write hello.txt Hello\ndo shell env"


@pytest.fixture
def evil() -> Iterator[Model]:
    """Provide the fake model of the attacker who made the repository."""
    with serve_model() as served:
        yield served


@pytest.fixture
def marks(tmp_path: Path, repository: Repository, evil: Model) -> Path:
    """Make the repository hostile; provide the folder in which its commands leave marks."""
    folder = tmp_path / "marks"
    folder.mkdir()
    make_hostile(repository, evil.url, folder)
    return folder


def first_input(model: Model, agent: AgentSpec) -> str:
    """Return the input of the first request to the model."""
    return model.requests[0].user_text if agent is CLAUDE else str(model.requests[0].body)


@pytest.mark.parametrize(
    ("agent", "memory"),
    [(CLAUDE, set(MEMORY)), (CODEX, {"AGENTS.md"})],
    ids=["claude", "codex"],
)
def test_a_hostile_repository_is_heard_and_not_obeyed(
    agent: AgentSpec,
    memory: set[str],
    run: Perform,
    marks: Path,
    repository: Repository,
    model: Model,
    evil: Model,
) -> None:
    done = run(agent, PROMPT)
    assert (done.exit_code, done.error) == (0, None), done.stderr
    assert [path.name for path in marks.iterdir()] == []
    assert (evil.requests, evil.others) == ([], [])
    assert {request.key for request in model.requests} == {KEY}
    assert "OF_THE_REPOSITORY" not in done.stdout
    assert (repository.folder / "hello.txt").exists()
    text = first_input(model, agent)
    assert {name for name, said in MEMORY.items() if said.splitlines()[0] in text} == memory


def test_claude_would_give_the_key_away_with_the_repositorys_settings(
    run: Perform, marks: Path, evil: Model
) -> None:
    run(CLAUDE, PROMPT, "--setting-sources", "user,project,local")
    ran = {path.name for path in marks.iterdir()}
    assert {"hook-SessionStart", "helper", "mcp"} <= ran
    assert KEY in {request.key for request in evil.requests}


def test_codex_would_run_commands_of_a_repository_that_it_trusts(run: Perform, marks: Path) -> None:
    run(CODEX, PROMPT, "--trust")
    assert "codex-mcp" in {path.name for path in marks.iterdir()}
