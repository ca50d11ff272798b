"""Each real program alone: what it changes, what it prints, how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.models import anthropic as model_anthropic
from tests.fakes.models import openai as model_openai
from tests.fakes.models.server import Model
from tests.real_agents.runs import KEY, Perform
from tests.support.backends import Repository, git
from utils.agents.claude import CLAUDE, CLAUDE_CODE
from utils.agents.codex import CODEX
from utils.agents.spec import AgentSpec

CLAUDE_RETRIES = int(CLAUDE_CODE.environment["CLAUDE_CODE_MAX_RETRIES"])
AGENTS = [pytest.param(CLAUDE, id="claude"), pytest.param(CODEX, id="codex")]
PROMPT = "do write hello.txt Hello\ndo shell echo more >>README.md\ndo say I wrote it."
QUOTES = (
    'it\'s "quoted" `touch ticks` $(touch dollars) \\ ; touch semicolon & | %s \u00e9 \U0001f98a'
)


def changes(repository: Repository) -> list[str]:
    return git(repository.folder, "status", "--short", "--untracked-files=all").splitlines()


@pytest.mark.parametrize("agent", AGENTS)
def test_a_program_edits_the_repository_and_says_so(
    agent: AgentSpec, run: Perform, repository: Repository, model: Model
) -> None:
    done = run(agent, PROMPT)
    assert (done.exit_code, done.error) == (0, None), done.stderr
    assert changes(repository) == [" M README.md", "?? hello.txt"]
    assert (repository.folder / "hello.txt").read_text() == "Hello\n"
    assert done.reader.summary == "I wrote it."
    assert done.of_kind("result") == [{"text": "I wrote it."}]
    assert {request.key for request in model.requests} == {KEY}
    assert all(line["type"] for line in done.lines)


@pytest.mark.parametrize("agent", AGENTS)
def test_every_line_of_a_good_run_is_understood(agent: AgentSpec, run: Perform) -> None:
    done = run(agent, PROMPT)
    assert [data for data in done.of_kind("output") if data["stream"] == "stdout"] == []
    assert done.of_kind("error") == []
    tools = done.of_kind("tool")
    assert len({data["id"] for data in tools}) == 2
    assert any("echo more >>README.md" in data.get("input", "") for data in tools)
    assert not any(data.get("failed") for data in tools)


def test_claude_goes_on_after_a_result_when_a_command_ends_in_the_background(
    run: Perform, repository: Repository
) -> None:
    done = run(CLAUDE, "do background sleep 2; echo late >late.txt\ndo say It runs.")
    assert (done.exit_code, done.error) == (0, None), done.stderr
    assert changes(repository) == ["?? late.txt"]
    assert [line["type"] for line in done.lines].count("result") == 2
    assert [data for data in done.of_kind("output") if data["stream"] == "stdout"] == []
    first, *_, last = [number for number, (kind, _) in enumerate(done.events) if kind == "result"]
    assert any(kind == "status" for kind, _ in done.events[first:last])
    assert done.reader.finished
    # A request for the call, one after it, and one when the command has ended.
    assert done.reader.details["usage"]["output_tokens"] == 3 * model_anthropic.OUTPUT_TOKENS


def test_claude_tells_session_tokens_and_cost(run: Perform, model: Model) -> None:
    details = run(CLAUDE, PROMPT).reader.details
    each, cached = model_anthropic.INPUT_TOKENS, model_anthropic.CACHED_TOKENS
    assert len(model.requests) == 3
    assert details["usage"] == {
        "input_tokens": 3 * (each + cached),
        "cached_input_tokens": 3 * cached,
        "output_tokens": 3 * model_anthropic.OUTPUT_TOKENS,
    }
    assert details["agent_session_id"] in str(model.requests[0].body["metadata"])
    assert details["cost_usd"] > 0
    assert details["num_turns"] == 3


def test_codex_tells_session_and_tokens(run: Perform, model: Model) -> None:
    details = run(CODEX, PROMPT).reader.details
    assert len(model.requests) == 3
    assert details["usage"] == {
        "input_tokens": 3 * model_openai.INPUT_TOKENS,
        "cached_input_tokens": 3 * model_openai.CACHED_TOKENS,
        "output_tokens": 3 * model_openai.OUTPUT_TOKENS,
    }
    assert details["agent_session_id"] == model.requests[0].headers["session-id"]


@pytest.mark.parametrize("agent", AGENTS)
def test_a_long_prompt_full_of_quotes_arrives_as_it_is(
    agent: AgentSpec, run: Perform, repository: Repository, model: Model, tmp_path: Path
) -> None:
    prompt = f"--help\n{QUOTES}\n" * 1000 + "do write a.txt A"
    assert len(prompt) > 80_000
    before = sorted(path.name for path in tmp_path.iterdir())
    done = run(agent, prompt)
    assert (done.exit_code, done.error) == (0, None), done.stderr
    assert prompt in model.requests[0].user_text
    assert changes(repository) == ["?? a.txt"]
    new = {path.name for path in tmp_path.iterdir()} - set(before)
    assert not new & {"ticks", "dollars", "semicolon"}


@pytest.mark.parametrize("agent", AGENTS)
def test_a_command_that_fails_does_not_end_the_run(agent: AgentSpec, run: Perform) -> None:
    done = run(agent, "do shell echo broken >&2; exit 3\ndo write a.txt A")
    assert (done.exit_code, done.error) == (0, None), done.stderr
    failed = [data for data in done.of_kind("tool") if data.get("failed")]
    assert len(failed) == 1
    assert "broken" in failed[0]["output"]


@pytest.mark.parametrize(
    ("agent", "requests"), [(CLAUDE, 1 + CLAUDE_RETRIES), (CODEX, 6)], ids=["claude", "codex"]
)
def test_a_refused_key_is_reported_after_few_tries(
    agent: AgentSpec, requests: int, run: Perform, repository: Repository, model: Model
) -> None:
    model.key = "another"
    done = run(agent, PROMPT)
    assert done.exit_code == 1
    assert done.error is not None
    assert done.error.code == "agent_auth_failed"
    assert len(model.requests) == requests
    assert changes(repository) == []


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("status", [429, 500, 529])
def test_an_overloaded_provider_is_reported(
    agent: AgentSpec, status: int, run: Perform, model: Model
) -> None:
    model.refuse(status)
    done = run(agent, PROMPT)
    assert done.exit_code == 1
    assert done.error is not None
    assert done.error.code == "agent_failed"
    assert "overloaded or limits the rate" in done.error.message


@pytest.mark.parametrize("agent", AGENTS)
def test_an_overload_that_passes_does_no_harm(
    agent: AgentSpec, run: Perform, repository: Repository, model: Model
) -> None:
    model.refuse(529, times=1)
    done = run(agent, PROMPT)
    assert (done.exit_code, done.error) == (0, None), done.stderr
    assert len(model.requests) == 4
    assert changes(repository) == [" M README.md", "?? hello.txt"]


@pytest.mark.parametrize("agent", AGENTS)
def test_an_unknown_model_is_reported(agent: AgentSpec, run: Perform, model: Model) -> None:
    model.refuse(404)
    done = run(agent, PROMPT)
    assert done.exit_code == 1
    assert done.error is not None
    assert done.error.code == "agent_failed"
    assert "does not know the model" in done.error.message


def test_codex_works_with_a_model_it_does_not_know(
    run: Perform, repository: Repository, model: Model
) -> None:
    done = run(CODEX, PROMPT, model="house-model-1")
    assert (done.exit_code, done.error) == (0, None), done.stderr
    assert "`house-model-1` not found" in done.of_kind("error")[0]["message"]
    assert {request.body["model"] for request in model.requests} == {"house-model-1"}
    assert changes(repository) == [" M README.md", "?? hello.txt"]


def test_claude_stops_at_its_turn_limit_and_keeps_its_work(
    run: Perform, repository: Repository
) -> None:
    done = run(CLAUDE, PROMPT, "--max-turns", "1")
    assert done.exit_code == 1
    assert done.error is not None
    assert "error_max_turns" in done.error.message
    assert done.reader.finished
    assert changes(repository) == ["?? hello.txt"]


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("prompt", ["/help me", "/review the code", "/compact", " /cost", "!ls"])
def test_a_prompt_that_looks_like_a_command_reaches_the_model_as_text(
    agent: AgentSpec, prompt: str, run: Perform, model: Model
) -> None:
    done = run(agent, prompt)
    assert (done.exit_code, done.error, done.reader.summary) == (0, None, "Done.")
    assert prompt.strip() in str(model.requests[0].body)
