"""Shows a sandbox with some of its verbs or paths replaced."""

from __future__ import annotations

from utils.sandboxes.protocol import Sandbox, SandboxPaths


class SandboxView:
    """A sandbox that does what another one does; subclasses replace verbs."""

    def __init__(self, sandbox: Sandbox, paths: SandboxPaths | None = None) -> None:
        self.id = sandbox.id
        self.paths = paths or sandbox.paths
        self.survives = sandbox.survives
        self.write_files = sandbox.write_files
        self.read_files = sandbox.read_files
        self.list_folder = sandbox.list_folder
        self.remove = sandbox.remove
        self.usage = sandbox.usage
        self.run = sandbox.run
        self.run_repeatable = sandbox.run_repeatable
        self.run_agent = sandbox.run_agent
        self.may_have_mirror = sandbox.may_have_mirror
        self.mirror = sandbox.mirror
        self.restrict_egress = sandbox.restrict_egress
        self.keep_alive = sandbox.keep_alive
        self.save_snapshot = sandbox.save_snapshot
        self._sandbox = sandbox

    async def pause(self) -> bool:
        """See `Sandbox`."""
        return await self._sandbox.pause()

    async def close(self) -> None:
        """See `Sandbox`."""
        await self._sandbox.close()
