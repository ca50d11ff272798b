"""Describes E2B's cloud sandboxes to the registry."""

from __future__ import annotations

from utils.config.groups.limits import E2B_PLAN_SANDBOXES
from utils.sandboxes.e2b.tested_versions import version_warnings
from utils.sandboxes.protocol import SandboxKind

E2B_SANDBOX = SandboxKind(
    name="e2b",
    place="E2B's cloud sandboxes",
    default_concurrency=E2B_PLAN_SANDBOXES,
    is_paced=True,
    sees_this_machine=False,
    has_egress=True,
    survives=True,
    enforces=frozenset({"network"}),
    shares_programs=True,
    version_warnings=version_warnings,
)
