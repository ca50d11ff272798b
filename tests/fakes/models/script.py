"""Reads the script of the fake model: the lines of the prompt that begin with `do`.

    do write FILE TEXT     create a file with one line of text
    do shell COMMAND       run a command
    do background COMMAND  run it in the background, where the program can; else as `shell`
    do say TEXT            the final answer; when not said it is "Done."

One step is one call of a tool; the next step follows when its result has come back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DONE = "Done."

_LINE = re.compile(r"^do (write|shell|background|say) (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a tool: `kind` is `write`, `shell` or `background`."""

    kind: str
    arguments: str

    @property
    def file(self) -> str:
        """The file that `write` creates."""
        return self.arguments.partition(" ")[0]

    @property
    def text(self) -> str:
        """The line that `write` puts into the file."""
        return self.arguments.partition(" ")[2]


@dataclass(frozen=True, slots=True)
class Script:
    """All steps of a prompt."""

    steps: tuple[Step, ...]
    answer: str

    def step_after(self, results: int) -> Step | None:
        """Return the step after this number of results, None at the end."""
        return self.steps[results] if results < len(self.steps) else None


def read_script(prompt: str) -> Script:
    """Return the script of a prompt; without `do` lines it has no steps."""
    found = _LINE.findall(prompt)
    steps = tuple(Step(kind, rest) for kind, rest in found if kind != "say")
    answers = [rest for kind, rest in found if kind == "say"]
    return Script(steps, answers[-1] if answers else DONE)
