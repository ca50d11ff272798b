"""Tells `./run.sh doctor` about the snapshots of prepared sandboxes on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator

from utils.commands.doctor.findings import Finding, ok
from utils.config.settings import Settings
from utils.sandboxes.local.snapshots import SnapshotStore
from utils.sandboxes.registry import choose_sandbox
from utils.sandboxes.snapshots import snapshot_limits

HOUR_SECONDS = 3_600


def check_snapshots(settings: Settings) -> Iterator[Finding]:
    """Report how many snapshots there are, and how old they are; nothing without any."""
    if choose_sandbox(settings).shares_programs:
        return
    store = SnapshotStore(settings.data_dir / "snapshots", snapshot_limits(settings))
    if found := store.list():
        ages = [(time.time() - one.made_at) / HOUR_SECONDS for one in found]
        yield ok(
            f"snapshots after a setup: {len(found)} of {settings.max_snapshots}, "
            f"{min(ages):.1f} to {max(ages):.1f} hours old"
        )
