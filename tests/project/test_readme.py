"""README is true, and the commands of README and docs work from top to bottom."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.server import Server
from tests.fakes.github.service import FakeGitHub
from tests.support.answers import differences, parse_answers
from tests.support.github.names import NAME, TOKEN
from tests.support.markdown import blocks, read_page
from tests.support.source_files import ROOT

README = read_page("README.md")
MAX_README_BYTES = 12_000

# A new account: git has no configuration and does not guess a name from the account.
NEW_ACCOUNT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "user.useConfigOnly",
    "GIT_CONFIG_VALUE_0": "true",
}

# An error answer must end the script, although the page's own commands do not ask for that.
STRICT = 'set -eu -o pipefail\ncurl() { command curl --fail-with-body --show-error "$@"; }\n'
# Stands between the answers of two blocks.
BORDER = "--- next block ---"


def find_lines(pattern: str, text: str) -> list[str]:
    """Return what the group of a pattern matches wherever a line begins with the pattern."""
    return re.findall("^" + pattern, text, re.MULTILINE)


@pytest.fixture
def server(tmp_path: Path, served_github: FakeGitHub) -> Iterator[Server]:
    """Provide a server that knows a GitHub on this machine."""
    environment = {**os.environ, "GITHUB_API_URL": served_github.api_url}
    with Server(tmp_path / "data", environment) as running:
        running.wait_ready()
        yield running


def run_script(script: str, folder: Path, given: str = "") -> str:
    """Run a script as a reader would, and return what it prints."""
    result = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, **NEW_ACCOUNT, "TMPDIR": str(folder)},
        cwd=folder,
        input=given,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_examples_work_from_top_to_bottom(
    server: Server, served_github: FakeGitHub, tmp_path: Path
) -> None:
    pages = README + read_page("docs/github.md")
    script = STRICT + "\n".join(block.text for block in blocks(pages, "sh", "bash"))
    script = script.replace("http://127.0.0.1:8000", server.url)
    # As run.sh does once the packages are installed.
    add_user = f"DATA_DIR={tmp_path / 'data'} PYTHONPATH={ROOT} {sys.executable} -m utils.commands."
    script = script.replace("./run.sh add-user", f"{add_user}add_user")
    script = script.replace("https://github.com/you/project", f"{served_github.url}/{NAME}")
    output = run_script(script, tmp_path, given=f"{TOKEN}\n")
    assert "AI_GENERATED.md" in output
    assert '"cancelled"' in output
    (pull,) = served_github.pulls(NAME)
    assert f"/{NAME}/pull/{pull.number}" in output


def test_the_api_guide_shows_real_answers(server: Server, tmp_path: Path) -> None:
    guide = blocks(read_page("docs/api-guide.md"), "bash", "json")
    script, expected = "set -eu -o pipefail\n", []
    for number, block in enumerate(guide):
        if block.language == "bash":
            shown = guide[number + 1] if number + 1 < len(guide) else block
            expected.append(parse_answers(shown.text) if shown.language == "json" else [])
            script += f"{block.text}\necho\necho '{BORDER}'\n"
    output = run_script(script.replace("http://127.0.0.1:8000", server.url), tmp_path)
    answers = output.split(f"\n{BORDER}\n")[:-1]
    assert len(answers) == len(expected)
    compared = 0
    for answer, shown_answers in zip(answers, expected, strict=True):
        if shown_answers:
            assert differences(parse_answers(answer), shown_answers) == [], answer
            compared += len(shown_answers)
    assert compared >= 15


def test_readme_is_short() -> None:
    assert len(README.encode()) <= MAX_README_BYTES


def test_readme_lists_the_commands() -> None:
    script = (ROOT / "run.sh").read_text(encoding="utf-8")
    commands = set(find_lines(r"  ([\w-]+)  +\w", script)) - {"help"}
    assert set(find_lines(r"\| `\./run\.sh ?([\w-]*)`", README)) - {""} == commands - {"serve"}
    handled = " | ".join(find_lines(r"        ([a-z][a-z |-]*)\) ", script)).split(" | ")
    assert commands <= set(handled)


def test_the_help_is_printed_for_an_unknown_command() -> None:
    result = subprocess.run(
        ["./run.sh", "unknown"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "Usage: ./run.sh [command]" in result.stderr


def test_each_library_has_its_reason() -> None:
    lists = [(ROOT / name).read_text() for name in ("requirements.txt", "requirements-dev.txt")]
    required = [name for text in lists for name in find_lines(r"(\w[\w.-]*)", text)]
    reasons = read_page("docs/decisions/libraries.md")
    assert find_lines(r"\| `([\w.-]+)`", reasons) == required
