"""Prints the report of a task that has ended."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from demo.client import Json
from demo.console import Console
from demo.diff import count_files, styled
from demo.options import ROOT, Options

SHOWN_DIFF_LINES = 200
SERVED_AT = "http://127.0.0.1:8000"
"""The address of a server that is started later, with its default port."""


class Report:
    """Prints the result or the failure of a task."""

    def __init__(self, console: Console, task: Json) -> None:
        self._console = console
        self._task = task

    def result(self) -> None:
        """Print the outcome, the changed files, the diff and the agent's last message."""
        self._headline()
        self._files()
        self._diff()
        self._summary()
        self._note_simulation()

    def failure(self, log: Iterable[str]) -> None:
        """Print the error with its stage, the agent's output and the partial changes."""
        task = self._task
        code, stage = task.get("error_code"), task.get("error_stage")
        self._console.line()
        self._console.line(f"Task {task['id']} {task['status']}: {task.get('error')}", "red")
        self._console.line(f"  code {code or 'unknown'}, stage {stage or 'unknown'}")
        if code == "branch_not_found":
            self._console.line("  Choose an existing branch with --branch.")
        self._section("Log", log)
        if task.get("git_diff"):
            self._files()
            self._diff()

    def _headline(self) -> None:
        task = self._task
        self._console.line()
        self._console.line(
            f"Task {task['id']} {task['status']} in {_seconds(task):.2f} s, "
            f"commit {str(task.get('commit_hash'))[:12]} on {task.get('target_branch')}",
            "bold",
        )

    def _files(self) -> None:
        counts = count_files(self._task.get("git_diff") or "")
        width = max((len(count.name) for count in counts), default=0)
        lines = [f"{count.name:<{width}}  +{count.added} -{count.removed}" for count in counts]
        self._section("Changed files", lines or self._task.get("changed_files") or ["none"])

    def _diff(self) -> None:
        lines = list(styled(self._task.get("git_diff") or ""))
        self._console.line()
        self._console.line("Diff", "bold")
        for line, style in lines[:SHOWN_DIFF_LINES]:
            self._console.line(f"  {line}", style)
        if len(lines) > SHOWN_DIFF_LINES:
            self._console.line(f"  ({len(lines) - SHOWN_DIFF_LINES} more lines)", "dim")

    def _summary(self) -> None:
        messages = self._task.get("chat_messages") or []
        said = [message["content"] for message in messages if message["role"] == "assistant"]
        if said:
            self._section("The agent says", str(said[-1]).splitlines())

    def _note_simulation(self) -> None:
        if (self._task.get("execution_metadata") or {}).get("simulated"):
            self._console.line()
            self._console.line(
                "This was a simulation: a small script replaced the agent, and no AI was called."
            )

    def _section(self, title: str, lines: Iterable[str]) -> None:
        lines = list(lines)
        if not lines:
            return
        self._console.line()
        self._console.line(title, "bold")
        for line in lines:
            self._console.line(f"  {line}")


def next_steps(options: Options, repo: str, task_id: int, user: str, server_url: str) -> list[str]:
    """Return commands to continue with, ready to paste in the start folder; the page comes last."""
    address = server_url if options.keep_serving else SERVED_AT
    run = options.shown(ROOT / "run.sh")
    data = f"DATA_DIR={options.shown(options.data_dir)}"
    header = '-H "Authorization: Bearer $KEY"'
    folder = options.shown(repo) if Path(repo).is_dir() else "YOUR_CLONE"
    path = f"/api/tasks/{task_id}"
    start = [] if options.keep_serving else ["To start the server again:", f"  {data} {run}"]
    return [
        *start,
        "To read this task over HTTP, from another terminal:",
        f"  KEY=$({data} {run} add-user {user})",
        f"  curl -s {header} {address}{path}",
        "To apply the patch:",
        f"  curl -s {header} {address}{path}/patch | git -C {folder} am",
        "To use your own repository (a URL or a folder; it is cloned and never changed):",
        f"  {run} demo --repo . --prompt 'Say what to do'",
        "To watch, read and continue the task in a browser:"
        if options.keep_serving
        else "To read and continue the task in a browser, once the server runs:",
        f"  {address}/tasks/{task_id}",
    ]


def _seconds(task: Json) -> float:
    """Return the seconds from the request to the result."""
    ended = datetime.fromisoformat(task["completed_at"])
    return (ended - datetime.fromisoformat(task["created_at"])).total_seconds()
