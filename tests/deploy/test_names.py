"""Tests that what the files in `deploy` name exists: settings, commands, paths of the API."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from tests.deploy.files import (
    FILES,
    UNITS,
    Json,
    compose_services,
    container,
    of_kind,
    pods,
    unit,
)
from tests.support.markdown import blocks, read_page
from tests.support.source_files import ROOT
from utils.config.settings import Settings

KNOWN = {name.upper() for name in Settings.model_fields}
# Variables of PostgreSQL's image, of Python, and of the files themselves.
OTHERS = frozenset(
    {
        "DATABASE_ADDRESS",
        "DATABASE_PASSWORD",
        "POSTGRES_DB",
        "POSTGRES_PASSWORD",
        "POSTGRES_USER",
        "PYTHONDONTWRITEBYTECODE",
    }
)
FAMILIES = re.compile(r"\bAF_[A-Z0-9]+")
SECRET = re.compile(r"<openssl rand -hex \d+>|\.\.\.|\$\{\w+:\?\}")


def compose_variables(service: Json) -> dict[str, str]:
    """Return what a service gets, with the defaults of what is taken from .env."""
    given = {**service["environment"], **secrets_of_guide()}
    return {name: re.sub(r"\$\{\w+:-(\w+)\}", r"\1", value) for name, value in given.items()}


def kubernetes_variables(pod: Json) -> dict[str, str]:
    """Return what a pod gets."""
    (shared,) = of_kind("ConfigMap")
    sources = [one for source in container(pod)["envFrom"] for one in source.values()]
    assert {one["name"] for one in sources} == {shared["metadata"]["name"]}
    own = {one["name"]: one["value"] for one in container(pod).get("env", [])}
    return {**secrets_of_guide(), **shared["data"], **own}


def secrets_of_guide() -> dict[str, str]:
    """Return the secrets that the guide lists, with values."""
    texts = [block.text for block in blocks(read_page("docs/deployment.md"), "")]
    (text,) = [text for text in texts if "SECRET_KEY=" in text]
    pairs = [line.partition("=") for line in text.splitlines()]
    return {name: SECRET.sub("0a1b2c3d" * 8, value) for name, _, value in pairs}


def test_each_setting_that_is_named_exists() -> None:
    for path in FILES:
        text = FAMILIES.sub("", path.read_text(encoding="utf-8"))
        named = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", text))
        assert named - KNOWN - OTHERS == set(), path
    given = {name for one in compose_services().values() for name in one["environment"]}
    given |= {name for pod in pods().values() for name in kubernetes_variables(pod)}
    for path in UNITS:
        given |= {word.partition("=")[0] for word in unit(path)["Service"]["Environment"].split()}
    assert given >= {"HOST", "WORK", "DATA_DIR", "SECRET_KEY"}
    assert given - KNOWN - OTHERS == set()


@pytest.mark.parametrize("name", [*compose_services(), *pods()])
def test_the_settings_that_a_process_gets_fit_together(name: str) -> None:
    service = compose_services().get(name)
    given = compose_variables(service) if service else kubernetes_variables(pods()[name])
    values = {"environment": "production", **{key.lower(): value for key, value in given.items()}}
    settings = Settings.model_validate(values)
    assert settings.sandbox_kind == "e2b"
    # With the database of the guide each of them takes its tasks from the engine.
    assert settings.may_use_engine


def test_each_command_is_one_of_the_program() -> None:
    script = (ROOT / "run.sh").read_text(encoding="utf-8")
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    usual = re.findall(r'^CMD \["(.*)", "(.*)"\]$', dockerfile, re.MULTILINE)[0]
    commands = [one.get("command", usual) for one in compose_services().values()]
    commands += [container(pod)["args"] for pod in pods().values()]
    for program, command, *options in commands:
        assert program == "./run.sh"
        assert re.search(rf"^  {command} ", script, re.MULTILINE), command
        assert options in ([], ["--engine"])
    started = {unit(path)["Service"]["ExecStart"].partition("main.py")[2] for path in UNITS}
    assert started == {"", " worker"}


def test_each_probe_asks_what_the_server_answers(client: FlaskClient) -> None:
    (web,) = [container(pod) for name, pod in pods().items() if name.endswith("web")]
    names = [name for name in web if name.endswith("Probe")]
    assert sorted(names) == ["livenessProbe", "readinessProbe", "startupProbe"]
    for name in names:
        assert client.get(web[name]["httpGet"]["path"]).status_code == 200
