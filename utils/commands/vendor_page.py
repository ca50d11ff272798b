"""Fetches the libraries of the page from npm: `python -m utils.commands.vendor_page`.

The files are committed, so neither setup nor server needs npm. The manifest beside them names their
versions, licences and hashes. Without arguments the versions of the manifest are fetched again.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from utils.commands.command_line import CommandParser, ends_with_message
from utils.errors import ConfigurationError
from utils.models.tasks import Json
from utils.web.files import VENDOR_FOLDER

MANIFEST = VENDOR_FOLDER / "manifest.json"
LICENCES = VENDOR_FOLDER / "licences"
TEST_FOLDER = Path(__file__).resolve().parents[2] / "tests" / "data"


@dataclass(frozen=True, slots=True)
class Library:
    """A package of npm: its files by the names that they get here.

    `contains` names the packages that are parts of its files.
    """

    package: str
    files: dict[str, str]
    contains: tuple[str, ...] = ()
    folder: Path = VENDOR_FOLDER


LIBRARIES = (
    Library("ansi_up", {"ansi_up.js": "ansi_up.js"}),
    Library("axe-core", {"axe.min.js": "axe.min.js"}, folder=TEST_FOLDER),
    Library(
        "diff2html",
        {
            "bundles/css/diff2html.min.css": "diff2html.css",
            "bundles/js/diff2html.min.js": "diff2html.js",
        },
        contains=("diff", "@profoundlogic/hogan"),
    ),
    Library("dompurify", {"dist/purify.es.mjs": "dompurify.js"}),
    Library("htm", {"dist/htm.module.js": "htm.js"}),
    Library("marked", {"lib/marked.esm.js": "marked.js"}),
    Library("preact", {"dist/preact.mjs": "preact.js", "hooks/dist/hooks.mjs": "hooks.js"}),
    Library(
        "@supabase/supabase-js",
        {"dist/umd/supabase.js": "supabase.js"},
        contains=("tslib", "iceberg-js"),
    ),
)

# Browsers find modules by address only, and the maps are not served.
CHANGES = (
    (rb'from\s*"preact"', b'from"./preact.js"'),
    (rb"\n*//# sourceMappingURL=\S+\s*$", b"\n"),
)


@ends_with_message
def main(arguments: Sequence[str]) -> None:
    """Fetch the libraries, and write them with their manifest."""
    parser = CommandParser(
        "utils.commands.vendor_page", "Fetch the libraries of the page from npm."
    )
    parser.add_argument("--upgrade", action="store_true", help="fetch the newest versions")
    options = parser.parse_args(arguments)
    versions = {} if options.upgrade else _known_versions()
    with TemporaryDirectory() as folder:
        _install(Path(folder), versions)
        entries = [_take(one, Path(folder, "node_modules")) for one in LIBRARIES]
    MANIFEST.write_text(json.dumps({"libraries": entries}, indent=2) + "\n", encoding="utf-8")


def _known_versions() -> dict[str, str]:
    if not MANIFEST.exists():
        return {}
    entries = json.loads(MANIFEST.read_text(encoding="utf-8"))["libraries"]
    return {entry["package"]: entry["version"] for entry in entries}


def _install(folder: Path, versions: dict[str, str]) -> None:
    wanted = [f"{one.package}@{versions.get(one.package, 'latest')}" for one in LIBRARIES]
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]
    result = subprocess.run(
        [*command, str(folder), *wanted], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise ConfigurationError(f"npm could not fetch the packages:\n{result.stderr}")


def _take(library: Library, modules: Path) -> Json:
    """Copy the files of a package and its licences; return its entry in the manifest."""
    source = modules / library.package
    facts = json.loads((source / "package.json").read_text(encoding="utf-8"))
    for package in (library.package, *library.contains):
        _take_licence(package, modules)
    return {
        "package": library.package,
        "version": facts["version"],
        "licence": facts["license"],
        "contains": list(library.contains),
        "files": dict(_take_files(library, source)),
    }


def _take_files(library: Library, source: Path) -> Iterator[tuple[str, Json]]:
    for origin, name in library.files.items():
        content = original = (source / origin).read_bytes()
        for pattern, replacement in CHANGES:
            content = re.sub(pattern, replacement, content)
        (library.folder / name).write_bytes(content)
        yield name, {"from": origin, "sha256_in_package": _hash(original), "sha256": _hash(content)}


def _take_licence(package: str, modules: Path) -> None:
    found = sorted((modules / package).glob("LICEN[SC]E*"))
    if not found:
        # Its package.json names the licence, whose text comes with the package around it.
        return
    LICENCES.mkdir(parents=True, exist_ok=True)
    name = package.removeprefix("@").replace("/", "-")
    text = found[0].read_text(encoding="utf-8").rstrip()
    (LICENCES / f"{name}.txt").write_text(text + "\n", encoding="utf-8")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
