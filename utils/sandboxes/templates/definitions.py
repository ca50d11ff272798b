"""Reads the project's own templates: one Dockerfile, and what each variant adds to it.

e2b.toml and e2b.Dockerfile define the base. A file in `templates` adds lines to the Dockerfile, and
may change the size; so the agents and their versions are written once.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from utils.config.version import VERSION
from utils.errors import ConfigurationError
from utils.models.tasks import Json

ROOT = Path(__file__).resolve().parents[3]
FOLDER = "templates"

BASE = "base"
"""The variant that adds nothing; its template has the name in e2b.toml."""

DEFAULT_TAG = "default"
"""The tag of a name without a tag. E2B sets it only where a build names no tag or this one."""

RELEASE_TAG = f"v{VERSION}"

TEMPLATE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(:[\w.-]+)?")
"""A name at E2B, with or without a tag."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_STEP = "\n# Each of these must start.\nRUN bash -l -c {}\n"

Spec = TypeVar("Spec", bound=BaseModel)
Tag = Annotated[str, Field(pattern=r"^\w[\w.-]{0,100}$")]


class BaseSpec(BaseModel):
    """The content of e2b.toml. The names are those of E2B's own tools."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    template_name: str = Field(pattern=f"^{TEMPLATE_NAME.pattern}$")
    dockerfile: Path
    cpu_count: int = Field(ge=1)
    memory_mb: int = Field(ge=128, multiple_of=2)


class VariantSpec(BaseModel):
    """The content of a file in `templates`.

    `checks` are commands that must succeed at the end of the build; their programs, and those in
    `programs`, are what people are told of.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str
    programs: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    lines: str = ""
    cpu_count: int | None = Field(None, ge=1)
    memory_mb: int | None = Field(None, ge=128, multiple_of=2)
    tags: tuple[Tag, ...] = (RELEASE_TAG,)


@dataclass(frozen=True, slots=True)
class Definition:
    """One template of the project. `text` is its whole Dockerfile, `folder` where that is."""

    name: str
    template_name: str
    description: str
    text: str
    folder: Path
    cpu_count: int
    memory_mb: int
    tags: tuple[str, ...]
    programs: tuple[str, ...]


def read_definitions(root: Path = ROOT) -> Mapping[str, Definition]:
    """Return the project's templates by name, the base first. Raises `ConfigurationError`."""
    base = read_base(root / "e2b.toml")
    text = read_text(base.dockerfile)
    variants = {path.stem: _read(path, VariantSpec) for path in _variant_files(root / FOLDER)}
    shared = variants[BASE].programs if BASE in variants else ()
    return {
        name: _define(name, base, text, spec, shared)
        for name, spec in sorted(variants.items(), key=lambda item: (item[0] != BASE, item[0]))
    }


def _variant_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.toml")) if _NAME.fullmatch(path.stem)]


def _define(
    name: str, base: BaseSpec, text: str, spec: VariantSpec, shared: tuple[str, ...]
) -> Definition:
    checks = " && ".join(f"{check} >/dev/null" for check in spec.checks)
    end = _STEP.format(shlex.quote(checks)) if checks else ""
    plain_name, _, tag = base.template_name.partition(":")
    full_name = plain_name if name == BASE else f"{plain_name}-{name}"
    return Definition(
        name=name,
        template_name=f"{full_name}:{tag}" if tag else full_name,
        description=spec.description,
        text=f"{text.rstrip()}\n{spec.lines}{end}",
        folder=base.dockerfile.parent,
        cpu_count=spec.cpu_count or base.cpu_count,
        memory_mb=spec.memory_mb or base.memory_mb,
        tags=spec.tags,
        programs=tuple(
            dict.fromkeys((*shared, *spec.programs, *(check.split()[0] for check in spec.checks)))
        ),
    )


def read_base(path: Path = ROOT / "e2b.toml") -> BaseSpec:
    """Read e2b.toml; the path of the Dockerfile becomes absolute. Raises `ConfigurationError`."""
    spec = _read(path, BaseSpec)
    return spec.model_copy(update={"dockerfile": path.parent / spec.dockerfile})


def read_text(path: Path) -> str:
    """Return the content of a file. Raises `ConfigurationError`."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error


def _read(path: Path, kind: type[Spec]) -> Spec:
    try:
        values = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: {error}.") from error
    return checked(values, str(path), kind)


def checked(values: Json, origin: str, kind: type[Spec]) -> Spec:
    """Return the values as a specification. Raises `ConfigurationError`."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = [f"{item['loc'][0]}: {item['msg']}" for item in error.errors()]
        raise ConfigurationError(f"{origin}: {'; '.join(problems)}.") from error
