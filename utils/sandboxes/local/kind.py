"""Describes the sandboxes in folders of this machine to the registry."""

from __future__ import annotations

import os

from utils.sandboxes.local.usage import IS_LINUX
from utils.sandboxes.protocol import SandboxKind

LOCAL_SANDBOX = SandboxKind(
    name="local",
    place="folders of this machine",
    default_concurrency=os.cpu_count() or 1,
    is_paced=False,
    sees_this_machine=True,
    has_egress=False,
    survives=False,
    enforces=frozenset({"memory", "cpus"} if IS_LINUX else {"memory"}),
    shares_programs=False,
)
