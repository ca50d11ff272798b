"""`./run.sh doctor` says what works and what does not, against the fake cloud."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.fakes.e2b_control import API_KEY, E2BControl
from tests.source_files import ROOT
from utils.settings import Settings
from utils.tested_versions import (
    CLAUDE_CODE,
    CODEX,
    E2B_SDK,
    ENVD,
    PROGRAMS,
    Difference,
    compare_envd,
    compare_programs,
    version_warnings,
    versions_command,
)

pytest_plugins = ("tests.e2b_fixtures",)

TOOLS = {
    "claude": f"{CLAUDE_CODE} (Claude Code)",
    "codex": f"codex-cli {CODEX}",
    "node": "v22.22.2",
    "rg": "ripgrep 13.0.0",
    "bwrap": "bubblewrap 0.8.0",
    "curl": "curl 7.88.1",
}
LINES = "".join(
    f"{program.name}: {TOOLS.get(program.name, f'{program.kind} {program.name} 9.1')}\n"
    for program in PROGRAMS
)
KEYS = {"ANTHROPIC_API_KEY": "sk-ant-of-the-test", "OPENAI_API_KEY": "sk-of-the-test"}


class Doctor:
    """Runs the command in a process of its own, in an empty folder."""

    def __init__(self, folder: Path, host: str) -> None:
        self.folder = folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "ALLOWED_GIT_HOSTS": host,
        }

    def ask(self, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Return the exit code and what was printed."""
        result = subprocess.run(
            [sys.executable, "-m", "utils.doctor"],
            env={**self._environment, **(environment or {})},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        assert "Traceback" not in result.stdout, result.stdout
        return result.returncode, result.stdout


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def doctor(tmp_path: Path, listener: socket.socket) -> Doctor:
    folder = tmp_path / "server"
    folder.mkdir()
    return Doctor(folder, f"127.0.0.1:{listener.getsockname()[1]}")


@pytest.fixture
def template(cloud: E2BControl, tmp_path: Path) -> Path:
    """The programs of the template `async-code`, which the fake cloud has."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, line in TOOLS.items():
        install(folder, name, line)
    cloud.configure(templates=["async-code"], tools=str(folder))
    return folder


def install(folder: Path, name: str, line: str) -> None:
    """Put a program into the template that knows only its version, whatever it is asked."""
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{line}'\n")
    program.chmod(0o755)


def test_without_any_account_it_says_how_to_get_the_real_thing(doctor: Doctor) -> None:
    code, output = doctor.ask()
    assert code == 0, output
    assert "ok       local mode, simulated" in output
    assert "E2B_API_KEY" in output
    assert "build-template" in output
    assert output.endswith("no problems, no warnings\n")
    assert list(doctor.folder.iterdir()) == [], "looking changes nothing"


def test_everything_in_place_is_ok(doctor: Doctor, cloud: E2BControl, template: Path) -> None:
    code, output = doctor.ask(cloud.environment | KEYS)
    assert code == 0, output
    assert output.endswith("no problems, no warnings\n")
    for line in (
        "E2B accepts the key",
        "the template async-code starts",
        f"it has all {len(PROGRAMS)} programs, in tested versions",
        "agent claude: its key is set",
        "agent codex: its key is set",
        "sandboxes may live the 600 s",
        "the trial sandbox has been ended",
    ):
        assert f"ok       {line}" in output


def test_no_secret_is_printed(doctor: Doctor, cloud: E2BControl, template: Path) -> None:
    secrets = {**KEYS, "JWT_SECRET": "a-jwt-secret-of-thirty-two-characters"}
    proxy = {"HTTP_PROXY": "http://somebody:proxy-password@127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    _, output = doctor.ask(cloud.environment | secrets | proxy)
    assert "ok       HTTP_PROXY: 127.0.0.1:9\n" in output
    hidden = [*secrets.values(), "proxy-password", API_KEY]
    assert [value for value in hidden if value in output] == []


def test_the_trial_sandbox_is_ended_and_is_not_taken_for_one_of_a_task(
    doctor: Doctor, cloud: E2BControl, template: Path
) -> None:
    doctor.ask(cloud.environment)
    (request,) = cloud.requests("create")
    assert '"async-code-doctor"' in request["body"]
    assert len(cloud.requests("kill")) == 1
    assert cloud.sandboxes() == []


def test_a_refused_key_is_a_problem(doctor: Doctor, cloud: E2BControl) -> None:
    cloud.configure(api_keys=["e2b_another"])
    code, output = doctor.ask(cloud.environment)
    assert code == 1
    assert "problem  E2B does not accept the key\n" in output
    assert "https://e2b.dev/dashboard" in output
    assert cloud.requests("create") == []


def test_a_cloud_that_is_away_is_a_problem(doctor: Doctor, cloud: E2BControl) -> None:
    cloud.refuse()
    code, output = doctor.ask(cloud.environment)
    assert code == 1
    assert "problem  E2B cannot be reached" in output


def test_a_missing_template_is_a_problem(doctor: Doctor, cloud: E2BControl) -> None:
    cloud.configure(templates=["base"])
    code, output = doctor.ask(cloud.environment)
    assert code == 1
    assert "problem  the account has no template async-code\n" in output
    assert "Run ./run.sh build-template" in output


def test_another_version_is_a_warning_and_a_missing_program_a_problem(
    doctor: Doctor, cloud: E2BControl, template: Path
) -> None:
    install(template, "claude", "9.9.9 (Claude Code)")
    code, output = doctor.ask(cloud.environment | KEYS)
    assert code == 0
    assert f"warning  claude is 9.9.9; {CLAUDE_CODE} was tested\n" in output
    install(template, "node", "v18.0.0")
    code, output = doctor.ask(cloud.environment | KEYS)
    assert code == 1
    assert "problem  node is 18.0.0; 22 or newer is needed\n" in output


def test_a_full_account_is_a_warning(doctor: Doctor, cloud: E2BControl, template: Path) -> None:
    cloud.configure(max_concurrent=0)
    code, output = doctor.ask(cloud.environment)
    assert code == 0, output
    assert "maximum number of concurrent E2B sandboxes (0)" in output


def test_a_limit_above_that_of_the_plan_is_a_problem(
    doctor: Doctor, cloud: E2BControl, template: Path
) -> None:
    code, output = doctor.ask(cloud.environment | {"SANDBOX_TIMEOUT_SECONDS": "7200"})
    assert code == 1
    assert "Timeout cannot be greater than 1 hours" in output
    assert "Lower SANDBOX_TIMEOUT_SECONDS" in output
    assert cloud.sandboxes() == []


def test_a_sandbox_that_dies_meanwhile_is_a_problem(
    doctor: Doctor, cloud: E2BControl, template: Path
) -> None:
    cloud.add_fault(kind="crash", route="process.Start")
    code, output = doctor.ask(cloud.environment)
    assert code == 1
    assert "problem  " in output


def test_a_sandbox_that_cannot_be_ended_is_a_warning(
    doctor: Doctor, cloud: E2BControl, template: Path
) -> None:
    cloud.add_fault(kind="status", route="kill", status=500)
    code, output = doctor.ask(cloud.environment)
    assert code == 0
    assert "warning  the trial sandbox could not be ended" in output


def test_a_host_without_an_answer_is_a_warning(doctor: Doctor, listener: socket.socket) -> None:
    listener.close()
    code, output = doctor.ask()
    assert code == 0
    assert "warning  127.0.0.1:" in output
    assert "cannot be reached" in output


def test_agents_without_a_key_are_warnings(
    doctor: Doctor, cloud: E2BControl, template: Path
) -> None:
    code, output = doctor.ask(cloud.environment)
    assert code == 0
    assert "warning  agent claude: Claude Code has no key. Set ANTHROPIC_API_KEY" in output
    assert "warning  agent codex: Codex has no key. Set OPENAI_API_KEY" in output


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("PORT", "eighty", "PORT"),
        ("SANDBOX", "e2b", "SANDBOX=e2b needs E2B_API_KEY"),
        ("JWT_SECRET", "short-secret", "JWT_SECRET: needs at least 32 characters"),
        ("DATABASE_URL", "mysql://u:database-password@h/d", "DATABASE_URL"),
        ("DATABASE_URL", "postgresql://u:database-password@127.0.0.1:1/d", "PostgreSQL"),
        ("DATA_DIR", "/proc/none", "data folder /proc/none"),
    ],
)
def test_a_wrong_setting_is_a_problem(doctor: Doctor, setting: str, value: str, words: str) -> None:
    code, output = doctor.ask({setting: value})
    assert code == 1
    assert "problem  " in output
    assert words in output
    assert "database-password" not in output
    assert "short-secret" not in output


def test_a_machine_without_git_is_a_problem(doctor: Doctor) -> None:
    code, output = doctor.ask({"PATH": str(doctor.folder)})
    assert code == 1
    assert "problem  git does not run" in output


def test_a_database_of_a_newer_version_is_a_problem(doctor: Doctor) -> None:
    (doctor.folder / "data").mkdir()
    with sqlite3.connect(doctor.folder / "data" / "async-code.db") as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('9999')")
    database.close()
    code, output = doctor.ask()
    assert code == 1
    assert "database: SQLite at revision 9999" in output


def test_what_the_sandbox_prints_is_compared_with_what_was_tested() -> None:
    assert compare_programs(LINES) == []
    assert compare_programs(LINES.replace("GNU tail", "BusyBox")) == [
        Difference("problem", "tail is not the one of GNU: BusyBox 9.1")
    ]
    assert compare_programs(LINES.replace("git:  git 9.1", "git: missing")) == [
        Difference("problem", "git is missing in the template")
    ]
    assert [item.level for item in compare_programs("")] == ["problem"] * len(PROGRAMS)
    assert compare_envd(ENVD) == []
    assert [item.level for item in compare_envd("0.1.0")] == ["warning"]


def test_a_program_that_is_not_installed_is_printed_as_missing(tmp_path: Path) -> None:
    shell = subprocess.run(
        ["/bin/bash", "-c", versions_command()],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shell.stdout.splitlines() == [f"{program.name}: missing" for program in PROGRAMS]


def test_the_installed_sdk_is_the_tested_one() -> None:
    with_cloud = Settings.model_validate({"e2b_api_key": API_KEY})
    assert version_warnings(with_cloud) == []
    assert f"e2b=={E2B_SDK}\n" in (ROOT / "requirements.txt").read_text()


def test_another_sdk_is_warned_of_where_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "e2b-1.0.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: e2b\nVersion: 1.0.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    (warning,) = version_warnings(Settings.model_validate({"e2b_api_key": API_KEY}))
    assert "e2b is installed as 1.0.0" in warning
    assert E2B_SDK in warning
    assert version_warnings(Settings.model_validate({"sandbox": "local"})) == []
