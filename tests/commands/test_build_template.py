"""The template is built from e2b.toml and e2b.Dockerfile by the real SDK."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from e2b import AsyncSandbox, AsyncTemplate, SandboxException

from tests.fakes.e2b.control import API_KEY, E2BControl
from tests.support.e2b.template_tools import missing_in_template
from tests.support.preloaded import complete_preloaded
from tests.support.source_files import ROOT
from utils.agents.registry import PROGRAMS
from utils.commands.build_template import Recipe
from utils.config.settings import Settings
from utils.errors import ConfigurationError
from utils.sandboxes.templates.definitions import BASE, RELEASE_TAG, read_base, read_definitions

TOML = 'template_name = "x"\ndockerfile = "Dockerfile"\ncpu_count = 2\nmemory_mb = 1024\n'


def build_template(
    folder: Path, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, away from this folder's .env."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("E2B_")}
    return complete_preloaded(
        ["-m", "utils.commands.build_template", *arguments],
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        cwd=folder,
        timeout=100,
    )


def body_of(cloud: E2BControl, route: str) -> dict[str, object]:
    """Return the body of the only request to a route."""
    (request,) = cloud.requests(route)
    body: dict[str, object] = json.loads(request["body"])
    return body


def test_the_sdk_converts_every_line_of_the_dockerfile(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = Recipe(read_definitions()[BASE])
    assert capsys.readouterr().out == "", "the conversion prints what it leaves out"
    converted = json.loads(AsyncTemplate.to_json(recipe.template))
    assert converted["fromImage"] == "node:22-trixie-slim"
    assert "startCmd" not in converted
    assert recipe.steps[:2] == ["USER root", "WORKDIR /"]
    assert recipe.steps[-2:] == ["USER user", "WORKDIR /home/user"]
    assert {step.partition(" ")[0] for step in recipe.steps[2:-2]} == {"ENV", "RUN"}


@pytest.mark.parametrize("name", read_definitions())
def test_each_template_has_the_tested_agents_and_starts_them_once(name: str) -> None:
    steps = Recipe(read_definitions()[name]).steps
    install = next(step for step in steps if "npm install" in step)
    check = next(step for step in steps if "--version" in step)
    assert steps.index(check) > steps.index(install)
    assert [missing_in_template(program, steps) for program in PROGRAMS] == [[]] * len(PROGRAMS)


def test_tasks_use_the_name_of_the_template_by_default() -> None:
    assert Settings.model_fields["e2b_template_id"].default == read_base().template_name


@pytest.mark.anyio
async def test_a_built_template_can_be_started_from_the_printed_line(
    cloud: E2BControl, tmp_path: Path
) -> None:
    cloud.configure(templates=["base"])
    result = build_template(tmp_path, cloud.environment)
    assert result.returncode == 0, result.stderr
    (line,) = [text for text in result.stdout.splitlines() if text.startswith("E2B_TEMPLATE_ID=")]
    for template in (line.removeprefix("E2B_TEMPLATE_ID="), read_base().template_name):
        assert await (await AsyncSandbox.create(template, timeout=60)).kill()
    with pytest.raises(SandboxException, match="not found"):
        await AsyncSandbox.create("another", timeout=60)


def test_e2b_is_asked_for_what_the_two_files_say(cloud: E2BControl, tmp_path: Path) -> None:
    result = build_template(tmp_path, cloud.environment)
    spec = read_base()
    assert body_of(cloud, "template.create") == {
        "name": spec.template_name,
        "tags": ["default", RELEASE_TAG],
        "cpuCount": spec.cpu_count,
        "memoryMB": spec.memory_mb,
    }
    started = body_of(cloud, "template.start")
    recipe = Recipe(read_definitions()[BASE])
    assert started["steps"] == json.loads(AsyncTemplate.to_json(recipe.template))["steps"]
    assert started["force"] is False
    assert API_KEY not in result.stdout + result.stderr


def test_the_whole_log_of_the_build_is_shown(cloud: E2BControl, tmp_path: Path) -> None:
    output = build_template(tmp_path, cloud.environment).stdout
    count = len(Recipe(read_definitions()[BASE]).steps)
    shown = [f"[builder {number}/{count}]" in output for number in range(1, count + 1)]
    assert shown == [True] * count
    assert "Build finished" in output


def test_name_and_cache_can_be_chosen(cloud: E2BControl, tmp_path: Path) -> None:
    result = build_template(tmp_path, cloud.environment, "--name", "mine:v2", "--no-cache")
    assert result.returncode == 0, result.stderr
    created = body_of(cloud, "template.create")
    assert (created["name"], "tags" in created) == ("mine:v2", False)
    (line,) = [text for text in result.stdout.splitlines() if text.startswith("E2B_TEMPLATE_ID=")]
    assert line.endswith(":v2"), "the id alone means the tag `default`"
    assert body_of(cloud, "template.start")["force"] is True


def test_the_second_key_builds_where_the_first_is_refused(
    cloud: E2BControl, tmp_path: Path
) -> None:
    cloud.configure(api_keys=["e2b_the_next"])
    result = build_template(
        tmp_path, cloud.environment | {"E2B_API_KEY_NEXT": "e2b_the_next"}, "--name", "mine"
    )
    assert result.returncode == 0, result.stderr
    assert "E2B_TEMPLATE_ID=" in result.stdout


def test_a_failed_build_names_the_step(cloud: E2BControl, tmp_path: Path) -> None:
    cloud.configure(failing_step=5)
    result = build_template(tmp_path, cloud.environment)
    assert result.returncode == 1
    assert "failed at step 5, RUN apt-get update" in result.stderr
    assert "e2b.Dockerfile" in result.stderr
    assert "error: the last line of the command" in result.stdout
    assert "E2B_TEMPLATE_ID" not in result.stdout
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("route", "status", "words"),
    [
        ("template.create", 401, "E2B does not accept the key. Set E2B_API_KEY"),
        ("template.create", 400, "E2B did not accept the template: 400: no such base image"),
        ("template.start", 429, "Try again in a minute"),
        ("template.status", 500, "E2B answered: 500"),
        ("template.status", 503, "no capacity"),
    ],
)
def test_a_refusal_says_what_to_do(
    cloud: E2BControl, tmp_path: Path, route: str, status: int, words: str
) -> None:
    cloud.add_fault(kind="status", route=route, status=status, message="no such base image")
    result = build_template(tmp_path, cloud.environment)
    assert (result.returncode, "Traceback" in result.stderr) == (1, False)
    assert words in result.stderr
    assert API_KEY not in result.stderr


def test_a_limit_of_builds_is_no_limit_of_sandboxes(cloud: E2BControl, tmp_path: Path) -> None:
    message = "you have reached the maximum number of concurrent template builds (20)"
    cloud.add_fault(kind="status", route="template.create", status=429, message=message)
    result = build_template(tmp_path, cloud.environment)
    assert result.returncode == 1
    assert "Wait until other builds have ended" in result.stderr
    assert "sandboxes" not in result.stderr


def test_a_network_that_is_away_says_what_to_check(cloud: E2BControl, tmp_path: Path) -> None:
    cloud.refuse()
    result = build_template(tmp_path, cloud.environment)
    assert result.returncode == 1
    assert "E2B cannot be reached" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_build_without_a_key_says_where_to_get_one(tmp_path: Path) -> None:
    result = build_template(tmp_path, {})
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("Set E2B_API_KEY")


@pytest.mark.parametrize(
    "arguments", [["--name", "Has Spaces"], ["--name", "-x"], ["--nmae=x"], ["cobol"]]
)
def test_a_wrong_argument_is_refused(
    cloud: E2BControl, tmp_path: Path, arguments: Sequence[str]
) -> None:
    result = build_template(tmp_path, cloud.environment, *arguments)
    assert result.returncode != 0
    assert arguments[0] in result.stderr
    assert cloud.requests() == []


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        (None, "No such file"),
        ("template_name = ", "Invalid value"),
        (TOML.replace('"x"', '"Upper Case"'), "template_name"),
        (TOML.replace("2\n", "0\n"), "cpu_count"),
        (TOML + "team_id = 1\n", "team_id"),
        (TOML.replace("memory_mb = 1024", ""), "memory_mb: Field required"),
    ],
)
def test_a_wrong_e2b_toml_is_explained(tmp_path: Path, toml: str | None, words: str) -> None:
    path = tmp_path / "e2b.toml"
    if toml is not None:
        path.write_text(toml)
    with pytest.raises(ConfigurationError, match=words) as raised:
        read_base(path)
    assert str(path) in raised.value.message


@pytest.mark.parametrize(
    ("dockerfile", "variant", "words"),
    [
        (None, "", "No such file"),
        ("FROM a\nFROM b\n", "", "Multi-stage"),
        ("FROM a\nCOPY --from=b x y\n", "", "line 2"),
        ("RUN true\n", "", "FROM"),
        ("FROM a\n", "cpu_count = 0\n", "mine.toml: cpu_count"),
        ("FROM a\n", "line = ''\n", "mine.toml: line"),
        ("FROM a\n", "lines = 'COPY --from=b x y'\n", "template mine: .*line 2"),
    ],
)
def test_a_template_that_e2b_cannot_build_is_explained(
    tmp_path: Path, dockerfile: str | None, variant: str, words: str
) -> None:
    (tmp_path / "e2b.toml").write_text(TOML)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "mine.toml").write_text(f"description = 'Mine.'\n{variant}")
    if dockerfile is not None:
        (tmp_path / "Dockerfile").write_text(dockerfile)
    with pytest.raises(ConfigurationError, match=words):
        Recipe(read_definitions(tmp_path)["mine"])


def test_a_variant_adds_to_the_one_dockerfile_and_checks_its_programs() -> None:
    base, *variants = read_definitions().values()
    assert (base.name, [one.name for one in variants]) == (
        BASE,
        ["go", "java", "node", "python", "rust"],
    )
    for one in variants:
        assert one.text.startswith(base.text)
        assert one.template_name == f"{base.template_name}-{one.name}"
        last = Recipe(one).steps[-3]
        added = [name for name in one.programs if name not in base.programs]
        assert added
        assert [name for name in added if f"{name} " not in last] == []


def test_a_variant_is_built_by_its_name_and_its_own_size(cloud: E2BControl, tmp_path: Path) -> None:
    cloud.configure(templates=["base"])
    result = build_template(tmp_path, cloud.environment, "rust")
    assert result.returncode == 0, result.stderr
    rust = read_definitions()["rust"]
    created = body_of(cloud, "template.create")
    assert (created["name"], created["cpuCount"], created["memoryMB"]) == (
        "async-code-rust",
        rust.cpu_count,
        rust.memory_mb,
    )
    assert '"template": "rust"' in result.stdout
