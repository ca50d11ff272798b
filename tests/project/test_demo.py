"""The demonstration, run as a newcomer runs it, against the real server."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from demo.agent import KEYS as AGENT_KEYS
from demo.agent import AgentError, agent_keys, choose_agent
from demo.client import Client
from demo.console import Console, printable
from demo.diff import count_files, styled
from demo.options import parse
from demo.sample import ensure_sample
from tests.support.preloaded import run_preloaded
from tests.support.source_files import ROOT
from tests.support.waiting import PATIENCE_SECONDS
from utils.agents.registry import AGENTS
from utils.api.requests import EXAMPLE_USER_ID
from utils.maintenance.data_lock import LOCK_FILE

Demo = subprocess.Popen[str]

DEMO = (sys.executable, "-m", "utils.commands", "demo")


def start_demo(data_dir: Path, *arguments: str, stdout: int = subprocess.PIPE) -> Demo:
    return subprocess.Popen(
        [*DEMO, "--data-dir", str(data_dir), *arguments],
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TERM": "xterm"},
    )


def run_demo(data_dir: Path, *arguments: str) -> tuple[int, str]:
    return run_preloaded(
        [*DEMO[1:], "--data-dir", str(data_dir), *arguments],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm"},
        timeout=PATIENCE_SECONDS,
    )


def nothing_serves(data_dir: Path) -> bool:
    """Return True when the server of a demonstration has released its data folder."""
    with (data_dir / LOCK_FILE).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_it_goes_from_prompt_to_diff_and_readme_shows_what_it_prints(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    code, output = run_demo(data_dir)
    assert code == 0, output
    stages = re.findall(r"^  (\w+) +\d+\.\d\d s$", output, re.MULTILINE)
    assert stages == ["queued", "cloning", "agent", "capturing"]
    assert "\x1b" not in output
    assert "basket.py       +" in output
    assert "> Bash python3 -m unittest" in output
    assert "This was a simulation" in output
    assert output.endswith("once the server runs:\n  http://127.0.0.1:8000/tasks/1\n")
    assert nothing_serves(data_dir)
    shown = re.search(r"<!-- demo -->\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    assert without_varying_parts(shown[1]) in without_varying_parts(output)


def without_varying_parts(output: str) -> str:
    """Replace the parts that differ from run to run."""
    output = re.sub(r"\S*/(server\.log|sample-repository)", r"\1", output)
    return re.sub(r" +\d+\.\d\d s|:\d{4,5}\b|\b[0-9a-f]{12}\b", "N", output)


def test_a_failed_task_says_why(tmp_path: Path) -> None:
    prompt = "script:\nprint about to fail\nwrite half.txt begun\nfail 7"
    code, output = run_demo(tmp_path / "a folder with spaces", "--prompt", prompt)
    assert code == 1
    assert "code agent_failed, stage agent" in output
    assert output.index("Log") < output.rindex("about to fail")
    assert "half.txt  +1 -0" in output


@pytest.mark.exhaustive("an error of a task is told as in the test before")
def test_a_missing_branch_is_named(tmp_path: Path) -> None:
    code, output = run_demo(tmp_path / "data", "--branch", "missing")
    assert code == 1
    assert "code branch_not_found, stage cloning" in output
    assert "--branch" in output


def test_a_server_that_does_not_start_shows_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_THREADS", "many")
    code, output = run_demo(tmp_path / "data")
    assert code == 1
    assert "The server did not start" in output
    assert "http_threads" in output.lower()


@pytest.mark.parametrize(
    "ending",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive("the same way"))],
)
def test_an_interrupt_leaves_nothing_running_also_where_interrupts_were_ignored_at_its_start(
    tmp_path: Path, ending: signal.Signals
) -> None:
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start_demo(tmp_path / "data", "--prompt", "script:\nprint begun\nsleep 60")
    finally:
        signal.signal(signal.SIGINT, previous)
    assert process.stdout is not None
    output = ""
    while "| begun" not in output:
        output += process.stdout.readline()
    process.send_signal(ending)
    rest, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 128 + ending
    assert "Cancelling task" in rest
    assert "Could not cancel" not in rest
    assert nothing_serves(tmp_path / "data")


def test_on_a_terminal_the_stage_is_live_and_the_diff_coloured(tmp_path: Path) -> None:
    # A busy machine may draw only a few progress lines within a second.
    for seconds in (1, 10):
        output = on_terminal(
            tmp_path / f"data-{seconds}", f"script:\nsleep {seconds}\nwrite a.txt x"
        )
        live = re.findall(r"\r\x1b\[K.{0,4}  agent +\d", output)
        if len(live) > 3:
            break
    assert len(live) > 3
    assert "\x1b[32m  +x" in output


def on_terminal(data_dir: Path, prompt: str) -> str:
    """Return the terminal output of a demonstration that must succeed."""
    controller, terminal = pty.openpty()
    process = start_demo(data_dir, "--no-serve", "--prompt", prompt, stdout=terminal)
    os.close(terminal)
    output = b"".join(read_terminal(controller)).decode()
    os.close(controller)
    assert process.wait(timeout=PATIENCE_SECONDS) == 0, output
    return output


def test_on_a_terminal_it_kills_its_server_during_a_second_task_and_keeps_serving(
    tmp_path: Path,
) -> None:
    controller, terminal = pty.openpty()
    process = start_demo(tmp_path / "data", stdout=terminal)
    os.close(terminal)
    output, served = b"", None
    for chunk in read_terminal(controller):
        output += chunk
        if served := re.search(rb"Serving http://127\.0\.0\.1:(\d+)\. Press Ctrl-C", output):
            break
    assert served is not None, output
    with closing(Client("127.0.0.1", int(served[1]))) as client:
        client.sign_in(EXAMPLE_USER_ID)
        tasks = client.get("/api/tasks")["tasks"]
    process.send_signal(signal.SIGINT)
    rest = b"".join(read_terminal(controller))
    os.close(controller)
    assert process.wait(timeout=PATIENCE_SECONDS) == 130, output + rest
    text = output.decode()
    assert {one["status"] for one in tasks.values()} == {"completed"}
    assert sorted(tasks) == ["1", "2"]
    assert text.index("> Edit") < text.index("kill -9") < text.rindex("> Edit")
    assert "Its diff is the same as that of task 1." in text
    address = f"http://127.0.0.1:{served[1].decode()}"
    assert f"{address}/tasks/1" in text
    assert f"{address}/api/tasks/1/patch" in text
    assert ":8000" not in text
    assert nothing_serves(tmp_path / "data")


def read_terminal(controller: int) -> Iterator[bytes]:
    """Yield the output of a terminal until its last writer has closed it."""
    while True:
        try:
            chunk = os.read(controller, 4096)
        except OSError:
            return
        if not chunk:
            return
        yield chunk


def test_a_token_is_read_from_the_named_variable() -> None:
    options = parse(["--token-env", "MY_TOKEN"], {"MY_TOKEN": "secret"})
    assert options.token == "secret"
    assert "secret" not in repr(options)


def test_a_token_variable_that_is_not_set_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--token-env", "MY_TOKEN"], {})
    assert "MY_TOKEN is not set" in capsys.readouterr().err


def test_a_folder_is_resolved_where_the_command_was_typed(tmp_path: Path) -> None:
    assert parse(["--from", str(tmp_path), "--repo", "."], {}).repo == str(tmp_path)
    for remote in ("https://example.com/a/b", "git@example.com:a/b.git", "example.com/a/b"):
        assert parse(["--repo", remote], {}).repo == remote


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Provide a repository with a folder, whose only branch is `trunk/x`."""
    folder = tmp_path / "repository"
    (folder / "utils").mkdir(parents=True)
    (folder / "utils" / "a.txt").write_text("a\n")
    subprocess.run(["git", "init", "-q", "-b", "trunk/x", str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "add", "."], check=True)
    commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]
    subprocess.run(["git", "-C", str(folder), *commit], check=True)
    return folder


def test_a_repository_is_worked_on_at_its_default_branch_without_using_up_a_key_of_the_deployment(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("E2B_API_KEY", "e2b_nobody_asks_with_it")
    monkeypatch.setenv("SANDBOX", "e2b")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-api03-nobody")
    code, output = run_demo(tmp_path / "data", "--repo", str(repository))
    assert code == 0, output
    assert "what this repository contains" in output
    assert "on the default branch of" in output
    assert "This was a simulation" in output
    assert re.search(r"commit [0-9a-f]{12} on trunk/x", output)
    assert "E2B_API_KEY and ANTHROPIC_API_KEY are set, but this run simulates" in output


def test_a_place_that_is_no_top_of_a_repository_is_explained(
    tmp_path: Path, repository: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for place, said in (
        ("repository/utils", f"is inside the repository {repository}. Use --repo {repository}"),
        ("repository/utils/a.txt", "is a file"),
        ("empty", "is in no git repository"),
        ("missing", "There is no folder"),
    ):
        data = tmp_path / "data"
        code, output = run_demo(data, "--from", str(tmp_path), "--repo", place)
        assert code == 1, output
        assert said in output
        assert "Traceback" not in output
        assert not data.exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "data", Path("/proc/data")):
        code, output = run_demo(place)
        assert code == 1, output
        assert f"The folder {place} cannot be used" in output
        assert "--data-dir" in output
        assert "Traceback" not in output


def test_the_demonstration_offers_each_agent_that_calls_a_model() -> None:
    registered = {one.name: one.program.key_setting.upper() for one in AGENTS if one.program}
    assert registered == AGENT_KEYS
    row = "| `parrot` | Parrot, `parrot` 1.0 | `PARROT_API_KEY`, `PARROT_MODELS` | `parrot` |\n"
    assert agent_keys(row) == {"parrot": "PARROT_API_KEY"}


KEYS = {"ANTHROPIC_API_KEY": "a"}
CLOUD = {**KEYS, "E2B_API_KEY": "b"}


def test_an_agent_runs_where_it_can(tmp_path: Path) -> None:
    (tmp_path / "claude").write_text("#!/bin/sh\n")
    (tmp_path / "claude").chmod(0o755)
    here = choose_agent("claude", CLOUD, str(tmp_path), is_remote=True)
    assert here.variables == {**KEYS, "SIMULATE_WITH_REAL_AGENT": "true"}
    assert "on this machine" in here.note
    away = choose_agent("claude", CLOUD, "", is_remote=True)
    assert away.variables == {**CLOUD, "SANDBOX": "e2b"}
    refusals: list[tuple[dict[str, str], bool, str]] = [
        ({}, True, "needs a key. Set ANTHROPIC_API_KEY"),
        (KEYS, True, "not on PATH"),
        (CLOUD, False, "cannot read a folder of this machine"),
    ]
    for keys, is_remote, said in refusals:
        with pytest.raises(AgentError, match=said):
            choose_agent("claude", keys, "", is_remote=is_remote)


def test_the_sample_is_made_once_and_always_the_same(tmp_path: Path) -> None:
    path = os.environ["PATH"]
    heads = {
        (ensure_sample(tmp_path / name, path) / ".git/refs/heads/main").read_text()
        for name in ("one", "two", "one")
    }
    assert len(heads) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


DIFF = """\
diff --git a/old name b/new name
--- a/old name
+++ b/new name
@@ -1,2 +1,2 @@
--- gone
+++ come
 same
diff --git a/same b/same
new file mode 100644
+++ b/same
@@ -0,0 +1 @@
+one
"""


def test_changed_lines_are_counted() -> None:
    counts = [(count.name, count.added, count.removed) for count in count_files(DIFF)]
    assert counts == [("new name", 1, 1), ("same", 1, 0)]
    assert "\n".join(line for line, _ in styled(DIFF)) + "\n" == DIFF


def test_text_from_a_repository_does_not_drive_the_terminal() -> None:
    assert "\x1b" not in printable("\x1b]0;title\x07")
    assert printable("a\r\n\tb é") == "a\n\tb é"


def test_plain_output_has_no_progress_line() -> None:
    stream = io.StringIO()
    console = Console(stream, {"TERM": "xterm"})
    console.progress("working")
    console.line("done", "green")
    assert stream.getvalue() == "done\n"
