"""Runs the fake agent programs and reads their output as the backend does."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from hypothesis import strategies as st

from tests.support.source_files import ROOT
from utils.agents.spec import AgentRequest, AgentSpec, StreamReader
from utils.errors import AgentError
from utils.models.tasks import Json
from utils.pipeline.agent_output import OutputReporter
from utils.sandboxes.protocol import SandboxPaths

PROGRAMS = ROOT / "tests" / "fakes" / "agents"
SECONDS = 60

Events = list[tuple[str, Json]]


@dataclass(frozen=True)
class Run:
    """A finished run of a program."""

    agent: AgentSpec
    exit_code: int
    stdout: bytes
    stderr: bytes

    def events(self, piece_bytes: int = 65_536) -> Events:
        """Return the events of the output, read in chunks of `size`."""
        return read_output(self.agent.reader(), self.stdout, self.stderr, piece_bytes)

    def reader(self) -> StreamReader:
        """Return a reader that has read the whole output."""
        reader = self.agent.reader()
        read_output(reader, self.stdout, self.stderr)
        return reader

    def error(self) -> AgentError | None:
        """Return the error of the run, None if it succeeded."""
        lines = [line for line in self.stderr.decode().splitlines() if line.strip()]
        return self.reader().judge(self.exit_code, lines[-1] if lines else "")


def read_output(
    reader: StreamReader, stdout: bytes, stderr: bytes = b"", piece_bytes: int = 65_536
) -> Events:
    """Return the events of some output; each line of output becomes one event."""
    events: Events = []

    async def feed() -> None:
        output = OutputReporter(
            reader, lambda kind, data, _: events.append((kind, data)), 10**9, lambda text: text
        )
        for stream, data in (("stdout", stdout), ("stderr", stderr)):
            for start in range(0, len(data), piece_bytes):
                output.feed(stream, data[start : start + piece_bytes])
        output.close()

    anyio.run(feed)
    return list(_joined(events))


def read_lines(reader: StreamReader, *entries: object) -> Events:
    """Return the events of JSON values, with one value in each line."""
    lines = "".join(f"{json.dumps(entry)}\n" for entry in entries)
    return read_output(reader, lines.encode())


def assert_failed(ended: Run, code: str, words: Iterable[str]) -> None:
    """Assert that a run failed with a code and that its message contains all words."""
    error = ended.error()
    assert ended.exit_code != 0
    assert error is not None
    assert error.code == code
    assert [word for word in words if word not in error.message] == []
    assert ended.reader().summary is None


def judgement(
    reader: StreamReader, entries: Iterable[Json], exit_code: int | None, last_error_line: str
) -> str:
    """Return the error message of a run that printed JSON values, with one value in each line."""
    read_lines(reader, *entries)
    error = reader.judge(exit_code, last_error_line)
    assert error is not None
    return error.message


def _joined(events: Events) -> Iterator[tuple[str, Json]]:
    # Lines that arrive together share an event; tests must not depend on how they arrive.
    def place(event: tuple[str, Json]) -> str:
        return f"output {event[1]['stream']}" if event[0] == "output" else ""

    for name, group in itertools.groupby(events, place):
        if name:
            text = "".join(data["text"] for _, data in group)
            yield "output", {"stream": name.split()[1], "text": text}
        else:
            yield from group


def environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program in a sandbox."""
    path = f"{PROGRAMS}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", **extra}


def arguments(agent: AgentSpec, model: str | None = None) -> list[str]:
    """Return the command line of an agent."""
    paths = SandboxPaths(home="/home/user", repository="/repository", work="/work")
    return agent.command(paths, AgentRequest(agent.name, model))


def run_program(
    agent: AgentSpec,
    folder: Path,
    prompt: str,
    extra: Mapping[str, str],
    *,
    command: list[str] | None = None,
) -> Run:
    """Run a program in a folder until it ends."""
    ended = subprocess.run(
        command or arguments(agent),
        cwd=folder,
        env=environment(folder, extra),
        input=prompt.encode(),
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    return Run(agent, ended.returncode, ended.stdout, ended.stderr)


@contextmanager
def running_program(
    agent: AgentSpec, folder: Path, prompt: str, extra: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that does not end by itself; kill it at the end of the block."""
    (folder / "prompt").write_text(prompt)
    with (
        (folder / "prompt").open("rb") as stdin,
        subprocess.Popen(
            arguments(agent),
            cwd=folder,
            env=environment(folder, extra),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def turned(value: Any) -> Any:
    """Return a JSON value with the keys of its objects in reverse order."""
    if isinstance(value, dict):
        return {key: turned(item) for key, item in reversed(value.items())}
    return [turned(item) for item in value] if isinstance(value, list) else value


def garbage(words: str) -> st.SearchStrategy[Any]:
    """Return JSON values that resemble the output of a program."""
    names = st.sampled_from(words.split()) | st.text(max_size=3)
    leaves = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=True)
        | st.just(10**400)
        | names
        | st.just("\ud800\0")
    )
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6),
        max_leaves=25,
    )


def assert_wellformed(events: Events) -> None:
    """Assert that the events have the documented shape."""
    needed = {
        "status": {"text"},
        "message": {"text"},
        "result": {"text"},
        "output": {"stream", "text"},
        "error": {"code", "message"},
        "tool": {"name", "id"},
        "usage": {"input_tokens", "cached_input_tokens", "output_tokens"},
    }
    for kind, data in events:
        assert needed[kind] <= set(data)
        assert all(isinstance(value, str | int | float) for value in data.values())
        json.dumps(data, allow_nan=False)
