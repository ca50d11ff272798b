"""Builds the template of the sandboxes at E2B, from e2b.toml and e2b.Dockerfile.

`./run.sh build-template [--name NAME] [--no-cache]` prints the line for .env at its end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tomllib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from textwrap import shorten

from e2b import E2B, AsyncTemplate, LogEntry
from e2b.exceptions import BuildException
from e2b.template.types import TemplateBuildStatus, TemplateBuildStatusResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from utils.commands.command_line import CommandParser, run_async
from utils.config.settings import Settings
from utils.config.startup import read_settings
from utils.errors import AppError, ConfigurationError, Unavailable
from utils.models.tasks import Json
from utils.sandboxes.e2b.advice import E2B_ERRORS, KEYS_PAGE, exit_immediately, explain_e2b
from utils.sandboxes.e2b.keys import KeyRing

ROOT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.25
SHOWN_CHARACTERS = 100

_SERVER_ERROR = re.compile(r"5\d\d:")
_HIDDEN_LEVEL = "debug"
_UNDER_WAY = (TemplateBuildStatus.BUILDING, TemplateBuildStatus.WAITING)

Print = Callable[[str], None]


class TemplateSpec(BaseModel):
    """The content of e2b.toml. The names are those of E2B's own tools."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    template_name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*(:[\w.-]+)?$")
    dockerfile: Path
    cpu_count: int = Field(ge=1)
    memory_mb: int = Field(ge=128, multiple_of=2)


def read_spec(path: Path = ROOT / "e2b.toml") -> TemplateSpec:
    """Read e2b.toml; the path of the Dockerfile becomes absolute. Raises `ConfigurationError`."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: {error}.") from error
    spec = _checked(values, str(path))
    return spec.model_copy(update={"dockerfile": path.parent / spec.dockerfile})


def _checked(values: Json, origin: str) -> TemplateSpec:
    try:
        return TemplateSpec.model_validate(values)
    except ValidationError as error:
        problems = [f"{item['loc'][0]}: {item['msg']}" for item in error.errors()]
        raise ConfigurationError(f"{origin}: {'; '.join(problems)}.") from error


class Recipe:
    """A Dockerfile, converted for a build at E2B."""

    def __init__(self, dockerfile: Path) -> None:
        """Read the file. Raises `ConfigurationError` when it cannot be converted."""
        try:
            text = dockerfile.read_text(encoding="utf-8")
            template = AsyncTemplate(file_context_path=dockerfile.parent)
            self.template = template.from_dockerfile(text)
        except OSError as error:
            raise ConfigurationError(f"{dockerfile} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise ConfigurationError(f"{dockerfile}: {error}.") from error

    @property
    def steps(self) -> list[str]:
        """The instructions, in the order of E2B's step numbers, which begin at 1."""
        steps = json.loads(AsyncTemplate.to_json(self.template))["steps"]
        return [" ".join([step["type"], *step["args"]]) for step in steps]

    def describe(self, step: str) -> str:
        """Return the description of a step; two steps have names instead of numbers."""
        if step.isdecimal() and 0 < int(step) <= len(self.steps):
            return f"step {step}, {shorten(self.steps[int(step) - 1], SHOWN_CHARACTERS)}"
        return {"base": "its base image (FROM)", "finalize": "the final step"}.get(step, step)


async def build(
    settings: Settings, spec: TemplateSpec, print_line: Print, *, skip_cache: bool = False
) -> str:
    """Build the template, print the log of the build, and return the id of the template.

    Raises `ConfigurationError` when the template or the settings are wrong, and `Unavailable` when
    E2B fails.
    """
    recipe = Recipe(spec.dockerfile)
    keys = _keys(settings)
    client = E2B(api_key=keys.first, domain=settings.e2b_domain).AsyncTemplate
    try:
        started = await keys.call(
            client.build_in_background,
            recipe.template,
            spec.template_name,
            cpu_count=spec.cpu_count,
            memory_mb=spec.memory_mb,
            skip_cache=skip_cache,
            on_build_logs=lambda entry: _print_entry(entry, print_line),
        )
        look = partial(keys.call, client.get_build_status, started)
        last = await _follow(look, print_line)
    except E2B_ERRORS as error:
        raise _translate(error) from error
    if last.status is TemplateBuildStatus.READY:
        return started.template_id
    message = last.reason.message if last.reason else "no reason was given"
    place = recipe.describe(last.reason.step) if last.reason and last.reason.step else "a step"
    raise ConfigurationError(
        f"The build failed at {place}: {message}\n"
        f"The lines above show the cause. Correct {spec.dockerfile.name} and build again; the "
        "steps before it are cached."
    )


def _keys(settings: Settings) -> KeyRing:
    if not settings.e2b_api_keys:
        raise ConfigurationError(
            f"Set E2B_API_KEY in the environment or in .env to build a template: {KEYS_PAGE}"
        )
    return KeyRing(settings.e2b_api_keys)


async def _follow(
    look: Callable[..., Awaitable[TemplateBuildStatusResponse]], print_line: Print
) -> TemplateBuildStatusResponse:
    """Print the log until the build has ended and its log is complete."""
    seen = 0
    while True:
        state = await look(logs_offset=seen)
        seen += len(state.log_entries)
        for entry in state.log_entries:
            _print_entry(entry, print_line)
        if state.status in _UNDER_WAY:
            await asyncio.sleep(POLL_SECONDS)
        elif not state.log_entries:
            return state


def _print_entry(entry: LogEntry, print_line: Print) -> None:
    if entry.level != _HIDDEN_LEVEL:
        loud = "" if entry.level == "info" else f"{entry.level}: "
        print_line(f"{entry.timestamp:%H:%M:%S}  {loud}{entry.message}")


def _translate(error: Exception) -> AppError:
    if isinstance(error, BuildException) and not _SERVER_ERROR.match(str(error)):
        return ConfigurationError(f"E2B did not accept the template: {error}")
    cause, advice = explain_e2b(error)
    return Unavailable(f"{cause}. {advice}.")


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser(
        "build-template",
        "Build the template of the sandboxes at E2B from e2b.toml and e2b.Dockerfile.",
    )
    parser.add_argument("--name", help="name of the template; that in e2b.toml by default")
    parser.add_argument("--no-cache", action="store_true", help="repeat every step")
    return parser.parse_args(arguments)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _run(options: argparse.Namespace) -> int:
    spec = read_spec()
    if options.name:
        spec = _checked(spec.model_dump() | {"template_name": options.name}, "--name")
    template_id = run_async(build(read_settings(), spec, _print, skip_cache=options.no_cache))
    _print(f"\nThe template {spec.template_name} is ready. Put this line into .env:\n")
    _print(f"E2B_TEMPLATE_ID={template_id}\n")
    _print("Then run ./run.sh doctor to check it: that starts a sandbox from the template.")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the template that the command line asks for; return the exit code."""
    options = _arguments(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(options)
    except AppError as error:
        message = error.message
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Stopped. The build continues at E2B.") from None
    sys.stderr.write(f"{message}\n")
    return 1


if __name__ == "__main__":
    exit_immediately(main())
