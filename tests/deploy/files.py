"""Reads the files in `deploy`: Compose, Kubernetes and systemd."""

from __future__ import annotations

import configparser
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tests.support.source_files import ROOT
from utils.config.settings import Settings
from utils.server.web_server import STOP_SECONDS

DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
COMPOSE_FILES = [path for path in FILES if path.parent.name == "compose"]
UNITS = [path for path in FILES if path.suffix == ".service"]

Json = dict[str, Any]


@cache
def compose(path: Path) -> Json:
    """Return the content of a Compose file."""
    content: Json = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def compose_services() -> dict[str, Json]:
    """Return the services of all Compose files that run the program, by file and name."""
    return {
        f"{path.stem} {name}": service
        for path in COMPOSE_FILES
        for name, service in compose(path)["services"].items()
        if "build" in service
    }


@cache
def manifests() -> list[Json]:
    """Return the Kubernetes objects of all files."""
    found = [path for path in FILES if path.parent.name == "kubernetes"]
    texts = [path.read_text(encoding="utf-8") for path in found]
    return [one for text in texts for one in yaml.safe_load_all(text)]


def of_kind(*kinds: str) -> list[Json]:
    """Return the Kubernetes objects of these kinds."""
    return [one for one in manifests() if one["kind"] in kinds]


def pods() -> dict[str, Json]:
    """Return the templates of the pods by the names of their Deployments and Jobs."""
    owners = of_kind("Deployment", "Job")
    return {one["metadata"]["name"]: one["spec"]["template"] for one in owners}


def container(pod: Json) -> Json:
    """Return the only container of a pod."""
    (only,) = pod["spec"]["containers"]
    found: Json = only
    return found


def unit(path: Path) -> configparser.ConfigParser:
    """Return a file of systemd. Names in it are unique."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser


def seconds_to_stop() -> float:
    """Return how long a process may take to stop, with the default settings."""
    fields = Settings.model_fields
    limits = ("shutdown_grace_seconds", "command_timeout_seconds")
    return sum(float(fields[name].default) for name in limits) + STOP_SECONDS
