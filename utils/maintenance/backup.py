"""Copies the embedded database and the keys of a data folder into one file, and back.

The file is a tar archive, compressed with Zstandard. It holds all secrets of the server, as the
data folder does.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from utils.config.private_folder import open_private_folder
from utils.database.migrations import head_revision
from utils.database.sql.engine import SQLITE_FILE
from utils.errors import ConfigurationError
from utils.maintenance.archive import zstandard

KEY_FILES = ("jwt_secret", "secret_key", "deployment", "server")
"""Files of the data folder that a backup holds, those that exist."""

RESULTS = "results"
"""Folder of results that the database has not accepted yet."""

REPLACED = "replaced"


def write_backup(data_folder: Path, target: Path) -> None:
    """Write a backup of a data folder, also while its server runs.

    The file appears when it is complete. Raises `ConfigurationError` when there is no database, or
    the file cannot be written.
    """
    database = data_folder / SQLITE_FILE
    if not database.exists():
        raise ConfigurationError(f"There is no database {database}. Check DATA_DIR.")
    draft = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
    try:
        with _work_folder(target.parent) as work, _created(draft) as raw:
            with zstandard().ZstdFile(raw, "w") as packed, _tar(packed, "w|") as tar:
                # Before the database: a result may be in both, but never in none.
                for path in sorted((data_folder / RESULTS).glob("*.json")):
                    _add(tar, path, f"{RESULTS}/{path.name}")
                for name in KEY_FILES:
                    _add(tar, data_folder / name, name)
                copy = work / SQLITE_FILE
                _copy_database(database, copy)
                _add(tar, copy, SQLITE_FILE)
            raw.flush()
            os.fsync(raw.fileno())
        draft.rename(target)
    except OSError as error:
        raise _failed(target, error) from error
    finally:
        draft.unlink(missing_ok=True)


def restore_backup(source: Path, data_folder: Path, *, overwrite: bool) -> Path | None:
    """Put the files of a backup into a data folder, whose lock the caller holds.

    Files that were there are kept in a folder, which is returned. Raises `ConfigurationError` for a
    file that is no backup of this version or an older one, and, without `overwrite`, for a data
    folder with a database; nothing is changed then.
    """
    if (data_folder / SQLITE_FILE).exists() and not overwrite:
        raise ConfigurationError(
            f"{data_folder.absolute()} has a database already. To put the backup in its place, add "
            "--overwrite; the present files are kept beside it."
        )
    try:
        open_private_folder(data_folder)
        with _work_folder(data_folder) as work:
            _unpack(source, work)
            _check(source, work / SQLITE_FILE)
            return _exchange(work, data_folder)
    except (OSError, EOFError, tarfile.TarError, zstandard().ZstdError) as error:
        raise _failed(source, error) from error


def _copy_database(database: Path, copy: Path) -> None:
    # Read-only, and all in one step: a snapshot that no writer waits for.
    address = f"{database.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as live, closing(_open(copy)) as target:
            live.backup(target)
    except sqlite3.Error as error:
        raise ConfigurationError(f"{database} cannot be copied: {error}.") from error


def _check(source: Path, database: Path) -> None:
    """Raise `ConfigurationError` unless this is a whole database that this version can open."""
    try:
        with closing(_open(database)) as opened:
            [(state,)] = opened.execute("PRAGMA quick_check(1)").fetchall()
            [(revision,)] = opened.execute("SELECT version_num FROM alembic_version").fetchall()
    except (sqlite3.Error, ValueError):
        state, revision = "unreadable", ""
    if state != "ok":
        raise ConfigurationError(f"{source} holds no whole database. Use another backup.")
    if revision > head_revision():
        raise ConfigurationError(
            f"{source} was made by a newer version of the server. Restore it with that version."
        )


def _unpack(source: Path, work: Path) -> None:
    """Write the expected files of a backup into a folder; everything else in it is left out."""
    (work / RESULTS).mkdir(mode=0o700)
    with zstandard().ZstdFile(source) as packed, _tar(packed, "r|") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() else None
            if content is None or not _is_expected(member.name):
                continue
            with _created(work / member.name) as file:
                shutil.copyfileobj(content, file)
                file.flush()
                os.fsync(file.fileno())


def _is_expected(name: str) -> bool:
    if name in {SQLITE_FILE, *KEY_FILES}:
        return True
    path = PurePosixPath(name)
    return (
        path.parent == PurePosixPath(RESULTS)
        and path.suffix == ".json"
        and path.name == (name.removeprefix(f"{RESULTS}/"))
    )


def _exchange(work: Path, data_folder: Path) -> Path | None:
    """Move the unpacked files into the data folder, the database last."""
    kept = data_folder / f"{REPLACED}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    present = [data_folder / name for name in KEY_FILES]
    present += sorted((data_folder / RESULTS).glob("*.json"))
    present = [path for path in present if path.exists()]
    database = data_folder / SQLITE_FILE
    if database.exists():
        _end_log(database)
        present += [path for path in data_folder.glob(f"{SQLITE_FILE}-*") if path.is_file()]
        kept.mkdir(mode=0o700)
        # A second name: the database itself is exchanged in one step, below.
        os.link(database, kept / SQLITE_FILE)
    for path in present:
        kept.mkdir(mode=0o700, exist_ok=True)
        path.rename(kept / path.name)
    (data_folder / RESULTS).mkdir(mode=0o700, exist_ok=True)
    for path in sorted((work / RESULTS).iterdir()):
        path.rename(data_folder / RESULTS / path.name)
    for name in (*KEY_FILES, SQLITE_FILE):
        if (work / name).exists():
            (work / name).replace(data_folder / name)
    return kept if kept.exists() else None


def _end_log(database: Path) -> None:
    """Write the log of a database that is not in use into its file, if it can be read."""
    with suppress(sqlite3.Error), closing(_open(database)) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """Add a file; one that has gone meanwhile is left out."""
    try:
        opened = path.open("rb")
    except FileNotFoundError:
        return
    with opened:
        size, content = path.stat().st_size, cast("IO[bytes]", opened)
        if name != SQLITE_FILE:
            # A small file, which may be written meanwhile.
            text = opened.read()
            size, content = len(text), io.BytesIO(text)
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, 0o600
        tar.addfile(entry, content)


def _tar(packed: IO[bytes], mode: Any) -> tarfile.TarFile:
    return tarfile.open(fileobj=packed, mode=mode)


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=folder) as name:
        yield Path(name)


def _created(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _failed(path: Path, error: Exception) -> ConfigurationError:
    reason = getattr(error, "strerror", None) or "it is no backup, or not all of one"
    return ConfigurationError(f"{path} cannot be used: {reason}. Choose another file.")
