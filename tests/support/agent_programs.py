"""Runs the stand-ins for the agent programs and reads what they print, as the backend does."""

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
    """One run of a program that has ended."""

    agent: AgentSpec
    exit_code: int
    stdout: bytes
    stderr: bytes

    def events(self, piece_bytes: int = 65_536) -> Events:
        """Return the events, read in pieces of a size."""
        return read_output(self.agent.reader(), self.stdout, self.stderr, piece_bytes)

    def reader(self) -> StreamReader:
        """Return a reader that has seen everything."""
        reader = self.agent.reader()
        read_output(reader, self.stdout, self.stderr)
        return reader

    def error(self) -> AgentError | None:
        """Return how the run is judged."""
        lines = [line for line in self.stderr.decode().splitlines() if line.strip()]
        return self.reader().judge(self.exit_code, lines[-1] if lines else "")


def read_output(
    reader: StreamReader, stdout: bytes, stderr: bytes = b"", piece_bytes: int = 65_536
) -> Events:
    """Return the events of some output; what stands in one line of output is one event."""
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
    """Return the events of JSON values, one a line."""
    lines = "".join(f"{json.dumps(entry)}\n" for entry in entries)
    return read_output(reader, lines.encode())


def assert_failed(ended: Run, code: str, words: Iterable[str]) -> None:
    """Check that a run failed with a code, and that all words are in its message."""
    error = ended.error()
    assert ended.exit_code != 0
    assert error is not None
    assert error.code == code
    assert [word for word in words if word not in error.message] == []
    assert ended.reader().summary is None


def judgement(
    reader: StreamReader, entries: Iterable[Json], exit_code: int | None, last_error_line: str
) -> str:
    """Return the message of the error that a run has which printed JSON values, one a line."""
    read_lines(reader, *entries)
    error = reader.judge(exit_code, last_error_line)
    assert error is not None
    return error.message


def _joined(events: Events) -> Iterator[tuple[str, Json]]:
    # Lines that come together share an event; how they come must not matter to a test.
    def place(event: tuple[str, Json]) -> str:
        return f"output {event[1]['stream']}" if event[0] == "output" else ""

    for name, group in itertools.groupby(events, place):
        if name:
            text = "".join(data["text"] for _, data in group)
            yield "output", {"stream": name.split()[1], "text": text}
        else:
            yield from group


def environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that a sandbox gives a program."""
    path = f"{PROGRAMS}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", **extra}


def arguments(agent: AgentSpec, model: str | None = None) -> list[str]:
    """Return the command of an agent."""
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
    """Run a program to its end in a folder."""
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
    """Run a program that does not end by itself; it is killed with the block."""
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
    """Return a JSON value with the keys of its objects in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(item) for key, item in reversed(value.items())}
    return [turned(item) for item in value] if isinstance(value, list) else value


def garbage(words: str) -> st.SearchStrategy[Any]:
    """Return JSON values that look a little like what a program prints."""
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
    """Fail unless clients can rely on the shape of the events."""
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
