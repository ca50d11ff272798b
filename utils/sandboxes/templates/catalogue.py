"""Answers which templates there are, and refuses names that are none of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from utils.errors import InvalidInput, SandboxError, Unavailable
from utils.sandboxes.protocol import SandboxProvider, Template

KEPT_SECONDS = 30.0
"""Time for which a list is kept, so that people who look at it send the provider few requests."""

FAILURE_SECONDS = 5.0
"""Time for which nobody asks again, so that few requests wait for a provider that hangs."""

NAMES_SHOWN = 30


class TemplateCatalogue:
    """The templates of this deployment, for any thread. `run` runs a coroutine on the loop."""

    def __init__(self, provider: SandboxProvider, run: Callable[..., Any]) -> None:
        self._provider = provider
        self._run = run
        self._lock = Lock()
        self._templates: Sequence[Template] = ()
        self._failure: Unavailable | None = None
        self._ask_at = -math.inf

    def read(self) -> Sequence[Template]:
        """Return all templates, the project's own first. Raises `Unavailable`."""
        with self._lock:
            if time.monotonic() >= self._ask_at:
                self._ask()
            if self._failure is not None:
                raise self._failure
            return self._templates

    def _ask(self) -> None:
        self._failure = None
        kept_seconds = KEPT_SECONDS
        try:
            self._templates = self._run(self._provider.templates)
        except SandboxError as error:
            kept_seconds = FAILURE_SECONDS
            self._failure = Unavailable(
                f"The templates cannot be listed at the moment. {error.message}",
                "templates_unavailable",
            )
        self._ask_at = time.monotonic() + kept_seconds

    def resolve(self, name: str) -> str:
        """Return the id of the template with this name or id.

        Raises `InvalidInput` (`unknown_template`) with the names that there are, also for a
        template that is not built, and `Unavailable`.
        """
        known = self.read()
        found = [one for one in known if name in {one.name, one.id}]
        if not found:
            names = ", ".join(one.name for one in known[:NAMES_SHOWN])
            more = f" and {len(known) - NAMES_SHOWN} more" if len(known) > NAMES_SHOWN else ""
            raise InvalidInput(
                f"There is no template with this name. Take one of these: {names}{more}.",
                "unknown_template",
            )
        if found[0].id is None:
            raise InvalidInput(
                f"The template {found[0].name} is not built yet. "
                f"Run ./run.sh build-template {found[0].name} on the server.",
                "unknown_template",
            )
        return found[0].id
