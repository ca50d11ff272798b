"""Tests how an agent in the cloud is started and followed, whatever it does to our files."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import utils.sandboxes.e2b as sandboxes_e2b
from utils.sandboxes.e2b.shell import agent_arguments

WAIT_SECONDS = 60


@contextmanager
def no_inotify_left() -> Iterator[None]:
    """Use all inotify instances of this user, as hundreds of local sandboxes do."""
    library = ctypes.CDLL(None, use_errno=True)
    taken: list[int] = []
    try:
        while (descriptor := library.inotify_init()) >= 0:
            taken.append(descriptor)
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)


def call(folder: Path, agent: list[str]) -> list[str]:
    """Return the command that starts an agent in a folder, or follows it."""
    return agent_arguments(str(folder / "work"), str(folder), "/dev/null", ["1", "1"], agent)


@pytest.mark.parametrize(
    "damage",
    [
        'rm -rf "$WORK"',
        'rm -rf "$WORK/agent" && touch "$WORK/agent"',
        'rm "$WORK"/agent/* && mkfifo "$WORK/agent/out" "$WORK/agent/err" "$WORK/agent/lock"',
        'rm "$WORK"/agent/code && mkfifo "$WORK/agent/code"',
        'chmod 000 "$WORK"/agent/* "$WORK/agent" "$WORK"',
    ],
)
def test_an_agent_that_damages_the_files_of_its_output_is_followed_and_not_started_again(
    tmp_path: Path, damage: str
) -> None:
    (tmp_path / "work").mkdir()
    agent = ["sh", "-c", f"echo first; {damage}; echo $$ >>started; sleep 0.3; echo last; exit 7"]
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "WORK": str(tmp_path / "work"),
    }
    results = [
        subprocess.run(
            call(tmp_path, agent),
            env=variables,
            capture_output=True,
            check=False,
            timeout=WAIT_SECONDS,
        )
        for _ in range(2)
    ]
    assert (results[0].stdout, results[0].returncode) == (b"first\nlast\n", 7)
    assert len((tmp_path / "started").read_text().splitlines()) == 1
    if results[1].returncode != 7:
        assert results[1].returncode == 137
        assert b"has removed or replaced the files of its output" in results[1].stderr


def test_output_is_read_whole_when_the_agent_removes_it_before_its_reader_has_begun(
    tmp_path: Path,
) -> None:
    (tmp_path / "work").mkdir()
    slow = tmp_path / "bin" / "tail"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\nsleep 0.3\nexec {shutil.which("tail")} "$@"\n')
    slow.chmod(0o755)
    agent = ["sh", "-c", f"echo first; rm -rf {tmp_path}/work; sleep 0.6; echo last; exit 7"]
    followed = subprocess.run(
        call(tmp_path, agent),
        env={"PATH": f"{slow.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    assert (followed.stdout, followed.returncode) == (b"first\nlast\n", 7)


def test_output_and_end_are_told_by_the_kernel_and_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    command = call(tmp_path, ["sh", "-c", "echo first; sleep 0.3; echo last; exit 7"])
    # It waits for the kernel as long as a busy machine needs.
    waiting = [
        part.replace("-lt 1000 ]", "-lt 1000000 ]").replace("-lt 20 ]", "-lt 1000000 ]")
        for part in command
    ]
    never = [part.replace(" -s 0.2 ", " -s 1000 ") for part in waiting]
    assert command != waiting != never
    followed = subprocess.run(
        never,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    assert (followed.stdout, followed.returncode) == (b"first\nlast\n", 7)
    assert followed.stderr == b""


def test_an_agent_is_followed_to_its_end_without_inotify(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    agent = ["sh", "-c", "echo first; echo aside >&2; sleep 0.5; echo last; exit 7"]
    with no_inotify_left():
        followed = subprocess.run(
            call(tmp_path, agent),
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            check=False,
            timeout=WAIT_SECONDS,
        )
    assert followed.stdout == b"first\nlast\n"
    assert followed.stderr == b"aside\n"
    assert followed.returncode == 7


FOLLOW_SECONDS = 10
FOLLOW_SCRIPT = Path(sandboxes_e2b.__path__[0], "follow.sh")

# No number of a process: the script may end those that it is told.
numbers = st.sampled_from(["0", "00", "0 0", "-", "0x10", "9" * 30, "1e3", "4194305", " ", "\0"])
contents = (
    numbers
    | st.lists(numbers | st.sampled_from(["\n", "\xb2", "a", "$(exit)"]), max_size=4).map(" ".join)
    | st.sampled_from(["7\n", "137\n", ""])
)


def make_folder(path: Path, _content: str) -> None:
    path.mkdir()


def make_loop(path: Path, _content: str) -> None:
    path.symlink_to(path)


def make_pipe(path: Path, _content: str) -> None:
    os.mkfifo(path)


def write_text(path: Path, content: str) -> None:
    path.write_text(content)


def write_long_line(path: Path, _content: str) -> None:
    path.write_text("9" * 20_000_000)


def make_nothing(_path: Path, _content: str) -> None:
    """Leave a file out."""


makers = st.sampled_from(
    [
        *[write_text] * 6,
        *(write_long_line, make_folder, make_loop, make_pipe, make_nothing),
    ]
)


# Without shrinking, because a wrong follower takes seconds.
@settings(derandomize=True, deadline=None, database=None, max_examples=20, phases=[Phase.generate])
@given(
    files=st.fixed_dictionaries(
        {name: st.tuples(makers, contents) for name in ("code", "follower", "group", "gate")}
    ),
    out=st.text(max_size=8),
)
def test_whatever_an_agent_leaves_instead_of_its_files_it_is_followed_to_an_end(
    files: Mapping[str, tuple[Callable[[Path, str], None], str]], out: str
) -> None:
    printed = out.encode(errors="replace")
    with tempfile.TemporaryDirectory() as name:
        run = Path(name)
        (run / "out").write_bytes(printed)
        (run / "err").touch()
        (run / "lock").touch()
        for file, (make, content) in files.items():
            make(run / file, content)
        ended = subprocess.run(
            ["sh", FOLLOW_SCRIPT, run, "1", "1"],
            capture_output=True,
            timeout=FOLLOW_SECONDS,
            check=False,
            start_new_session=True,
        )
    assert 0 <= ended.returncode <= 255
    assert ended.stdout == printed
