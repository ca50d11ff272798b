"""Describes the isolated sandboxes of this machine to the registry."""

from __future__ import annotations

from dataclasses import replace

from utils.sandboxes.local.kind import LOCAL_SANDBOX

ISOLATED_SANDBOX = replace(
    LOCAL_SANDBOX,
    name="isolated",
    place="isolated folders of this machine (bubblewrap)",
    sees_this_machine=False,
    enforces=frozenset({"cpus", "memory", "network"}),
)
