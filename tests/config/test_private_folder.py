"""Tests that the data folder, and everything that a running server puts into it, is private."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.support.live_server import Client, ServerFactory
from utils.config.private_folder import open_private_folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def open_to_others(folder: Path) -> list[str]:
    """Return the entries of a folder that the group or others may use; links have no mode."""
    found = []
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if not path.is_symlink() and mode(path) & 0o077:
                found.append(str(path.relative_to(folder)))
    return found


@pytest.mark.not_isolated("what is mounted needs a place of mode 755, in a folder that is closed")
def test_a_server_leaves_nothing_that_others_can_read(
    new_server: ServerFactory, small_repository: str
) -> None:
    server = new_server()
    server.data_dir.mkdir(mode=0o755)
    server.data_dir.chmod(0o755)
    server.start()
    client: Client = server.client()
    task = client.start("script:\nwrite a/b.txt text\nsleep 60", small_repository)
    client.wait_for(task, "agent")
    assert mode(server.data_dir) == 0o700
    assert open_to_others(server.data_dir) == []


@pytest.mark.parametrize("kind", ["sticky", "working folder", "home"])
def test_a_folder_with_other_things_in_it_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    tmp_path.chmod(0o1777 if kind == "sticky" else 0o755)
    if kind == "working folder":
        monkeypatch.chdir(tmp_path)
    if kind == "home":
        monkeypatch.setenv("HOME", str(tmp_path))
    before = mode(tmp_path)
    open_private_folder(tmp_path)
    assert mode(tmp_path) == before
    tmp_path.chmod(0o700)
