"""`./run.sh add-user` adds a user and prints an API key, on every database."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from database import Database
from main import create_app, stop_app
from tests.conftest import JWT_SECRET
from tests.support.database.samples import NOBODY, USER
from tests.support.preloaded import complete_preloaded
from tests.support.source_files import ROOT
from utils.commands.add_user import add_user, main
from utils.config.settings import Settings
from utils.errors import NotFound
from utils.models.users import canonical_user_id

KEY = re.compile(r"ac_[0-9a-f]{64}\n")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in its own process, in an empty folder."""
    return complete_preloaded(
        ["-m", "utils.commands.add_user", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DATA_DIR": str(folder / "data"),
            "HOME": str(folder),
        },
        cwd=folder,
        timeout=100,
    )


def test_the_same_name_is_the_same_user_on_every_database(database: Database) -> None:
    alice = add_user(database, "Alice")
    assert add_user(database, "alice") == alice
    assert canonical_user_id(alice.id) == alice.id
    assert database.get_profile(alice.id).full_name == "Alice"
    mail = add_user(database, "bob@example.com")
    assert mail.email == "bob@example.com"
    assert len({alice.id, mail.id, USER}) == 3


def test_an_id_names_a_user_who_is_there(database: Database) -> None:
    assert add_user(database, USER).id == USER
    with pytest.raises(NotFound):
        add_user(database, NOBODY)


def test_the_key_alone_is_printed_and_works(tmp_path: Path) -> None:
    result = run(tmp_path, "you")
    assert result.returncode == 0, result.stderr
    assert KEY.fullmatch(result.stdout)
    key = result.stdout.strip()
    assert key not in result.stderr
    assert "Authorization: Bearer" in result.stderr
    assert str(tmp_path / "data") in result.stderr
    settings = {
        "data_dir": tmp_path / "data",
        "environment": "production",
        "sandbox": "local",
        "jwt_secret": JWT_SECRET,
    }
    app = create_app(Settings.model_validate(settings))
    try:
        headers = {"Authorization": f"Bearer {key}"}
        user = app.test_client().get("/users/me", headers=headers).get_json()["user"]
        assert user["full_name"] == "you"
        # While the server runs, another key for the same user.
        again = run(tmp_path, "You", "--scope", "read", "--expires-in-days", "1")
        headers = {"Authorization": f"Bearer {again.stdout.strip()}"}
        listed = app.test_client().get("/keys", headers=headers).get_json()["api_keys"]
        assert [row["scope"] for row in listed] == ["read", "admin"]
        assert listed[0]["expires_at"] is not None
    finally:
        stop_app(app)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("",),
        ("a", "b"),
        ("x" * 101,),
        ("a\nb",),
        ("a", "--scope", "root"),
        ("a", "--expires-in-days", "0"),
        ("a", "--expires-in-days", "x"),
        ("a", "--unknown"),
    ],
)
def test_wrong_arguments_add_nobody(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_id_is_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with pytest.raises(SystemExit, match="no such user"):
        main([NOBODY])


def test_help_has_no_effect(tmp_path: Path) -> None:
    result = run(tmp_path, "--help")
    assert result.returncode == 0
    assert "./run.sh add-user" in result.stdout
    assert not (tmp_path / "data").exists()
