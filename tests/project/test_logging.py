"""Log actions have one form, and docs/logging.md explains each."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.source_files import ROOT, python_files

ACTION = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z_]*")
LEVELS = {"debug", "info", "warning", "error", "exception"}
FOLDERS = ("endpoints", "utils")
SERVER_FILES = [path for path in python_files() if path.parts[0] in FOLDERS or len(path.parts) == 1]


def log_calls(path: Path) -> Iterator[ast.Call]:
    """Yield each call of a method of `log`, and of what one of them was called `write`."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called == "write" or called in {f"log.{level}" for level in LEVELS}:
                yield node


def actions_of(path: Path) -> Iterator[str]:
    """Yield the action of each log line that a file writes; fails where one has none."""
    for call in log_calls(path):
        named = [word.value for word in call.keywords if word.arg == "action"]
        if not named and ast.unparse(call.func) == "write":
            continue
        assert named, f"{path}:{call.lineno} writes a log line without an action"
        assert isinstance(named[0], ast.Constant), f"{path}:{call.lineno} computes its action"
        yield str(named[0].value)


def test_each_action_is_an_area_and_an_event_and_explained_in_the_docs() -> None:
    written = {action for path in SERVER_FILES for action in actions_of(path)}
    explained = re.findall(
        r"^\| `([^`]+)` \|", (ROOT / "docs/logging.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [action for action in sorted(written) if not ACTION.fullmatch(action)] == []
    assert "http.request" in written
    assert explained == sorted(written)
