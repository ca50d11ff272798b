"""The Compose files are valid, and fit each other, the image and the server.

No container is started: what reads the files here is the parser of a library.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from compose_spec import PyCompose

from tests.deploy.files import COMPOSE_FILES, compose, compose_services, seconds_to_stop
from tests.support.source_files import ROOT

# `${NAME}`, `${NAME:-default}`, `${NAME:?}`, which Compose replaces before it reads the rest.
VARIABLE = re.compile(r"\$\{\w+(?::[-?])?(\w*)\}")


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.stem)
def test_a_file_follows_the_specification(path: Path) -> None:
    # The parser knows no merge keys of YAML, which Compose does.
    text = yaml.safe_dump(compose(path))
    text = VARIABLE.sub(lambda found: found[1] or "10.0.0.5", text)
    read = PyCompose.from_yaml(text)
    assert set(read.service_names()) == compose(path)["services"].keys()
    with pytest.raises(ValueError, match="stop_grace_periods"):
        PyCompose.from_yaml(text.replace("stop_grace_period", "stop_grace_periods"))


def test_services_have_the_time_that_the_end_of_the_program_takes() -> None:
    for name, service in compose_services().items():
        if name != "server migrate":
            assert int(service["stop_grace_period"].removesuffix("s")) >= seconds_to_stop(), name
            assert service["restart"] == "unless-stopped", name


def test_what_outlives_a_container_is_in_a_volume_of_the_file() -> None:
    for path in COMPOSE_FILES:
        content = compose(path)
        used = {
            volume.partition(":")[0]
            for service in content["services"].values()
            for volume in service.get("volumes", [])
        }
        assert used == content["volumes"].keys(), path
    kept = {
        service["volumes"][0] for service in compose_services().values() if "volumes" in service
    }
    assert kept == {"data:/data"}
    assert "DATA_DIR=/data" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_only_the_database_listens_beyond_its_own_machine() -> None:
    for name, service in compose_services().items():
        assert service.get("ports", ["127.0.0.1:8000:8000"]) == ["127.0.0.1:8000:8000"], name
        assert (ROOT / "deploy/compose" / service["build"] / "Dockerfile").exists()
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]


def test_workers_find_the_database_of_the_server() -> None:
    server, worker = compose_services()["server web"], compose_services()["worker worker"]
    pattern = r"postgresql://(\w+):\$\{DATABASE_PASSWORD:\?\}@(\S+):5432/(\w+)"
    near = re.fullmatch(pattern, server["environment"]["DATABASE_URL"])
    far = re.fullmatch(pattern, worker["environment"]["DATABASE_URL"])
    assert near
    assert far
    database = compose(ROOT / "deploy/compose/server.yaml")["services"][near[2]]
    assert database["ports"] == [f"{far[2]}:5432:5432"]
    user, name = database["environment"]["POSTGRES_USER"], database["environment"]["POSTGRES_DB"]
    assert (near[1], near[3]) == (far[1], far[3]) == (user, name)
