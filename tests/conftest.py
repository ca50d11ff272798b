"""Fixtures for tests that go through the front door: a real application on a real database."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient

from main import create_app, stop_app
from tests.support.database.migrated import provide_tables
from tests.support.live_server import AUTHORITY
from tests.support.suite.declared_codes import refuse_undeclared_codes
from tests.support.suite.event_forms import refuse_odd_events
from utils.api.endpoint import Services
from utils.config.settings import Settings
from utils.dispatcher.dispatcher import Dispatcher
from utils.pull_requests import automatic
from utils.schedules import scheduler
from utils.webhooks import follower

pytest_plugins = (
    "tests.fixtures.database",
    "tests.fixtures.e2b",
    "tests.fixtures.e2b_tasks",
    "tests.fixtures.engine",
    "tests.fixtures.github",
    "tests.fixtures.live",
    "tests.fixtures.page",
    "tests.fixtures.places",
    "tests.fixtures.pull_requests",
    "tests.fixtures.push",
    "tests.fixtures.row_level",
    "tests.fixtures.schema",
    "tests.fixtures.supabase",
    "tests.fixtures.tasks",
    "tests.fixtures.webhooks",
    "tests.support.suite.exhaustive",
    "tests.support.suite.longest_first",
    "tests.support.suite.shared_forker",
    "tests.support.suite.shared_rewriting",
)

# Each HTTP client reads the authorities that it trusts, which takes 20 ms for those of a system. No
# test asks a host that they vouch for.
os.environ["SSL_CERT_FILE"] = str(AUTHORITY)

# A shell starts what is in the background with SIGINT ignored, and nohup with SIGHUP. All children
# would inherit that.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


def pytest_collection() -> None:
    """Search for no garbage while tests are collected: there is none."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave what is imported and collected out of the collections of garbage to come.

    These come a tenth as often as usual: the tests leave little garbage, and much to search.
    """
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(7_000)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Collect what the tests left, once; pytest then does it five times more."""
    gc.collect()
    gc.freeze()


Headers = dict[str, str]
MakeApp = Callable[..., Flask]

JWT_SECRET = "0123456789abcdef0123456789abcdef"
SUPABASE_SECRET = "fedcba9876543210fedcba9876543210"
SECURE = {"supabase_jwt_secret": SUPABASE_SECRET, "trust_user_id": False}


@pytest.fixture(scope="session")
def apps() -> list[Flask]:
    """Provide the list of applications that `make_app` has built."""
    return []


@pytest.fixture
def quiet(apps: list[Flask]) -> None:
    """Wait until no application runs a task that an earlier test started."""
    wait_until_idle(*apps)


@pytest.fixture(scope="session")
def make_app(tmp_path_factory: pytest.TempPathFactory, apps: list[Flask]) -> Iterator[MakeApp]:
    """Provide a function that builds an application with the given settings.

    It outlives its test, so it looks for nothing that is due, unless `SCAN_SECONDS` is shortened
    while it is built.
    """
    with ExitStack() as running:
        patch = running.enter_context(pytest.MonkeyPatch.context())
        for module in (automatic, follower, scheduler):
            patch.setattr(module, "SCAN_SECONDS", 3600.0)

        def make(**changes: Any) -> Flask:
            # Python 3.11 shares one watcher of child processes between all event loops. It must
            # watch nothing when the next loop starts.
            wait_until_idle(*apps)
            folder = tmp_path_factory.mktemp("data")
            settings = {
                "data_dir": folder,
                "jwt_secret": JWT_SECRET,
                "mirror_max_bytes": 0,
                "workspace_ttl_seconds": 0,
                # All tests come from one address.
                "sign_ins_per_address": 100_000,
                "sign_ins_per_user": 100_000,
            }
            chosen = Settings.model_validate(settings | changes)
            provide_tables(chosen)
            app = create_app(chosen)
            running.callback(stop_app, app)
            refuse_undeclared_codes(app)
            refuse_odd_events(app)
            apps.append(app)
            return app

        yield make


@pytest.fixture(scope="session")
def app(make_app: MakeApp) -> Flask:
    """Provide an application with default settings: trust mode, local sandbox, SQLite."""
    return make_app()


@pytest.fixture(scope="session")
def secure_app(make_app: MakeApp) -> Flask:
    """Provide an application that accepts tokens only."""
    return make_app(**SECURE)


@pytest.fixture
def app_folder(app: Flask) -> Path:
    """Provide the data folder of `app`."""
    services: Services = app.extensions["services"]
    return services.settings.data_dir


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def secure_client(secure_app: Flask) -> FlaskClient:
    return secure_app.test_client()


@pytest.fixture
def user() -> str:
    """Provide the id of a new user."""
    return str(uuid4())


@pytest.fixture
def headers(client: FlaskClient, user: str) -> Headers:
    """Provide the headers of a signed-in user."""
    return sign_in(client, user)


@pytest.fixture
def stranger(client: FlaskClient) -> Headers:
    """Provide the headers of another signed-in user."""
    return sign_in(client, str(uuid4()))


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a local repository with one commit on `main`."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "README.md").write_text("# Demo\n")
    identity = ("-c", "user.name=Tester", "-c", "user.email=tester@example.com")
    for command in (
        ("init", "-q", "-b", "main"),
        ("add", "--all"),
        (*identity, "commit", "-qm", "Start"),
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def sign_in(client: FlaskClient, user_id: str) -> Headers:
    """Sign a user in by id, in trust mode; return the request headers."""
    answer = client.post("/auth/token", json={"user_id": user_id})
    return {"Authorization": f"Bearer {answer.get_json()['access_token']}"}


def wait_until_idle(*apps: Flask) -> None:
    """Wait until no task is queued or running where tasks are run."""
    for app in apps:
        dispatcher: Dispatcher = app.extensions["services"].dispatcher
        deadline = time.monotonic() + 60
        # One that was stopped cannot ask its database any more.
        while dispatcher.is_working and (dispatcher.queued or dispatcher.running):
            assert time.monotonic() < deadline, "tasks do not end"
            time.sleep(0.03)
