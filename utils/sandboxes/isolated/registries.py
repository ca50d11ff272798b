"""Finds the package registries that npm and pip of this machine are set up to use.

They are asked twice: with the environment that sandboxes get, which gives what the programs use by
themselves, and with the operator's, whose choice sandboxes are then given as variables.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from utils.config.settings import process_environment
from utils.errors import RepositoryNotAllowed
from utils.git.hosts import Place, canonical_host

ANSWER_SECONDS = 20.0

_URL = re.compile(r"https?://[^\s'\"\\,\]]{1,2000}")
# An environment that another tool has made has no pip; that of the machine then counts.
_PYTHON = sys.executable if find_spec("pip") else "python3"
_NPM = ("npm", "config", "get", "registry")
_PIP = (_PYTHON, "-m", "pip", "config", "list")
# The index names files on a host of its own. No command of pip prints the two.
_PIP_ITSELF = (
    *(_PYTHON, "-c"),
    "from pip._internal.models.index import PyPI as own;"
    "print(own.simple_url, f'https://{own.file_storage_domain}/')",
)


@dataclass(frozen=True, slots=True)
class Registries:
    """Hosts of registries, as entries of `NetworkRules`."""

    chosen: tuple[str, ...] = ()
    """Those that the operator has set up, which may be in a private network."""

    usual: tuple[str, ...] = ()
    """Those that the programs use by themselves."""

    environment: tuple[tuple[str, str], ...] = ()
    """Variables that make the programs in a sandbox use those of the operator."""


@cache
def find_registries(plain: tuple[tuple[str, str], ...]) -> Registries:
    """Return the registries; none of a program that is missing. Blocks, the first time.

    `plain` is the environment of sandboxes.
    """
    own, operators = {**dict(plain), "HOME": "/nonexistent"}, dict(process_environment())
    questions = ((_NPM, own), (_PIP_ITSELF, own), (_NPM, operators), (_PIP, operators))
    with ThreadPoolExecutor(len(questions)) as threads:
        npm_itself, pip_itself, npm, pip = threads.map(_ask, *zip(*questions, strict=True))
    # Of several the last one counts: a variable before files.
    lines = sorted(pip.splitlines(), key=lambda line: line.startswith(":env:"))
    main = [url for line in lines if _key(line) == "index-url" for url in _urls(line)]
    more = [url for line in lines if _key(line) == "extra-index-url" for url in _urls(line)]
    npm_chosen = [url for url in _urls(npm) if url not in _urls(npm_itself)]
    variables = {
        "npm_config_registry": npm_chosen[:1],
        "PIP_INDEX_URL": main[-1:],
        "PIP_EXTRA_INDEX_URL": more,
    }
    return Registries(
        _hosts([*npm_chosen, *main[-1:], *more]),
        _hosts([*_urls(npm_itself), *_urls(pip_itself)]),
        tuple((name, " ".join(urls)) for name, urls in variables.items() if urls),
    )


def _ask(command: tuple[str, ...], environment: Mapping[str, str]) -> str:
    try:
        return subprocess.run(
            command,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=ANSWER_SECONDS,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _key(line: str) -> str:
    """Return the name of an option that a command or a file sets, such as `global.index-url`."""
    return line.partition("=")[0].rpartition(".")[2]


def _urls(text: str) -> list[str]:
    """Return the addresses in a text, but none with a password: tasks get no secrets."""
    return [url for url in dict.fromkeys(_URL.findall(text)) if "@" not in url]


def _hosts(urls: Iterable[str]) -> tuple[str, ...]:
    hosts = dict[str, None]()
    for url in urls:
        try:
            place = Place.of(url)
            if place is not None:
                canonical_host(place.host)
                hosts[place.authority] = None
        except (ValueError, RepositoryNotAllowed):
            continue
    return tuple(hosts)
