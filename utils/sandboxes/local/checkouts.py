"""Clones mirrors before a task asks for it.

Git needs seconds to clone and check out a large repository, and a moment to move the result. So a
mirror that was used holds a clone of itself in its folder `checkout`. The next task of the branch
moves it to its sandbox, and `clone.sh` adds what the mirror got since.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import anyio
from anyio import to_thread

from utils.git.environment import git_environment
from utils.sandboxes.local.commands import Keeper, Supervisor
from utils.sandboxes.local.orders import NO_LIMITS, Order

CHECKOUT = "checkout"
DRAFT = "checkout.new"

_MAKE = (
    'git clone --quiet --no-tags --single-branch --template= --no-hardlinks --branch "$3" -- '
    '"$1" "$2" && git -C "$2" config remote.origin.url "$4"'
)
"""Clones MIRROR to FOLDER, with the BRANCH and the address of ORIGIN.

The options are those with which clone.sh clones from a mirror.
"""

MAKE_SECONDS = 120.0
"""Longest time for one clone; tasks of the same branch wait for it."""


class CheckoutMaker:
    """Clones mirrors with the git of this machine, as commands that end with the server."""

    def __init__(self, supervisor: Supervisor, environment: Mapping[str, str]) -> None:
        self._supervisor = supervisor
        self._environment = {**environment, **git_environment()}

    async def make(self, mirror: Path, repo_url: str, branch: str) -> None:
        """Clone a branch of a mirror into the mirror's folder, unless there is a clone.

        `repo_url` is the address that the mirror is refreshed from. When git fails or takes too
        long, there is none. Raises `OSError` and `SandboxError`.
        """
        if not await to_thread.run_sync(_prepare, mirror):
            return
        keeper, is_complete = Keeper(self._supervisor), False
        try:
            with anyio.move_on_after(MAKE_SECONDS):
                async with keeper.run(self._order(mirror, repo_url, branch)) as command:
                    await command.wait()
                    is_complete = command.exit_code == 0
        finally:
            keeper.close()
        await to_thread.run_sync(_finish if is_complete else _discard_draft, mirror)

    def _order(self, mirror: Path, repo_url: str, branch: str) -> Order:
        arguments = ["sh", "-c", _MAKE, "make", str(mirror), str(mirror / DRAFT), branch, repo_url]
        return Order(arguments, str(mirror), self._environment, NO_LIMITS)


def remove_checkout(mirror: Path) -> None:
    """Remove the clone in a mirror's folder, if there is one. Blocks."""
    shutil.rmtree(mirror / CHECKOUT, ignore_errors=True)


def _prepare(mirror: Path) -> bool:
    """Return False when there is nothing to make."""
    _discard_draft(mirror)
    return mirror.is_dir() and not (mirror / CHECKOUT).exists()


def _finish(mirror: Path) -> None:
    os.rename(mirror / DRAFT, mirror / CHECKOUT)  # noqa: PTH104 - never into a folder


def _discard_draft(mirror: Path) -> None:
    shutil.rmtree(mirror / DRAFT, ignore_errors=True)
