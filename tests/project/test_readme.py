"""The claims of README and of the other documents are true."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.server import Server
from tests.fakes.github.service import FakeGitHub
from tests.support.github_names import NAME, TOKEN
from tests.support.source_files import ROOT
from utils.commands.env_example import env_example, settings_table
from utils.errors import BranchChanged, PushRefused, TaskError
from utils.github.refusal_rules import APP_PERMISSION

README = (ROOT / "README.md").read_text(encoding="utf-8")

UTILS = ROOT / "utils"

# Stands where codes stand, and is a key of what is stored.
NOT_CODES = frozenset({"tree_hash"})

GIT_IDENTITY = {
    "GIT_AUTHOR_NAME": "Reader",
    "GIT_AUTHOR_EMAIL": "reader@example.com",
    "GIT_COMMITTER_NAME": "Reader",
    "GIT_COMMITTER_EMAIL": "reader@example.com",
}

# An error answer must end the script, although the page's own commands do not ask for that.
STRICT = 'set -eu -o pipefail\ncurl() { command curl --fail-with-body --show-error "$@"; }\n'


def find_lines(pattern: str, text: str) -> list[str]:
    """Return what the group of a pattern matches wherever a line begins with the pattern."""
    return re.findall("^" + pattern, text, re.MULTILINE)


@pytest.fixture
def server(tmp_path: Path, served_github: FakeGitHub) -> Iterator[Server]:
    environment = {**os.environ, "GITHUB_API_URL": served_github.api_url}
    with Server(tmp_path / "data", environment) as running:
        running.wait_ready()
        yield running


def test_the_examples_work_from_top_to_bottom(
    server: Server, served_github: FakeGitHub, tmp_path: Path
) -> None:
    script = STRICT + "\n".join(find_lines(r"```(?:ba)?sh\n((?:.*\n)*?)```", README))
    script = script.replace("http://127.0.0.1:8000", server.url)
    script = script.replace("https://github.com/you/project", f"{served_github.url}/{NAME}")
    result = subprocess.run(
        [
            "bash",
            "-c",
            script.replace("https://github.com/you/project", f"{served_github.url}/{NAME}"),
        ],
        env={**os.environ, **GIT_IDENTITY, "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        input=f"{TOKEN}\n",
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "AI_GENERATED.md" in result.stdout
    assert '"cancelled"' in result.stdout
    (pull,) = served_github.pulls(NAME)
    assert f"/{NAME}/pull/{pull.number}" in result.stdout


def endpoints_of_readme() -> set[str]:
    rows = find_lines(r"\| `((?:GET|POST|PUT|DELETE)[^`]*)`", README)
    return {re.sub(r"\{\w+\}", "{}", row) for row in rows}


def endpoints_of_openapi() -> set[str]:
    paths = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))["paths"]
    return {
        f"{method.upper()} {re.sub(r'{[^}]+}', '{}', path.removeprefix('/api'))}"
        for path, operations in paths.items()
        for method in operations
        if method in {"get", "post", "put", "delete"}
    }


def test_readme_lists_the_endpoints() -> None:
    assert endpoints_of_readme() == endpoints_of_openapi()


def test_readme_lists_the_settings() -> None:
    assert settings_table() in README, "run: python -m utils.commands.env_example"


def test_the_example_environment_lists_the_settings() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert text == env_example(), "run: python -m utils.commands.env_example"


def test_readme_lists_the_commands() -> None:
    script = (ROOT / "run.sh").read_text(encoding="utf-8")
    commands = set(find_lines(r"  ([\w-]+)  +\w", script)) - {"help"}
    assert set(find_lines(r"\| `\./run\.sh ?([\w-]*)`", README)) - {""} == commands - {"serve"}
    handled = " | ".join(find_lines(r"        ([a-z][a-z |-]*)\) ", script)).split(" | ")
    assert commands <= set(handled)


def test_readme_has_a_remedy_for_each_error_code_of_a_task() -> None:
    sources = [path.read_text(encoding="utf-8") for path in sorted(UTILS.rglob("*.py"))]
    kinds: set[type[TaskError]] = {TaskError, *subclasses(TaskError)}
    raised = set().union(
        *(codes_given(source, {kind.__name__ for kind in kinds}) for source in sources)
    )
    # Where a table or a function of its own chooses the code, it stands at the end of a line.
    named = find_lines(r' +"((?:e2b|sandbox|clone|repo|agent|capture)_\w+)",?$', "".join(sources))
    defaults = {kind.default_code for kind in kinds - {TaskError}}
    listed = set(re.findall(r"`(\w+)`", "".join(find_lines(r"\| (`.*?) \|", README))))
    assert {"e2b_rate_limited", "agent_not_configured", "clone_timeout"} <= {*raised, *named}
    assert {"token_unreadable", "internal_error", "interrupted"} <= raised
    assert {*raised, *named, *defaults} - listed == set()


def test_readme_has_a_remedy_for_each_error_code_of_a_pull_request() -> None:
    places = ("push/*.py", "pull_requests/*.py", "credentials/github_resolver.py", "github/app.py")
    files = [path for place in places for path in sorted(UTILS.glob(place))]
    sources = [path.read_text(encoding="utf-8") for path in files]
    # Codes stand at the end of a line, where tables and calls are wrapped.
    found = set(re.findall(r'[ (]"([a-z]+(?:_[a-z]+)+)",?\)?$', "\n".join(sources), re.MULTILINE))
    found |= {BranchChanged.default_code, PushRefused.default_code, "repository_not_on_github"}
    found |= {APP_PERMISSION}
    listed = set(re.findall(r"`(\w+)`", "".join(find_lines(r"\| (`.*?) \|", README))))
    assert {"task_not_ended", "title_not_conventional", "push_too_large"} <= found
    assert found - listed - NOT_CODES == set()


def codes_given(source: str, kinds: set[str]) -> Iterator[str]:
    """Yield the codes with which a source makes errors of these kinds, or stores one itself."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        given = [one.value for one in call.keywords if one.arg in {"code", "error_code"}]
        if isinstance(call.func, ast.Name) and call.func.id in kinds:
            given += call.args[1:2]
        for node in (node for value in given for node in ast.walk(value)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def subclasses(kind: type[TaskError]) -> Iterator[type[TaskError]]:
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


def test_the_help_is_printed_for_an_unknown_command() -> None:
    result = subprocess.run(
        ["./run.sh", "unknown"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "Usage: ./run.sh [command]" in result.stderr


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_each_library_has_its_reason() -> None:
    lists = [(ROOT / name).read_text() for name in ("requirements.txt", "requirements-dev.txt")]
    required = [name for text in lists for name in find_lines(r"(\w[\w-]*)", text)]
    reasons = (ROOT / "docs/decisions/libraries.md").read_text(encoding="utf-8")
    assert find_lines(r"\| `([\w-]+)`", reasons) == required
