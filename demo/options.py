"""Parses the command line of the demonstration."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_PROMPT = "Add a short file that tells a newcomer what the basket module does."
DEFAULT_DATA_DIR = Path("data/demo")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one run. `repo` is None for the sample project."""

    prompt: str
    repo: str | None
    branch: str | None
    data_dir: Path
    start_folder: Path
    keep_serving: bool
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run.sh demo",
        description="Starts a server, runs one coding task and shows its diff.",
    )
    parser.add_argument(
        "--repo", help="URL or folder of the repository to work on (default: a sample project)"
    )
    parser.add_argument(
        "--prompt", default=DEFAULT_PROMPT, help="task for the agent (default: %(default)s)"
    )
    parser.add_argument(
        "--branch", help="branch to start from (default: the repository's default branch)"
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
    parser.add_argument(
        "--keep-serving",
        action="store_true",
        help="keep the server running afterwards, until Ctrl-C",
    )
    parser.add_argument("--from", dest="start_folder", type=Path, help=argparse.SUPPRESS)
    return parser


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Parse the command line; exit with code 2 and a message if it is not valid."""
    parser = _parser()
    given = parser.parse_args(arguments)
    start = given.start_folder or Path.cwd()
    if given.token_env and not environment.get(given.token_env):
        parser.error(f"the environment variable {given.token_env} is not set; export it first")
    data_dir = given.data_dir if given.data_dir == DEFAULT_DATA_DIR else start / given.data_dir
    return Options(
        prompt=given.prompt,
        repo=_absolute(given.repo, start),
        branch=given.branch,
        data_dir=data_dir.absolute(),
        start_folder=start.absolute(),
        keep_serving=given.keep_serving,
        token_env=given.token_env,
        token=environment[given.token_env] if given.token_env else None,
    )


def _absolute(repo: str | None, start: Path) -> str | None:
    """Resolve a folder against the start folder; return URLs unchanged."""
    if repo is None or "://" in repo or not (start / repo).exists():
        return repo
    return str((start / repo).resolve())


def default_branch(repo: str) -> str:
    """Return the branch that HEAD of the repository names, or `main` if it cannot be read."""
    try:
        listing = subprocess.run(
            ["git", "ls-remote", "--symref", "--", repo, "HEAD"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            timeout=20,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired:
        return "main"
    first = listing.partition("\n")[0]
    reference = first.removeprefix("ref: ").partition("\t")[0]
    return reference.removeprefix("refs/heads/") if first.startswith("ref: ") else "main"
