"""Reads the changes of an agent from a sandbox, exact to the byte.

The stored texts must be valid UTF-8, and the patch must survive `git am`, which drops carriage
returns at line ends. If a changed file violates one of these conditions, git writes that file again
as a binary hunk. If the agent's own commits cannot be sent as mail, they are squashed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple
from uuid import uuid4

import anyio
import structlog
from anyio import to_thread

from utils.errors import CaptureError
from utils.git.environment import git_environment
from utils.git.output import (
    BINARY_LINKS,
    NO_OBJECT,
    SUBMODULE_MODE,
    ChangedPath,
    binary_attributes,
    decode_path,
    last_line,
    with_quoted_headers,
)
from utils.git.whole_images import with_whole_images
from utils.models.runs import Changes, ChangeTexts, FileChange
from utils.pipeline.capture.bundle import (
    LISTING_BYTES,
    TOO_LONG,
    BundleLimits,
    Raw,
    parse_bundle,
)
from utils.pipeline.capture.notes import capture_notes
from utils.pipeline.capture.secret_search import HasSecret, notes_of, search_changes
from utils.pipeline.script_text import script
from utils.sandboxes.protocol import Sandbox, SandboxPaths

CAPTURE_SCRIPT = script("capture.sh")

NOT_EXISTING = "FILE_NOT_EXISTS"
DELETED = "FILE_DELETED"
BINARY = "FILE_BINARY"
TOO_LARGE = "FILE_TOO_LARGE"
SUBMODULE = "SUBMODULE"

OTHER_BYTES = 200_000
"""Upper bound for the bytes of a bundle besides changes, contents, patch and diff."""

OBJECT_LINE_BYTES = 100
"""Upper bound for the header of one file's content in a bundle."""

INLINE_BYTES = 20_000
"""Bundles up to this size are parsed on the event loop: starting a thread takes longer."""

CONTENTS_RESERVE_BYTES = 1_024
"""Bytes by which the contents in a bundle may exceed their limit: the kernel counts in blocks."""

PARSING_SECONDS = 120.0
"""Time for parsing a bundle. Its size limits the work, so only an overloaded server needs more."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\n"

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CaptureLimits:
    """Limits of a capture: sizes in bytes, a number of files, and the time of one pass.

    A new file above `new_file_bytes` is left out. When all changes together are larger than
    `patch_bytes`, the largest are left out.
    """

    patch_bytes: int
    files: int
    file_bytes: int
    new_file_bytes: int
    timeout_seconds: float


async def capture_changes(
    sandbox: Sandbox,
    base_commit: str,
    limits: CaptureLimits,
    has_secret: HasSecret = lambda _: False,
    folder: str = "",
) -> Changes:
    """Commit and read all changes since the base commit, and search them for secrets.

    `folder` is that of one of several repositories.

    Expects the commit message and the copy of `.git/config` in the work folder of the sandbox, and
    works without them when the agent has removed them. Raises `CaptureError` when git cannot read
    the repository, or when the result was not written by the script.
    """
    capture = _Capture(sandbox, sandbox.paths.within(folder), base_commit, limits)
    raw = await capture.run("history")
    if _has_replaced_pointers(raw):
        await capture.compare_with_pointers()
        raw = await capture.run("history")
    if not _fits_storage_and_mail(raw):
        special = await _run_in_thread_if_large(raw.size, _special_changes, raw)
        await capture.mark_binary(*special)
        raw = await capture.run("binary")
        # The remaining cause is an intermediate commit or its message.
        if not _fits_storage_and_mail(raw):
            raw = await capture.run("squash")
    return await _run_in_thread_if_large(raw.size, _changes, base_commit, raw, limits, has_secret)


class _Capture:
    """Runs the capture script and reads its result."""

    def __init__(
        self, sandbox: Sandbox, paths: SandboxPaths, base_commit: str, limits: CaptureLimits
    ) -> None:
        self._sandbox = sandbox
        self._paths = paths
        self._base_commit = base_commit
        self._limits = limits
        self._environment = git_environment()
        # A name of its own: another server may have taken the task over and read its result while
        # this one, which was held up, captures as well.
        self._bundle = f"{paths.work}/result/bundle-{uuid4().hex}"

    async def mark_binary(self, in_diff: list[ChangedPath], in_patch: list[ChangedPath]) -> None:
        """Treat files as binary in the following runs."""
        links = any(change.is_link for change in in_patch)
        await self._sandbox.write_files(
            {
                f"{self._bundle}.diff": binary_attributes(in_diff, links=links),
                f"{self._bundle}.patch": binary_attributes(in_patch, links=links),
            }
        )
        if links:
            self._environment = git_environment(configuration=BINARY_LINKS)

    async def compare_with_pointers(self) -> None:
        """Compare changed files with their pointers of Git LFS in the following runs."""
        await self._sandbox.write_files({f"{self._bundle}.lfs": b""})

    async def run(self, mode: str) -> Raw:
        """Run the script once in the mode `history`, `binary` or `squash`."""
        work = self._paths.work
        result = await self._sandbox.run_repeatable(
            [
                *("sh", "-c", CAPTURE_SCRIPT, "capture.sh"),
                self._paths.repository,
                self._base_commit,
                work,
                str(self._limits.files),
                str(self._limits.file_bytes),
                str(self._limits.patch_bytes),
                mode,
                self._bundle,
                str(self._limits.new_file_bytes),
            ],
            timeout_seconds=self._limits.timeout_seconds,
            environment=self._environment,
            result_file=self._bundle,
        )
        if result.timed_out:
            raise CaptureError(
                "Reading the changes took longer than COMMAND_TIMEOUT_SECONDS. Raise it, or have "
                "the agent keep large generated files out of the repository (.gitignore).",
                "capture_timeout",
            )
        if not result.ok:
            raise CaptureError(
                "git could not read the changes; the agent may have damaged the repository: "
                + (last_line(result.stderr) or f"exit code {result.exit_code}")
            )
        return await self._read(result.file)

    async def _read(self, bundle: bytes | None) -> Raw:
        limits = self._limits
        try:
            if bundle is None:
                bundle = await self._read_bundle()
            kept = BundleLimits(limits.patch_bytes, limits.files, limits.file_bytes)
            return await _run_in_thread_if_large(len(bundle), parse_bundle, bundle, kept)
        except (KeyError, OSError, ValueError) as error:
            # The agent can write to the folder of the script and its result.
            log.warning(
                "result of the sandbox unreadable", action="capture.unreadable", exc_info=error
            )
            raise CaptureError(
                "The changes could not be read: the agent has damaged the folder of the result. "
                "Start the task again, and tell the agent to change nothing outside the "
                "repository."
            ) from error

    async def _read_bundle(self) -> bytes:
        most = _bundle_bytes(self._limits)
        bundles = await self._sandbox.read_files([self._bundle], max_bytes=most)
        bundle = bundles[self._bundle]
        if bundle is None:
            raise CaptureError(TOO_LONG)
        return bundle


def _bundle_bytes(limits: CaptureLimits) -> int:
    # The script limits all sections but the list of changes. The mail takes up to four times the
    # limit of the patch, the contents and their dropped part up to twice.
    lines = 2 * limits.files * OBJECT_LINE_BYTES
    return LISTING_BYTES + 7 * limits.patch_bytes + lines + OTHER_BYTES


async def _run_in_thread_if_large(
    size: int, function: Callable[[*Arguments], Result], *arguments: *Arguments
) -> Result:
    if size <= INLINE_BYTES:
        return function(*arguments)
    # A thread cannot be ended, but the sizes limit its work, and the task need not wait for it.
    with anyio.move_on_after(PARSING_SECONDS):
        return await to_thread.run_sync(function, *arguments, abandon_on_cancel=True)
    raise CaptureError(
        "Reading the result of the sandbox took too long: this server is overloaded, or the agent "
        "has damaged the folder of the result. Start the task again."
    )


def _has_replaced_pointers(raw: Raw) -> bool:
    # The script recognizes most repositories with Git LFS by itself.
    return any(
        raw.contents.get(change.old_object, b"").startswith(LFS_POINTER)
        and not raw.contents.get(change.new_object, b"").startswith(LFS_POINTER)
        for change in raw.changes
    ) and not any(line.startswith(b"lfs\t") for line in raw.notes.split(b"\n"))


def _is_text(data: bytes | None) -> bool:
    try:
        return data is None or (data.decode() is not None and b"\0" not in data)
    except UnicodeDecodeError:
        return False


def _fits_storage_and_mail(raw: Raw) -> bool:
    if raw.patch is None and raw.diff is not None and not raw.is_one_commit:
        return False
    return _is_text(raw.diff) and _is_text(raw.patch) and b"\r\n" not in (raw.patch or b"")


def _special_changes(raw: Raw) -> tuple[list[ChangedPath], list[ChangedPath]]:
    """Return the files to write as binary in the diff, and those in the patch."""
    all_text = _is_text(raw.diff) and _is_text(raw.patch)
    texts = _objects_that(_is_text, raw)
    mailable = _objects_that(_survives_mail, raw)
    not_utf8 = [] if all_text else [c for c in raw.changes if not _is_among(texts, raw, c)]
    breaks_mail = [c for c in raw.changes if not _is_among(mailable, raw, c)]
    return not_utf8, [*not_utf8, *breaks_mail]


def _survives_mail(data: bytes) -> bool:
    # In the patch git ends an incomplete last line with LF, which makes CRLF of a last CR.
    return b"\r\n" not in data and not data.endswith(b"\r")


def _objects_that(passes: Callable[[bytes], bool], raw: Raw) -> frozenset[str]:
    # Each content is tested once, because many files may have the same one.
    return frozenset(name for name, data in raw.contents.items() if passes(data))


def _is_among(objects: frozenset[str], raw: Raw, change: ChangedPath) -> bool:
    # A content that was too large to be read is in no set.
    return all(name in objects for name in raw.objects_of(change))


def _changes(base_commit: str, raw: Raw, limits: CaptureLimits, has_secret: HasSecret) -> Changes:
    found = search_changes(raw, has_secret)
    return Changes(
        base_commit=base_commit,
        commit_hash=raw.commit,
        tree_hash=raw.tree,
        texts=ChangeTexts.of(_stored(_reviewed(raw, limits)), _stored(raw.patch)),
        changed_files=tuple(decode_path(change.path) for change in raw.changes),
        file_changes=tuple(_file_changes(raw, limits)),
        additions=sum(change.additions or 0 for change in raw.changes),
        deletions=sum(change.deletions or 0 for change in raw.changes),
        notes=(*_notes(raw, limits), *notes_of(found)),
        secret_files=found.files,
    )


def _reviewed(raw: Raw, limits: CaptureLimits) -> bytes | None:
    """Return the diff as people see it: with images that need no other file to be shown."""
    if raw.diff is None:
        return None
    return with_whole_images(raw.diff, raw.contents.get, limits.patch_bytes)


def _stored(data: bytes | None) -> str | None:
    return with_quoted_headers(data).decode() if data and _is_text(data) else None


def _file_changes(raw: Raw, limits: CaptureLimits) -> Iterator[FileChange]:
    # The script writes the content of each file, so the result holds no more than the bundle did.
    shown = _ShownContents(raw, limits.patch_bytes + CONTENTS_RESERVE_BYTES)
    for change in raw.changes[: limits.files]:
        yield FileChange(
            decode_path(change.path),
            shown.side(change.old_mode, change.old_object, NOT_EXISTING),
            shown.side(change.new_mode, change.new_object, DELETED),
        )


class _ShownContents:
    """Returns the shown contents of files, up to a number of bytes together."""

    def __init__(self, raw: Raw, bytes_left: int) -> None:
        self._raw = raw
        self._bytes_left = bytes_left

    def side(self, mode: str, name: str, absent: str) -> str:
        """Return the content of one side of a change, or a marker."""
        if NO_OBJECT.match(name):
            return absent
        if mode == SUBMODULE_MODE:
            return f"{SUBMODULE} {name}"
        content = self._raw.contents.get(name)
        if content is None or len(content) > self._bytes_left:
            return TOO_LARGE
        self._bytes_left -= len(content)
        return content.decode() if _is_text(content) else f"{BINARY} ({len(content)} bytes)"


def _notes(raw: Raw, limits: CaptureLimits) -> Iterator[str]:
    noted = tuple(capture_notes(raw, limits.new_file_bytes, limits.patch_bytes))
    yield from noted
    if not raw.changes and not noted:
        yield "The agent changed nothing."
    for name, text in (("diff", raw.diff), ("patch", raw.patch)):
        if text is None:
            yield (
                f"The {name} is larger than MAX_PATCH_BYTES ({limits.patch_bytes}) and was not "
                "stored; the list of changed files and the counts are complete."
            )
        elif not _is_text(text):
            yield f"The {name} was not stored because it cannot be written as text."
    if len(raw.changes) > limits.files:
        yield f"Contents are stored for the first {limits.files} of {len(raw.changes)} files."
