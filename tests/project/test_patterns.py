"""Tests that every regular expression of the program takes linear time on its own worst input."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest

import demo
import utils
from tests.support.suite.exhaustive import sampled
from utils.error_rules import Rule

ROOT = Path(utils.__file__).parents[1]
METHODS = ("search", "match", "fullmatch", "finditer", "findall", "sub", "split")
SIZES = (1_024, 16_384, 262_144)
SIZES_UP_TO = {"16 kB": SIZES[:2], "256 kB": SIZES}
JOINED_UP_TO = {"16 kB": 3, "256 kB": 4}
"""The number of neighbouring literal parts of a pattern that are repeated together at most."""

SECONDS_FOR_A_KILOBYTE = 0.0003
"""A quadratic pattern needs twice as much for 16 kB, most linear ones a thirtieth of it."""

MOST_SECONDS_FOR_A_KILOBYTE = 0.01
REPETITIONS = 3

MEASURED_AGAIN = 12
"""Texts that are measured again: a pause of the machine may put some before the slowest."""

FILLERS = ("", "a", " ", "\n")
PLAIN = ("a", "0", " ", "-", ".", "/", "\n", "\r\n", "a ", "a/", "a.", "0.", "`", "[", "<", "aA0_ ")

LEADS = ("", "[", "'")

Text = tuple[str, str]
Use = tuple["re.Pattern[str] | re.Pattern[bytes]", str]


def modules() -> Iterator[ModuleType]:
    """Yield every module of the program; a script that runs when it is imported is left out."""
    for path in sorted(ROOT.glob("*.py")):
        yield importlib.import_module(path.stem)
    for package in (utils, demo):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def sources() -> str:
    folders = (ROOT / "utils", ROOT / "demo")
    files = [*ROOT.glob("*.py"), *(path for folder in folders for path in folder.rglob("*.py"))]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def rules_in(value: object) -> Iterator[Rule[object, object]]:
    if isinstance(value, Rule):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from rules_in(item)


def patterns_in(value: object) -> Iterator[re.Pattern[str] | re.Pattern[bytes]]:
    """Yield a pattern, or those in a table of patterns."""
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        yield from patterns_in(tuple(value.values()))
    elif isinstance(value, tuple):
        for item in value:
            yield from patterns_in(item)


def inline_uses(module: ModuleType) -> Iterator[Use]:
    """Yield the patterns of calls such as `re.search(PATTERN, text)`."""
    if module.__file__ is None:
        return
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        function = node.func
        if not (isinstance(function.value, ast.Name) and function.value.id == "re"):
            continue
        first = node.args[0]
        text = first.value if isinstance(first, ast.Constant) else None
        if isinstance(first, ast.Name):
            text = getattr(module, first.id, None)
        if function.attr in METHODS and isinstance(text, str | bytes):
            yield re.compile(text, re.MULTILINE), function.attr


def all_uses() -> dict[str, set[Use]]:
    """Return the patterns of the program with the methods that are called, by place."""
    text = sources()
    called: dict[str, set[str]] = defaultdict(set)
    for name, method in re.findall(rf"\b(\w+)\.({'|'.join(METHODS)})\b", text):
        called[name].add(method)
    uses: dict[str, set[Use]] = defaultdict(set)
    for module in modules():
        for name, value in vars(module).items():
            # What is passed on, or is in a table, is called by another name.
            methods = called[name] or {"search"}
            uses[module.__name__] |= set(product(patterns_in(value), methods))
            for rule in rules_in(value):
                for pattern in filter(None, (rule.pattern, rule.also)):
                    flags = re.MULTILINE | re.IGNORECASE
                    uses[module.__name__].add((re.compile(pattern, flags), "search"))
        uses[module.__name__] |= set(inline_uses(module))
    return {place: found for place, found in uses.items() if found}


def literals(pattern: str) -> list[str]:
    """Return the texts in a pattern that stand for themselves."""
    plain = re.sub(r"\(\?(?:[:=!]|<[=!]|P<\w+>|[aimsx]+:?)", "(", pattern)
    plain = plain.replace(r"\n", "\n").replace(r"\t", "\t").replace(r"\r", "\r")
    plain = re.sub(r"\\[A-Za-z]", "(", plain)
    pieces = re.findall(r"(?:\\[^\w\s]|[^\\\[\](){}.*+?|^$])+", plain)
    return [re.sub(r"\\(.)", r"\1", piece) for piece in pieces]


def worst_inputs(pattern: re.Pattern[str] | re.Pattern[bytes], joined: int) -> Iterator[Text]:
    """Yield texts that may make a pattern slow, as a beginning and a part that is repeated.

    The parts are beginnings of what the pattern matches.
    """
    for piece in dict.fromkeys(_pieces(pattern, joined)):
        for lead in LEADS:
            yield lead, piece


def _pieces(pattern: re.Pattern[str] | re.Pattern[bytes], joined: int) -> Iterator[str]:
    source = pattern.pattern
    parts = literals(source if isinstance(source, str) else source.decode("latin-1"))
    yield from PLAIN
    for first in range(len(parts)):
        for last in range(first + 1, min(first + joined, len(parts)) + 1):
            text = "".join(parts[first:last])
            for filler in FILLERS:
                yield text + filler


def seconds_for(use: Use, text: Text, size: int) -> float:
    """Return the processor time that a pattern takes for a text of this size."""
    pattern, method = use
    lead, piece = text
    whole = (lead + piece * (size // len(piece) + 1))[:size]
    subject = whole if isinstance(pattern.pattern, str) else whole.encode("latin-1")
    arguments = (subject[:0], subject) if method == "sub" else (subject,)
    started = time.thread_time()
    found = getattr(pattern, method)(*arguments)
    if method == "finditer":
        for _ in found:
            pass
    return time.thread_time() - started


def is_slow(use: Use, text: Text, size: int) -> bool:
    """Tell whether a text takes long, and a quarter of it much less than a quarter of the time.

    One of several measurements decides for the pattern, because a busy machine slows some.
    """
    kilobytes = size / 1024
    for _ in range(REPETITIONS):
        seconds = seconds_for(use, text, size)
        if seconds <= SECONDS_FOR_A_KILOBYTE * kilobytes:
            return False
        is_linear = seconds < 10 * seconds_for(use, text, size // 4)
        if is_linear and seconds < MOST_SECONDS_FOR_A_KILOBYTE * kilobytes:
            return False
    return True


def slow_inputs(use: Use, largest: str) -> Iterator[str]:
    """Yield the first text that is slow; only the slowest of a size are tried in the next."""
    inputs = list(worst_inputs(use[0], JOINED_UP_TO[largest]))
    for number, size in enumerate(SIZES_UP_TO[largest]):
        limit = SECONDS_FOR_A_KILOBYTE * size / 1024
        times: dict[Text, float] = {}
        for text in inputs:
            times[text] = seconds_for(use, text, size)
            if times[text] > limit and is_slow(use, text, size):
                yield f"{use[0].pattern!r}.{use[1]} takes too long for {size} of {text!r}"
                return
        # In a short text a pause of the machine counts for more than the pattern.
        for text in slowest(times, MEASURED_AGAIN) if not number else ():
            again = (seconds_for(use, text, size) for _ in range(REPETITIONS))
            times[text] = min(times[text], *again)
        inputs = slowest(times, 4 - 3 * number)


def slowest(times: Mapping[Text, float], count: int) -> list[Text]:
    """Return the texts that took longest, up to a number of them."""
    return sorted(times, key=times.__getitem__)[-count:]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("largest", sampled(SIZES_UP_TO, {"16 kB"}, "16 kB show the growth"))
def test_every_pattern_is_linear_on_its_own_worst_input(largest: str) -> None:
    uses = all_uses()
    known = {"utils.git.failures", "utils.push.errors", "utils.github.refusal_rules"}
    assert known | {"utils.pipeline.capture.secret_search"} <= set(uses)
    slow = [text for use in set().union(*uses.values()) for text in slow_inputs(use, largest)]
    assert slow == []


@pytest.mark.parametrize(
    "pattern",
    [
        r"Permission .*denied to",
        r"^remote: error: GH013\b[\s\S]*Push cannot",
        r"\[(?:remote )?rejected\] \((.*)\)",
        r"(\d+)m(\d+)s",
        r"https?://(?=\S*/(?:issues|pull)/\d)",
        r"[^@\s]+@[^@\s]+",
        r"\bsk-[A-Za-z0-9_-]*!",
    ],
)
def test_the_check_finds_quadratic_patterns(pattern: str) -> None:
    use = re.compile(pattern, re.MULTILINE), "search"
    assert any(slow_inputs(use, "16 kB"))
