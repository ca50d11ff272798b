"""A backup of the embedded database gives the same rows and keys, and never mixes two states."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import Backend, Repository, open_backend
from tests.support.source_files import ROOT
from tests.support.waiting import PATIENCE_SECONDS
from utils.errors import ConfigurationError
from utils.maintenance.archive import zstandard
from utils.maintenance.backup import restore_backup, write_backup

TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
TOKEN = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"


def command(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "utils.commands", name, *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "DATA_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


def rows(folder: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(folder / "async-code.db")) as connection:
        names = [name for (name,) in connection.execute(TABLES)]
        return {
            name: sorted(connection.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr)
            for name in names
        }


def fill(backend: Backend, repository: Repository) -> int:
    client = backend.app.test_client()
    user = {"X-User-ID": "00000000-0000-4000-8000-00000000000a"}
    stored = client.put("/users/me", json={"github_token": TOKEN}, headers=user)
    assert stored.status_code == 200, stored.get_data()
    return int(backend.complete("script:\nwrite a.txt ä", repository)["id"])


def test_a_restored_backup_has_the_same_rows_and_keys(
    small_origin: Repository, tmp_path: Path
) -> None:
    data, other, file = tmp_path / "data", tmp_path / "other", tmp_path / "backup"
    with open_backend(data) as backend:
        number = fill(backend, small_origin)
        (data / "deployment").write_text("name")
        # What is committed and only in the log of SQLite is in the backup too.
        written = command("backup", data, "--from", str(tmp_path), file.name)
        assert written.returncode == 0, written.stderr
        before = rows(data)
        refused = command("restore", data, str(file), "--overwrite")
        assert (refused.returncode, "Stop that server" in refused.stderr) == (1, True)
        assert backend.status(number)["status"] == "completed"
    assert file.stat().st_mode & 0o077 == 0
    again = command("backup", data, str(file))
    assert (again.returncode, "--overwrite" in again.stderr) == (1, True)
    restored = command("restore", other, str(file))
    assert restored.returncode == 0, restored.stderr
    assert rows(other) == before
    assert len(before["tasks"]) == 1
    for name in ("secret_key", "jwt_secret", "deployment", "server"):
        assert (other / name).read_bytes() == (data / name).read_bytes()
    with open_backend(other) as backend:
        assert backend.get("/users/me")["user"]["has_github_token"]
        assert backend.patch(number)


def test_restoring_over_a_database_needs_a_word_and_keeps_the_earlier_one(
    small_origin: Repository, tmp_path: Path
) -> None:
    data, file = tmp_path / "data", tmp_path / "backup"
    with open_backend(data) as backend:
        fill(backend, small_origin)
    write_backup(data, file)
    before = rows(data)
    with open_backend(data) as backend:
        backend.complete("Hi", small_origin)
    changed = rows(data)
    with pytest.raises(ConfigurationError, match="--overwrite"):
        restore_backup(file, data, overwrite=False)
    assert rows(data) == changed
    kept = restore_backup(file, data, overwrite=True)
    assert rows(data) == before
    assert kept is not None
    assert rows(kept) == changed
    assert (kept / "secret_key").read_bytes() == (data / "secret_key").read_bytes()
    assert list(data.glob(".backup-*")) == []


def packed(**members: bytes) -> bytes:
    text = io.BytesIO()
    with zstandard().ZstdFile(text, "w") as stream, tarfile.open(fileobj=stream, mode="w|") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return text.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no backup",
        packed(secret_key=b"key"),
        packed(**{"async-code.db": b"no database" * 1000}),
        packed(**{"../outside": b"x", "results/../../outside.json": b"x"}),
    ],
    ids=["empty", "text", "without a database", "no database", "names outside"],
)
def test_a_file_that_is_no_backup_changes_nothing(tmp_path: Path, content: bytes) -> None:
    data, file = tmp_path / "data", tmp_path / "backup"
    data.mkdir()
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"no whole database|no backup"):
        restore_backup(file, data, overwrite=False)
    assert list(data.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"data", "backup"}


def test_half_a_backup_is_refused(small_origin: Repository, tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "backup"
    with open_backend(data):
        pass
    write_backup(data, file)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ConfigurationError, match="not all of one"):
        restore_backup(file, tmp_path / "other", overwrite=False)
    assert list((tmp_path / "other").iterdir()) == []


def test_a_backup_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "backup"
    with open_backend(data):
        pass
    with closing(sqlite3.connect(data / "async-code.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    write_backup(data, file)
    with pytest.raises(ConfigurationError, match="newer version"):
        restore_backup(file, tmp_path / "other", overwrite=False)


def test_other_databases_have_their_own_tools(tmp_path: Path) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "utils.commands", "backup", str(tmp_path / "backup")],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "DATABASE_URL": "postgresql://u:p@localhost/none"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert (refused.returncode, "pg_dump" in refused.stderr) == (1, True)
