"""Builds a template of the sandboxes at E2B, from e2b.toml, e2b.Dockerfile and `templates`.

`./run.sh build-template [TEMPLATE] [--name NAME] [--no-cache]` prints at its end how to use it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from textwrap import shorten

from e2b import E2B, AsyncTemplate, LogEntry
from e2b.exceptions import BuildException
from e2b.template.types import TemplateBuildStatus, TemplateBuildStatusResponse

from utils.commands.command_line import CommandParser, run_async
from utils.config.settings import Settings
from utils.config.startup import read_settings
from utils.errors import AppError, ConfigurationError, Unavailable
from utils.sandboxes.e2b.advice import E2B_ERRORS, KEYS_PAGE, exit_immediately, explain_e2b
from utils.sandboxes.e2b.keys import KeyRing
from utils.sandboxes.templates.definitions import (
    BASE,
    DEFAULT_TAG,
    FOLDER,
    TEMPLATE_NAME,
    Definition,
    read_definitions,
)

POLL_SECONDS = 0.25
SHOWN_CHARACTERS = 100

_SERVER_ERROR = re.compile(r"5\d\d:")
_HIDDEN_LEVEL = "debug"
_UNDER_WAY = (TemplateBuildStatus.BUILDING, TemplateBuildStatus.WAITING)

Print = Callable[[str], None]


class Recipe:
    """The Dockerfile of a template, converted for a build at E2B."""

    def __init__(self, definition: Definition) -> None:
        """Convert the text. Raises `ConfigurationError` when that is not possible."""
        try:
            template = AsyncTemplate(file_context_path=definition.folder)
            self.template = template.from_dockerfile(definition.text)
        except ValueError as error:
            raise ConfigurationError(
                f"The Dockerfile of the template {definition.name}: {error}."
            ) from error

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
    settings: Settings, definition: Definition, print_line: Print, *, skip_cache: bool = False
) -> str:
    """Build the template, print the log of the build, and return the id of the template.

    Raises `ConfigurationError` when the template or the settings are wrong, and `Unavailable` when
    E2B fails.
    """
    recipe = Recipe(definition)
    keys = _keys(settings)
    client = E2B(api_key=keys.first, domain=settings.e2b_domain).AsyncTemplate
    try:
        started = await keys.call(
            client.build_in_background,
            recipe.template,
            definition.template_name,
            tags=_tags(definition),
            cpu_count=definition.cpu_count,
            memory_mb=definition.memory_mb,
            skip_cache=skip_cache,
            on_build_logs=lambda entry: _print_entry(entry, print_line),
        )
        look = partial(keys.call, client.get_build_status, started)
        last = await _follow(look, print_line)
    except E2B_ERRORS as error:
        raise _translate(error) from error
    if last.status is TemplateBuildStatus.READY:
        # The id alone means the tag `default`, which a build with another tag does not get.
        _, colon, tag = definition.template_name.partition(":")
        return f"{started.template_id}{colon}{tag}"
    message = last.reason.message if last.reason else "no reason was given"
    place = recipe.describe(last.reason.step) if last.reason and last.reason.step else "a step"
    raise ConfigurationError(
        f"The build failed at {place}: {message}\n"
        f"The lines above show the cause. Correct e2b.Dockerfile or {FOLDER}/{definition.name}"
        ".toml and build again; the steps before it are cached."
    )


def _tags(definition: Definition) -> list[str]:
    """Return the tags of a build; one whose name has a tag gets no other."""
    return [] if ":" in definition.template_name else [DEFAULT_TAG, *definition.tags]


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


def _arguments(arguments: Sequence[str], known: Iterable[str]) -> argparse.Namespace:
    parser = CommandParser(
        "build-template",
        "Build a template of the sandboxes at E2B from e2b.toml, e2b.Dockerfile and templates/.",
    )
    parser.add_argument(
        "template", nargs="?", default=BASE, choices=[*known], help=f"{BASE} by default"
    )
    parser.add_argument("--name", help="name of the template at E2B")
    parser.add_argument("--no-cache", action="store_true", help="repeat every step")
    return parser.parse_args(arguments)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _run(arguments: Sequence[str]) -> int:
    definitions = read_definitions()
    options = _arguments(arguments, definitions)
    definition = definitions[options.template]
    if options.name:
        if not TEMPLATE_NAME.fullmatch(options.name):
            raise ConfigurationError("--name: use lower-case letters, digits, _, - and one :tag.")
        definition = replace(definition, template_name=options.name)
    template_id = run_async(build(read_settings(), definition, _print, skip_cache=options.no_cache))
    _print(f"\nThe template {definition.template_name} is ready.\n")
    if definition.name != BASE:
        chosen = template_id if options.name else definition.name
        _print(f'A project uses it with "template": "{chosen}" in its environment.')
        _print("To use it for all tasks, put this line into .env instead:\n")
    else:
        _print("Put this line into .env:\n")
    _print(f"E2B_TEMPLATE_ID={template_id}\n")
    _print("Then run ./run.sh doctor to check it: that starts a sandbox from the template.")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the template that the command line asks for; return the exit code."""
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except AppError as error:
        message = error.message
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Stopped. The build continues at E2B.") from None
    sys.stderr.write(f"{message}\n")
    return 1


if __name__ == "__main__":
    exit_immediately(main())
