"""Records the demonstration in a terminal of its own, and writes the recording as an SVG.

Run it as `python -m demo.recording docs/demo.svg`. Nothing is added to what the demonstration
prints. Long waits are shortened and lines that come at once follow each other, so that a reader
can follow.
"""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

from demo.options import DEFAULT_DATA_DIR, ROOT
from demo.svg import COLUMNS, ROWS, drawing
from demo.terminal import Transcript

LAST_WORDS = b"Press Ctrl-C to stop."
LIMIT_SECONDS = 180.0

_DEMO = (sys.executable, "-m", "utils.commands", "demo")
_FOLDER = Path("data/demo-recording")

Chunk = tuple[float, bytes]


def record() -> Iterator[Chunk]:
    """Run the demonstration until it serves; yield what it prints, with the seconds since then."""
    folder = ROOT / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [*_DEMO, "--from", str(ROOT), "--data-dir", str(_FOLDER)],
        cwd=ROOT,
        stdout=terminal,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)},
    )
    os.close(terminal)
    try:
        yield from _read(controller)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        os.close(controller)
        shutil.rmtree(folder, ignore_errors=True)


def _read(controller: int) -> Iterator[Chunk]:
    start = time.monotonic()
    seen = b""
    while LAST_WORDS not in seen:
        try:
            chunk = os.read(controller, 65_536)
        except OSError:
            chunk = b""
        seconds = time.monotonic() - start
        if not chunk or seconds > LIMIT_SECONDS:
            raise SystemExit(f"The demonstration did not come to its end:\n{seen.decode()}")
        seen += chunk
        yield seconds, chunk


def main() -> None:
    """Write a recording to the file that the command line names."""
    target = Path(sys.argv[1])
    transcript = Transcript("$ ./run.sh demo")
    for seconds, chunk in record():
        shown = chunk.decode(errors="replace").replace(str(_FOLDER), str(DEFAULT_DATA_DIR))
        transcript.add(seconds, shown)
    target.write_text(drawing(transcript), encoding="utf-8")


if __name__ == "__main__":
    main()
