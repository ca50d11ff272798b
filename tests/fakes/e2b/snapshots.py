"""Answers requests about snapshots: saves, lists and deletes the files of sandboxes.

Only files are modelled, no memory: a sandbox from a snapshot has no processes.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from tests.fakes.e2b.http import Reply, Request


@dataclass(slots=True)
class Snapshot:
    """The files of a sandbox, kept for a team."""

    id: str
    team: str
    name: str
    root: Path

    def summary(self) -> dict[str, object]:
        """Return the snapshot as the API answers it."""
        return {"snapshotID": f"{self.id}:default", "names": [f"team/{self.name}:default"]}


class Snapshots:
    """All snapshots of the server."""

    def __init__(
        self,
        root: Path,
        unauthorized: Callable[[Request], Reply | None],
        team_of: Callable[[Request], str],
        folder_of: Callable[[str, str], Path | None],
    ) -> None:
        self._root = root
        self._unauthorized = unauthorized
        self._team_of = team_of
        self._folder_of = folder_of
        self._found: dict[str, Snapshot] = {}

    def answer(self, route: str, request: Request, name: str) -> Reply:
        """Carry out a request about a sandbox, or about a snapshot."""
        if refusal := self._unauthorized(request):
            return refusal
        team = self._team_of(request)
        if route == "snapshot.list":
            return self._list(team)
        if route == "snapshot.delete":
            return self._delete(team, unquote(name))
        folder = self._folder_of(team, name)
        if folder is None:
            return Reply.error(404, f"sandbox {name} not found")
        return self._save(team, folder, request)

    def _save(self, team: str, sandbox_root: Path, request: Request) -> Reply:
        snapshot_id = secrets.token_hex(10)
        folder = self._root / snapshot_id
        shutil.copytree(sandbox_root, folder, symlinks=True)
        name = request.json().get("name") or snapshot_id
        self._found[snapshot_id] = Snapshot(snapshot_id, team, name, folder)
        return Reply.of(201, self._found[snapshot_id].summary())

    def _list(self, team: str) -> Reply:
        own = [one.summary() for one in self._found.values() if one.team == team]
        return Reply.of(200, own)

    def _delete(self, team: str, snapshot_id: str) -> Reply:
        found = self.find(team, snapshot_id)
        if found is None:
            return Reply.error(404, f"template {snapshot_id} not found")
        del self._found[found.id]
        shutil.rmtree(found.root, ignore_errors=True)
        return Reply(204)

    def find(self, team: str, template: str) -> Snapshot | None:
        """Return the snapshot that a sandbox is created from, None for another template."""
        found = self._found.get(template.partition(":")[0])
        return found if found and found.team == team else None
