"""Serves E2B's wire protocol on loopback for the unmodified SDK.

    with E2BServer() as server:
        os.environ |= server.environment
        sandbox = await AsyncSandbox.create()

It runs commands for real, as ordinary processes of this machine in a folder per sandbox, so it
needs bash and Linux (`/proc`, pidfd). There is no isolation: run only what a test wrote itself.

**Paths.** A sandbox's home is a real folder, `HOME` names it and commands start in it. The product
either uses paths relative to the home, or asks the sandbox once (`echo $HOME`) and uses what it
was told; both work on the real cloud too. `/home/user` is put right wherever a request names it:
in paths of file operations and, as plain text, in a command's arguments, directory and variables.
It is not put right inside files, so scripts use `$HOME`. Other absolute paths mean the sandbox's
own folder to file operations (see `e2b_files`), but the machine's to commands.

Beside the wire there is a second port for tests; `e2b_control.E2BControl` is its client, and
`E2BServer` is one: it adds faults (`e2b_faults`), ends sandboxes, refuses connections, and reads
the counters and the record of requests. `python -m tests.fakes.e2b.server --port 0` runs it in a
process of its own and prints both addresses; `e2b_control.E2BServerProcess` does that for a test.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import signal
import sys
import threading
from collections.abc import Callable

from tests.fakes.e2b.admin import Admin
from tests.fakes.e2b.cloud import Cloud
from tests.fakes.e2b.control import E2BControl
from tests.fakes.e2b.control_plane import Settings

Started = Callable[[str, str], None]


async def serve(settings: Settings, port: int, started: Started, stopping: asyncio.Event) -> None:
    """Serve until `stopping` is set; call `started` with the two addresses."""
    cloud = Cloud(settings)
    admin = Admin(cloud)
    try:
        await cloud.wire.open(port)
        await admin.open()
        started(f"http://127.0.0.1:{cloud.wire.port}", f"http://127.0.0.1:{admin.port}")
        await stopping.wait()
    finally:
        await admin.close()
        await cloud.close()


class E2BServer(E2BControl):
    """Runs the server in a thread of this process; the docstring of this module shows its use."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__("", "")
        self._settings = settings or Settings()
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="e2b-fake", daemon=True)

    def start(self) -> None:
        """Start the server; return when it listens."""
        self._thread.start()
        self._started.wait()
        if not self.url:
            raise RuntimeError("the server did not start; its thread has printed why")

    def stop(self) -> None:
        """Stop the server and remove every sandbox, process and file."""
        if self._loop and self._stopping:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        await serve(self._settings, 0, self._ready, self._stopping)

    def _ready(self, url: str, control_url: str) -> None:
        self.url, self.control_url = url, control_url
        self._started.set()


def main() -> None:
    """Serve from a separate process until a signal arrives, or until stdin closes if so asked."""
    parser = argparse.ArgumentParser(description="A fake of the E2B cloud, for tests")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="end with the process that started it"
    )
    # A pause of the fake would look like one of the network, with all answers at once after it.
    gc.disable()
    asyncio.run(_main(parser.parse_args()))


async def _main(arguments: argparse.Namespace) -> None:
    # Each command takes two pipes and each client a socket; the usual limit is 1024 in all.
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    if arguments.until_stdin_closes:
        # Nothing is ever written to it, so it becomes readable when it closes.
        loop.add_reader(sys.stdin, stopping.set)

    def started(url: str, control_url: str) -> None:
        sys.stdout.write(f"{url}\n{control_url}\n")
        sys.stdout.flush()

    await serve(Settings(), arguments.port, started, stopping)


if __name__ == "__main__":
    main()
