"""Maps the paths of a fake sandbox to real files, and carries out envd's file operations.

| a path in a request | means |
|---------------------|-------|
| relative, `~`, `~/x` | below the sandbox's home |
| inside the sandbox's real folder (what `$HOME` or `pwd` printed) | itself |
| any other absolute one: `/home/user/x`, `/tmp/x` | below the sandbox's folder, as in a chroot |

An answer names a path the way the request did: real paths stay real, all others begin with `/`.
The daemon is root: it reads and writes what the user has closed to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import re
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import Any, NoReturn

from tests.fakes.e2b.connect import RpcError
from tests.fakes.e2b.http import Aborted, Reply, Request

VIRTUAL_HOME = "/home/user"

# Not inside a longer name or path: the sandbox's real folder itself ends in /home/user.
_HOME_IN_TEXT = re.compile(r"(?<![\w.~}-])/home/user(?![\w.-])")


class Paths:
    """Translates between the paths of a sandbox and those of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home" / "user"

    def real(self, path: str) -> Path:
        """Return the real path. Raise `RpcError` for a path outside the sandbox."""
        if not path or path == "~" or path.startswith("~/"):
            real = self.home / path[2:]
        elif not path.startswith("/"):
            real = self.home / path
        elif Path(path).is_relative_to(self.root):
            real = Path(path)
        else:
            real = self.root / path.lstrip("/")
        real = Path(os.path.normpath(real))
        if not real.is_relative_to(self.root):
            raise RpcError("permission_denied", f"{path} is outside the sandbox")
        return real

    def shown(self, real: Path, asked: str) -> str:
        """Return a real path as the answer to a request for `asked` names it."""
        if asked.startswith("/") and Path(asked).is_relative_to(self.root):
            return str(real)
        return f"/{real.relative_to(self.root)}"

    def in_text(self, text: str) -> str:
        """Replace /home/user in a command, an argument or a variable by the real home."""
        return _HOME_IN_TEXT.sub(lambda _match: str(self.home), text)


@contextlib.contextmanager
def _as_root(paths: Paths, *used: Path) -> Iterator[None]:
    """Let the block use paths that the user has closed to itself, as root may."""
    opened: list[tuple[Path, int]] = []
    if os.geteuid():
        for path in used:
            for item in (*reversed(path.parents), path):
                if item.is_relative_to(paths.root) and os.path.lexists(item):
                    opened += _open(item)
    try:
        yield
    finally:
        for item, mode in reversed(opened):
            item.chmod(mode)


def _open(item: Path) -> list[tuple[Path, int]]:
    mode = stat.S_IMODE(item.lstat().st_mode)
    needed = 0o700 if item.is_dir() else 0o600
    if item.is_symlink() or mode & needed == needed:
        return []
    item.chmod(mode | needed)
    return [(item, mode)]


def filesystem(paths: Paths, method: str, request: dict[str, Any]) -> dict[str, Any]:
    """Carry out a unary call of filesystem.Filesystem. Raise `RpcError` when it is refused."""
    names = ("path", "source", "destination")
    used = [paths.real(request[name]) for name in names if name in request]
    with _as_root(paths, *used):
        return _carry_out(paths, method, request)


def _carry_out(paths: Paths, method: str, request: dict[str, Any]) -> dict[str, Any]:
    try:
        match method:
            case "Stat":
                path = request["path"]
                return {"entry": entry_of(paths, paths.real(path), path)}
            case "MakeDir":
                return _make_dir(paths, request["path"])
            case "Move":
                return _move(paths, request["source"], request["destination"])
            case "ListDir":
                return _list_dir(paths, request.get("path", ""), request.get("depth", 1) or 1)
            case "Remove":
                return _remove(paths, request["path"])
    except FileNotFoundError as error:
        raise RpcError("not_found", f"file not found: {error.filename}") from error
    except NotADirectoryError as error:
        raise RpcError("invalid_argument", f"not a directory: {error.filename}") from error
    except OSError as error:
        raise RpcError("internal", str(error)) from error
    raise RpcError("unimplemented", f"the fake has no filesystem.{method}")


def _make_dir(paths: Paths, path: str) -> dict[str, Any]:
    real = paths.real(path)
    if real.is_dir():
        raise RpcError("already_exists", f"directory already exists: {path}")
    if real.exists():
        raise RpcError("invalid_argument", f"path already exists but it is not a directory: {path}")
    real.mkdir(parents=True)
    return {"entry": entry_of(paths, real, path)}


def _move(paths: Paths, source: str, destination: str) -> dict[str, Any]:
    target = paths.real(destination)
    target.parent.mkdir(parents=True, exist_ok=True)
    paths.real(source).rename(target)
    return {"entry": entry_of(paths, target, destination)}


def _list_dir(paths: Paths, path: str, depth: int) -> dict[str, Any]:
    real = paths.real(path)
    if not real.exists():
        raise RpcError("not_found", f"directory not found: {path}")
    if not real.is_dir():
        raise RpcError("invalid_argument", f"path is not a directory: {path}")
    found = sorted(_below(real, depth))
    return {"entries": [entry_of(paths, item, path) for item in found]}


def _below(folder: Path, depth: int) -> Iterator[Path]:
    for item in folder.iterdir():
        yield item
        if depth > 1 and item.is_dir() and not item.is_symlink():
            yield from _below(item, depth - 1)


def _remove(paths: Paths, path: str) -> dict[str, Any]:
    real = paths.real(path)
    with contextlib.suppress(FileNotFoundError):
        if real.is_dir() and not real.is_symlink():
            shutil.rmtree(real)
        else:
            real.unlink()
    return {}


def entry_of(paths: Paths, real: Path, asked: str) -> dict[str, Any]:
    """Return the description of a file; that of a link has the type and the mode of its target.

    FIFOs, sockets and links that lead nowhere have no type, and the SDK leaves them out of lists.
    """
    status = real.lstat()
    is_link = stat.S_ISLNK(status.st_mode)
    target = _target_of(real) if is_link else status
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    entry = {
        "name": real.name,
        "type": _type_of(target.st_mode) if target else "FILE_TYPE_UNSPECIFIED",
        "path": paths.shown(real, asked),
        "size": str(status.st_size),
        "mode": stat.S_IMODE(target.st_mode) if target else 0,
        "permissions": stat.filemode(status.st_mode),
        "owner": "user",
        "group": "user",
        "modifiedTime": modified.isoformat().replace("+00:00", "Z"),
    }
    if is_link:
        leads_to = real.resolve() if target else real
        inside = leads_to.is_relative_to(paths.root)
        shown = paths.shown(leads_to, asked) if inside else str(leads_to)
        entry |= {"isSymlink": True, "symlinkTarget": shown}
    return entry


def _target_of(link: Path) -> os.stat_result | None:
    with contextlib.suppress(OSError, RuntimeError):
        return link.stat()
    return None


def _type_of(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "FILE_TYPE_DIRECTORY"
    return "FILE_TYPE_FILE" if stat.S_ISREG(mode) else "FILE_TYPE_UNSPECIFIED"


async def read_file(paths: Paths, request: Request, gone: asyncio.Event) -> Reply:
    """Answer GET /files; compressed when the client asks for gzip and nothing else."""
    path = request.query.get("path", "")
    real = paths.real(path)
    try:
        with _as_root(paths, real):
            mode = real.stat().st_mode
            if stat.S_ISDIR(mode):
                return Reply.error(400, f"path '{path}' is a directory")
            content = b"" if stat.S_ISFIFO(mode) else real.read_bytes()
    except FileNotFoundError:
        return Reply.error(404, f"path '{path}' does not exist")
    except (OSError, ValueError) as error:
        return Reply.error(500, f"error checking if path exists '{path}': {error}")
    if stat.S_ISFIFO(mode):
        await _block(gone)
    return _content(content, request)


async def _block(gone: asyncio.Event) -> NoReturn:
    """Wait as the daemon does when it opens a FIFO that nobody has open at the other end."""
    await gone.wait()
    raise Aborted


def _content(content: bytes, request: Request) -> Reply:
    headers = {"Content-Type": "application/octet-stream"}
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if wanted and wanted[0] != "bytes=-":
        return _part(content, wanted[1], wanted[2], headers)
    if request.headers.get("accept-encoding", "").strip() == "gzip":
        return Reply(200, gzip.compress(content, 1), {**headers, "Content-Encoding": "gzip"})
    return Reply(200, content, headers)


def _part(content: bytes, first: str, final: str, headers: dict[str, str]) -> Reply:
    size = len(content)
    start = int(first) if first else max(size - int(final), 0)
    end = min(int(final) + 1, size) if first and final else size
    if start >= size or start >= end:
        return Reply(416, b"", {**headers, "Content-Range": f"bytes */{size}"})
    extent = {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
    return Reply(206, content[start:end], headers | extent)


async def write_files(paths: Paths, request: Request, gone: asyncio.Event) -> Reply:
    """Answer POST /files: multipart with full paths as file names, or one file as the body."""
    content = request.content
    if request.headers.get("content-encoding") == "gzip":
        content = gzip.decompress(content)
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        files = list(_parts(kind, content))
    else:
        files = [("", content)]
    asked = request.query.get("path")
    if asked is not None and len(files) > 1:
        return Reply.error(400, "path is only allowed with one file")
    written: dict[Path, dict[str, str]] = {}
    for name, data in files:
        path = asked or name
        real = paths.real(path)
        if refusal := _refusal_of(path, real, written):
            return refusal
        if real.is_fifo():
            await _block(gone)
        try:
            with _as_root(paths, real):
                real.parent.mkdir(parents=True, exist_ok=True)
                real.write_bytes(data)
        except OSError as error:
            return Reply.error(507 if error.errno in _FULL else 500, str(error))
        written[real] = {"name": real.name, "path": paths.shown(real, path), "type": "file"}
    return Reply.of(200, list(written.values()))


def _refusal_of(path: str, real: Path, written: dict[Path, dict[str, str]]) -> Reply | None:
    if real in written:
        message = (
            f"you cannot upload multiple files to the same path '{path}' in one upload request"
        )
        return Reply.error(400, f"{message}, only the first specified file was uploaded")
    if not path or real.is_dir():
        return Reply.error(400, f"path is a directory: {path}")
    return None


_FULL = {28, 122}  # ENOSPC, EDQUOT


def _parts(content_type: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    header = Message()
    header["Content-Type"] = content_type
    delimiter = b"\r\n--" + str(header.get_param("boundary")).encode()
    for part in (b"\r\n" + content).split(delimiter)[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        yield _file_name(head.decode()), data


def _file_name(head: str) -> str:
    match = re.search(r'filename="([^"]*)"', head)
    # httpx writes a quote and line ends in a name percent-encoded, as HTML forms do.
    name = match[1] if match else ""
    return name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
