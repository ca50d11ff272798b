"""Tests that a server that cannot start says why in one sentence, and ends with the right code."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.preloaded import run_preloaded
from tests.support.source_files import ROOT
from tests.support.waiting import PATIENCE_SECONDS
from utils.config.settings import Settings
from utils.config.version import VERSION
from utils.database.migrations import migrate

if TYPE_CHECKING:
    from tests.support.database.postgres_server import PostgresServer

EXIT_CODE = 2
# systemd starts a server again after this one: a database may be there later.
WITHOUT_DATABASE = 75


def refuse(folder: Path, wanted: int = EXIT_CODE, **variables: str) -> str:
    """Start a server that must refuse; return its only sentence."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PORT": "0", **variables}
    code, printed = run_preloaded(
        [str(ROOT / "main.py")], cwd=folder, env=environment, timeout=PATIENCE_SECONDS
    )
    assert code == wanted, printed
    lines = printed.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("The server cannot start: ")
    return lines[0]


def test_a_port_in_use_is_named_with_its_program(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refuse(tmp_path, PORT=str(port))
    assert f"Port {port} is in use by" in said
    assert f"process {os.getpid()}" in said
    assert re.search(r"PORT=\d+ \./run\.sh$", said)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_refused(tmp_path: Path, host: str) -> None:
    assert "HOST is no address of this machine" in refuse(tmp_path, HOST=host)


def test_a_machine_without_git_is_told_so(tmp_path: Path) -> None:
    assert "git was not found on PATH" in refuse(tmp_path, PATH=str(tmp_path))


def test_a_machine_without_bubblewrap_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "git").symlink_to(str(shutil.which("git")))
    said = refuse(tmp_path, PATH=str(tmp_path), SANDBOX="isolated")
    assert "bwrap is not installed" in said
    assert "apt install bubblewrap" in said


def test_a_data_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = refuse(tmp_path, DATA_DIR=str(tmp_path / "file"))
    assert f"The data folder {tmp_path / 'file'} cannot be used" in said
    assert "set DATA_DIR to another folder" in said


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "async-code.db").write_text("this is no database " * 100)
    assert "async-code.db in DATA_DIR is damaged" in refuse(tmp_path, WITHOUT_DATABASE)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "Nothing accepts connections"),
        ("no-such-host.invalid", "has no address"),
    ],
)
def test_a_database_that_cannot_be_reached_is_explained(
    tmp_path: Path, address: str, reason: str
) -> None:
    said = refuse(
        tmp_path, WITHOUT_DATABASE, DATABASE_URL=f"postgresql://me:marked4711@{address}/name"
    )
    assert reason in said
    assert "marked4711" not in said


@pytest.fixture(scope="module")
def refusing(postgres_server: PostgresServer) -> Iterator[dict[str, str]]:
    """Provide addresses of a PostgreSQL that cannot be used, by what is wrong with them."""
    url = postgres_server.create("read_only")
    migrate(Settings.model_validate({"database_url": url}))
    rules = postgres_server.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all guarded scram-sha-256\n{before}")
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
        connection.execute("ALTER DATABASE read_only SET default_transaction_read_only = on")
        connection.execute("SELECT pg_reload_conf()")
        yield {
            "password": postgres_server.url("postgres", "guarded:marked4711"),
            "database": postgres_server.url("nothing_of_this_name"),
            "read only": url,
        }
        rules.write_text(before)
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("DROP ROLE guarded")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("password", "The database refuses the user or the password in DATABASE_URL. Correct them"),
        ("database", "The database named in DATABASE_URL does not exist. Create it"),
        ("read only", "The database cannot be written. Make it writable for this user"),
    ],
)
def test_a_postgresql_that_cannot_be_used_is_explained_by_server_and_doctor(
    tmp_path: Path, refusing: dict[str, str], fault: str, reason: str
) -> None:
    said = refuse(tmp_path, WITHOUT_DATABASE, DATABASE_URL=refusing[fault])
    code, printed = run_preloaded(
        ["-m", "utils.commands.doctor"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
        | {"DATABASE_URL": refusing[fault], "ALLOWED_GIT_HOSTS": "127.0.0.1"},
        timeout=PATIENCE_SECONDS,
    )
    assert code == 1, printed
    for text in (said, printed):
        assert reason in text
        assert "marked4711" not in text
        assert "Traceback" not in text


def test_options_that_do_not_exist_are_refused_and_help_does_nothing(tmp_path: Path) -> None:
    commands = [
        [str(ROOT / "main.py")],
        *(
            ["-m", f"utils.commands.{name}"]
            for name in ("migrate", "rotate_keys", "supabase_sql", "doctor", "build_template")
        ),
        ["-m", "demo"],
    ]
    for command in commands:
        answers = {}
        for option in ("--help", "--version", "--prot"):
            answers[option] = run_preloaded(
                [*command, option],
                cwd=tmp_path,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
                timeout=PATIENCE_SECONDS,
            )
        assert answers["--help"][1].startswith("usage: ./run.sh "), command
        assert answers["--version"] == (0, f"{VERSION}\n"), command
        code, printed = answers["--prot"]
        assert (code, "--prot" in printed) == (EXIT_CODE, True), command
        assert list(tmp_path.iterdir()) == []
