"""Parses the command line of the demonstration."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from demo.agent import KEYS

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_PROMPT = "Take ten per cent off baskets from 100.00 upwards, and test it."
DEFAULT_PROMPT = "Add a short file that tells a newcomer what this repository contains."
DEFAULT_DATA_DIR = Path("data/demo")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one run. `repo` is None for the sample project.

    `keep_serving` is None when the output decides: a terminal keeps the server.
    """

    prompt: str
    repo: str | None
    branch: str | None
    data_dir: Path
    start_folder: Path
    keep_serving: bool | None
    shows_restart: bool = False
    agent: str | None = None
    token_env: str | None = None
    token: str | None = field(default=None, repr=False)

    def shown(self, place: str | Path) -> str:
        """Return a path as a shell word that works in the start folder; return URLs unchanged."""
        path = Path(place)
        if not path.is_absolute():
            return str(place)
        if self.start_folder == ROOT and path.is_relative_to(ROOT):
            path = path.relative_to(ROOT)
        return shlex.quote("./run.sh" if path == Path("run.sh") else str(path))


def _version() -> str:
    """Return the version of the server, without importing it."""
    text = (ROOT / "utils" / "config" / "version.py").read_text(encoding="utf-8")
    return text.rpartition('VERSION = "')[2].partition('"')[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run.sh demo",
        description="Starts a server, runs one coding task and shows its diff.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version())
    parser.add_argument(
        "--repo", help="URL or folder of the repository to work on (default: a sample project)"
    )
    parser.add_argument(
        "--prompt", help="task for the agent (default: one that fits the repository)"
    )
    parser.add_argument(
        "--branch", help="branch to start from (default: the repository's default branch)"
    )
    parser.add_argument(
        "--agent",
        choices=sorted(KEYS),
        help="run this program in place of the script; needs its key, and the program on PATH or "
        "E2B_API_KEY",
    )
    parser.add_argument(
        "--token-env",
        metavar="NAME",
        help="environment variable that holds a token for the repository",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=DEFAULT_DATA_DIR,
        help="folder for the database, the log and the sample project (default: %(default)s)",
    )
    _add_serving(parser)
    parser.add_argument("--from", dest="start_folder", type=Path, help=argparse.SUPPRESS)
    return parser


def _add_serving(parser: argparse.ArgumentParser) -> None:
    serving = parser.add_mutually_exclusive_group()
    serving.add_argument(
        "--keep-serving",
        action="store_true",
        default=None,
        help="keep the server running afterwards, until Ctrl-C (default on a terminal)",
    )
    serving.add_argument(
        "--no-serve",
        dest="keep_serving",
        action="store_false",
        help="end after the task (default elsewhere)",
    )


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Parse the command line; exit with code 2 and a message if it is not valid."""
    parser = _parser()
    given = parser.parse_args(arguments)
    start = given.start_folder or Path.cwd()
    if given.token_env and not environment.get(given.token_env):
        parser.error(f"the environment variable {given.token_env} is not set; export it first")
    chosen = given.data_dir.expanduser()
    data_dir = chosen if chosen == DEFAULT_DATA_DIR else start / chosen
    return Options(
        prompt=given.prompt or (DEFAULT_PROMPT if given.repo else SAMPLE_PROMPT),
        repo=_absolute(given.repo, start),
        branch=given.branch,
        data_dir=data_dir.absolute(),
        start_folder=start.absolute(),
        keep_serving=given.keep_serving,
        # Another task may take minutes, cost money, or count its own runs.
        shows_restart=given.repo is None and given.prompt is None and given.agent is None,
        agent=given.agent,
        token_env=given.token_env,
        token=environment[given.token_env] if given.token_env else None,
    )


def _absolute(repo: str | None, start: Path) -> str | None:
    """Resolve a folder against the start folder; return URLs unchanged."""
    if repo is None or "://" in repo or _is_remote_address(repo, start):
        return repo
    return str((start / Path(repo).expanduser()).resolve())


def _is_remote_address(repo: str, start: Path) -> bool:
    # git@host:owner/name and host/owner/name are addresses unless there is such a folder.
    first = repo.partition("/")[0]
    looks_remote = "@" in first or ("." in first.strip(".") and "/" in repo)
    return looks_remote and not (start / repo).exists()
