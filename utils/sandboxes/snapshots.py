"""Names the snapshots of prepared sandboxes; decides which one is used and which are deleted.

A provider knows its snapshots by their names alone, so all servers of a deployment find them, and
no row has to be kept in step with them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from utils.config.settings import Settings

_NAME = re.compile(r"p([0-9]{1,18})-([0-9a-f]{16})-([0-9]{1,15})")

_MILLISECONDS = 10**12
"""Least number in a name that counts milliseconds; earlier versions wrote seconds."""


@dataclass(frozen=True, slots=True)
class SnapshotKey:
    """Tells what a snapshot is good for: a project, and a digest of what its setup depends on."""

    project_id: int
    digest: str


@dataclass(frozen=True, slots=True)
class SnapshotLimits:
    """Limits of the snapshots of a deployment: their number, their age, and the size of each."""

    count: int
    age_seconds: float
    size_bytes: int


NO_SNAPSHOTS = SnapshotLimits(0, 0.0, 0)


def snapshot_limits(settings: Settings) -> SnapshotLimits:
    """Return the limits as the settings define them."""
    return SnapshotLimits(
        settings.max_snapshots, settings.snapshot_max_age_seconds, settings.snapshot_max_bytes
    )


class Snapshot(NamedTuple):
    """A snapshot: its id at the provider, its key, and when it was made, in seconds since 1970."""

    id: str
    key: SnapshotKey
    made_at: float


def snapshot_name(key: SnapshotKey, now: float) -> str:
    """Return the name of a new snapshot. Two may be made within one second."""
    return f"p{key.project_id}-{key.digest}-{int(now * 1000)}"


def read_name(snapshot_id: str, name: str) -> Snapshot | None:
    """Return the snapshot of a name, None for the name of something else."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    made_at = int(match[3])
    seconds = made_at / 1000 if made_at >= _MILLISECONDS else float(made_at)
    return Snapshot(snapshot_id, SnapshotKey(int(match[1]), match[2]), seconds)


def choose_snapshot(
    found: Collection[Snapshot], key: SnapshotKey, limits: SnapshotLimits, now: float
) -> Snapshot | None:
    """Return the newest snapshot for a key, None when there is none or it is too old."""
    fitting = [one for one in _by_age(found) if one.key == key]
    newest = next(iter(fitting), None)
    return newest if newest and now - newest.made_at <= limits.age_seconds else None


def superfluous(
    found: Collection[Snapshot], limits: SnapshotLimits, now: float
) -> Iterator[Snapshot]:
    """Yield the snapshots to delete: all but the newest of each project, and those over a limit."""
    projects: set[int] = set()
    for snapshot in _by_age(found):
        is_first = snapshot.key.project_id not in projects
        projects.add(snapshot.key.project_id)
        is_young = now - snapshot.made_at <= limits.age_seconds
        if not (is_first and is_young and len(projects) <= limits.count):
            yield snapshot


def _by_age(found: Collection[Snapshot]) -> list[Snapshot]:
    return sorted(found, key=lambda one: one.made_at, reverse=True)
