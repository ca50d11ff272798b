"""Feeds a process and collects what it prints, up to a limit: hosts may send any amount."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from typing import IO

MAX_OUTPUT_BYTES = 256 * 2**20
"""Bytes of the output that are kept: the names of all files of a very large repository fit."""

MAX_ERROR_BYTES = 2**16
"""Bytes that are kept of the end of the errors, which say why a command failed."""

_CHUNK_BYTES = 2**16


def communicate(
    process: subprocess.Popen[bytes],
    stdin: bytes,
    timeout_seconds: float,
    most_output_bytes: int = MAX_OUTPUT_BYTES,
) -> tuple[bytes, bytes]:
    """Return the output and the errors of a process, like `Popen.communicate`.

    Keeps the beginning of the output and the end of the errors. Raises
    `subprocess.TimeoutExpired`.
    """
    deadline = time.monotonic() + timeout_seconds
    kept: dict[IO[bytes], bytearray] = {}
    with selectors.DefaultSelector() as selector:
        for pipe in filter(None, (process.stdout, process.stderr)):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ)
            kept[pipe] = bytearray()
        left = memoryview(stdin)
        if process.stdin:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(process.args, timeout_seconds)
            for key, _ in ready:
                pipe = key.fileobj  # type: ignore[assignment]
                if pipe is process.stdin:
                    left = _write(pipe, left)
                    is_done = not left
                else:
                    most = None if pipe is process.stderr else most_output_bytes
                    is_done = not _read(pipe, kept[pipe], most)
                if is_done:
                    selector.unregister(pipe)
                    pipe.close()
    process.wait(timeout=max(0.0, deadline - time.monotonic()))
    stdout, stderr = (bytes(kept[p]) if p else b"" for p in (process.stdout, process.stderr))
    return stdout, stderr[-MAX_ERROR_BYTES:]


def _write(pipe: IO[bytes], left: memoryview) -> memoryview:
    """Write a part of the input; return the rest, which is empty when nobody reads it."""
    try:
        return left[os.write(pipe.fileno(), left[:_CHUNK_BYTES]) :] if left else left
    except BrokenPipeError:
        return left[:0]


def _read(pipe: IO[bytes], kept: bytearray, most_bytes: int | None) -> bool:
    """Read and keep a piece of output; return False at its end. Errors have no `most_bytes`."""
    piece = os.read(pipe.fileno(), _CHUNK_BYTES)
    if most_bytes is None:
        kept += piece
        if len(kept) > 2 * MAX_ERROR_BYTES:
            del kept[:-MAX_ERROR_BYTES]
    elif len(kept) < most_bytes:
        kept += piece[: most_bytes - len(kept)]
    return bool(piece)
