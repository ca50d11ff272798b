"""`./run.sh doctor` checks this machine and the fake cloud, and says how to fix what fails."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from e2b import E2B

from database import open_database
from tests.fakes.e2b.control import API_KEY, E2BControl
from tests.support.database.postgres_server import PostgresServer
from tests.support.database.samples import LATER, USER, project_fields
from tests.support.doctor_program import Doctor
from tests.support.e2b.template_tools import VERSION_LINES, install
from utils.agents.claude import CLAUDE_CODE
from utils.auth.api_keys import ApiKeys
from utils.commands.add_user import add_user
from utils.commands.doctor.cloud import TEMPLATE_PROGRAMS
from utils.config.groups.identity import FILE_NAME
from utils.config.settings import Settings
from utils.credentials.project_secrets import purpose_of
from utils.credentials.vault import Vault
from utils.database.migrations import migrate
from utils.models.environments import ProjectSecret
from utils.models.users import Scope

KEYS = {"ANTHROPIC_API_KEY": "sk-ant-of-the-test", "OPENAI_API_KEY": "sk-of-the-test"}


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
    """Install the programs of the template `async-code` in the fake cloud."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name, line in VERSION_LINES.items():
        install(folder, name, line)
    cloud.configure(templates=["async-code"], tools=str(folder))
    return folder


def test_without_any_account_it_says_how_to_get_the_real_thing(doctor: Doctor) -> None:
    code, output = doctor.ask()
    assert code == 0, output
    assert "ok       local mode, simulated" in output
    assert "E2B_API_KEY" in output
    assert "build-template" in output
    assert output.endswith("no problems, no warnings\n")
    assert list(doctor.folder.iterdir()) == [], "looking changes nothing"


def test_each_key_is_checked_and_the_accepted_one_used(
    doctor: Doctor, cloud: E2BControl, template: Path
) -> None:
    cloud.configure(api_keys=[API_KEY])
    code, output = doctor.ask(cloud.environment | KEYS | {"E2B_API_KEY_NEXT": "e2b_revoked"})
    assert code == 1
    assert "ok       E2B accepts the key" in output
    assert "problem  E2B does not accept E2B_API_KEY_NEXT" in output
    assert "ok       the template async-code starts" in output
    assert "e2b_revoked" not in output


def test_everything_in_place_is_ok(doctor: Doctor, cloud: E2BControl, template: Path) -> None:
    code, output = doctor.ask(cloud.environment | KEYS)
    assert code == 0, output
    assert output.endswith("no problems, no warnings\n")
    for line in (
        "E2B accepts the key",
        "the template async-code starts",
        f"the template has all {len(TEMPLATE_PROGRAMS)} programs, in tested versions",
        "agent claude: its key is set",
        "agent codex: its key is set",
        "sandboxes may run for 720 s",
        "the test sandbox has been stopped",
    ):
        assert f"ok       {line}" in output


PRODUCTION = {
    "ENVIRONMENT": "production",
    "SANDBOX": "local",
    "JWT_SECRET": "a-secret-of-more-than-thirty-two-characters",
}


def test_it_says_when_nobody_can_sign_in_and_how_to_add_a_user(doctor: Doctor) -> None:
    code, output = doctor.ask(PRODUCTION)
    assert code == 1
    assert "problem  sign-in: nobody can sign in" in output
    assert "./run.sh add-user" in output
    settings = Settings.model_validate({"data_dir": doctor.folder / "data"})
    database = open_database(settings)
    try:
        user = add_user(database, "you")
        ApiKeys(database).create(user.id, "Laptop", Scope.RUN, None)
    finally:
        database.close()
    code, output = doctor.ask(PRODUCTION)
    assert code == 0, output
    assert "nobody can sign in" not in output


def test_it_warns_where_everybody_can_act_as_anybody(doctor: Doctor) -> None:
    open_to_all = {"HOST": "0.0.0.0", "TRUST_USER_ID": "true", "ENABLE_TEST_USERS": "true"}
    _, output = doctor.ask(open_to_all)
    assert "warning  sign-in: TRUST_USER_ID is on" in output
    assert "warning  sign-in: ENABLE_TEST_USERS is on" in output
    _, output = doctor.ask(PRODUCTION | {"TRUST_USER_ID": "true", "HOST": "127.0.0.1"})
    assert "warning  sign-in: TRUST_USER_ID is on" in output
    _, output = doctor.ask()
    assert "warning  sign-in" not in output


def test_it_warns_where_the_rows_would_outlive_their_key(doctor: Doctor) -> None:
    shared = {"DATABASE_URL": "postgresql://somebody@127.0.0.1:1/nothing"}
    _, output = doctor.ask(shared)
    assert (
        "warning  the secrets of users are encrypted with a key that only DATA_DIR holds" in output
    )
    _, output = doctor.ask(shared | {"SECRET_KEY": "a-key-of-more-than-thirty-two-characters"})
    assert "the secrets of users" not in output


def test_a_key_that_reads_none_of_the_stored_secrets_is_a_problem(
    doctor: Doctor, postgres_server: PostgresServer
) -> None:
    url, key = postgres_server.create("doctor_keys"), "a-key-of-more-than-thirty-two-characters"
    settings = Settings.model_validate({"database_url": url, "secret_key": key})
    migrate(settings)
    with closing(open_database(settings)) as database:
        database.ensure_user(USER)
        project = database.create_project(USER, project_fields()).id
        sealed = Vault.open(settings).seal(USER, purpose_of(project, "TOKEN"), "value")
        secret = ProjectSecret(project, "TOKEN", sealed, for_agent=True, updated_at=LATER)
        database.put_project_secret(USER, secret)
    text = "problem  Nothing that users have stored can be decrypted with this SECRET_KEY"
    keys = {"DATABASE_URL": url, "SECRET_KEY": f"not-{key}"}
    code, output = doctor.ask(keys)
    assert (code, text in output) == (1, True)
    for right in ({"SECRET_KEY": key}, {"SECRET_KEY_PREVIOUS": key}):
        assert text not in doctor.ask(keys | right)[1]


def test_it_tells_whether_the_task_engine_is_used_and_how_to_get_it(
    doctor: Doctor, postgres_server: PostgresServer
) -> None:
    url = postgres_server.create("doctor_engine")
    settings = Settings.model_validate({"database_url": url})
    migrate(settings, engine=False)
    _, output = doctor.ask({"DATABASE_URL": url})
    assert "warning  task engine: not installed; each server runs" in output
    assert "Run ./run.sh migrate --engine" in output
    code, output = doctor.ask({"DATABASE_URL": url, "WORK": "false"})
    assert (code, "problem  task engine: not installed" in output) == (1, True)
    migrate(settings)
    _, output = doctor.ask({"DATABASE_URL": url})
    assert "ok       task engine: version" in output
    with psycopg.connect(url) as rows:
        rows.execute("INSERT INTO servers (id, beats, seen_at) VALUES ('other', 1, now())")
    _, output = doctor.ask({"DATABASE_URL": url})
    assert "is not used beside servers that do without it (1)" in output


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
    assert f"warning  claude is 9.9.9; {CLAUDE_CODE.version} was tested\n" in output
    install(template, "node", "v18.0.0")
    code, output = doctor.ask(cloud.environment | KEYS)
    assert code == 1
    assert "problem  node is 18.0.0; 22 or newer is needed\n" in output


def test_a_full_account_is_a_warning(doctor: Doctor, cloud: E2BControl, template: Path) -> None:
    cloud.configure(max_concurrent=0)
    code, output = doctor.ask(cloud.environment)
    assert code == 0, output
    assert "maximum number of concurrent E2B sandboxes (0)" in output


@pytest.mark.parametrize(
    ("setting", "value", "words", "remedy"),
    [
        ("SANDBOX_TIMEOUT_SECONDS", "7200", "run for 3600 s in one piece", "Lower"),
        ("MAX_CONCURRENT_TASKS", "21", "it runs up to 21 tasks at once", "lower"),
    ],
)
def test_a_limit_above_that_of_the_plan_is_a_warning(
    doctor: Doctor,
    cloud: E2BControl,
    template: Path,
    setting: str,
    value: str,
    words: str,
    remedy: str,
) -> None:
    cloud.configure(pause_renews=False)
    code, output = doctor.ask(cloud.environment | {setting: value})
    assert code == 0
    assert words in output
    assert f"{remedy} {setting}" in output
    assert cloud.sandboxes() == []


def test_a_limit_that_a_pause_sets_back_is_no_warning(
    doctor: Doctor, cloud: E2BControl, template: Path
) -> None:
    code, output = doctor.ask(cloud.environment | KEYS | {"SANDBOX_TIMEOUT_SECONDS": "7200"})
    assert code == 0
    assert "run for 3600 s in one piece, and a task may take 7320 s; a sandbox that is" in output
    assert output.endswith("no problems, no warnings\n")


def test_network_rules_are_tried_where_they_are_needed(
    doctor: Doctor, cloud: E2BControl, template: Path
) -> None:
    egress = cloud.environment | {"SECRETS_MODE": "egress"}
    code, output = doctor.ask(egress)
    assert code == 0
    assert "ok       E2B takes the network rules of SECRETS_MODE=egress" in output
    cloud.configure(transform_rules=False)
    code, output = doctor.ask(egress)
    assert code == 1
    assert "problem  SECRETS_MODE=egress does not work" in output
    assert "The plan of the account may not have them. Set SECRETS_MODE=environment" in output
    cloud.forget_requests()
    doctor.ask(cloud.environment)
    assert cloud.requests("update_network") == []


@pytest.mark.parametrize(
    ("message", "words", "others"),
    [
        ("Team 'a' does not have access to the template 'b'", "belongs to another team", "blocked"),
        ("Team is blocked", "may be blocked", "build-template"),
    ],
)
def test_a_template_of_another_team_is_no_blocked_account(
    doctor: Doctor, cloud: E2BControl, template: Path, message: str, words: str, others: str
) -> None:
    cloud.add_fault(kind="status", route="create", status=403, message=message)
    code, output = doctor.ask(cloud.environment)
    assert code == 1
    problem = output[output.index("problem  ") :]
    assert words in problem
    assert others not in problem.replace(message, "")


def test_the_sandboxes_of_this_deployment_are_counted(
    doctor: Doctor, cloud: E2BControl, template: Path
) -> None:
    (doctor.folder / "data").mkdir()
    (doctor.folder / "data" / FILE_NAME).write_text("mine")
    client = E2B(api_key=API_KEY, api_url=cloud.url, sandbox_url=cloud.url).Sandbox
    for name in ("mine", "mine", "another"):
        client.create("async-code", metadata={"app": "async-code", "deployment": name})
    client.create("async-code")
    _, output = doctor.ask(cloud.environment)
    assert "4 sandboxes are running in the account, 2 of them for this deployment" in output
    _, output = doctor.ask(cloud.environment | {"DEPLOYMENT": "another"})
    assert "4 sandboxes are running in the account, 1 of them for this deployment" in output


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
    assert "warning  the test sandbox could not be stopped" in output


def test_a_host_without_an_answer_is_a_warning(doctor: Doctor) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        code, output = doctor.ask({"ALLOWED_GIT_HOSTS": host})
    assert code == 0
    assert f"warning  {host}" in output
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
