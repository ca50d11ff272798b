"""Converts the output of an agent into events, line by line and up to a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import anyio

from utils.agents.json_objects import EXCERPT_CHARACTERS
from utils.agents.spec import UNREADABLE, StreamReader
from utils.models.tasks import Json
from utils.pipeline.line_splitter import LINE_CHARACTERS, OVERLAP_CHARACTERS, WINDOW, LineSplitter
from utils.pipeline.long_line import LongLine

EVENT_CHARACTERS = 32_768
"""Lines that arrive together are joined to one event up to this length."""

EVENT_BYTES = 100
"""Least size that an event counts with, because each event needs a row."""

ERROR_LINE_CHARACTERS = 500

KEPT_ERROR_CHARACTERS = ERROR_LINE_CHARACTERS + OVERLAP_CHARACTERS

AgentReport = Callable[[str, Json, Json], None]
"""Receives the kind of an event, its data and the position of its end in the output."""


class OutputReporter:
    """Passes complete lines to a stream reader and reports the resulting events.

    Invalid bytes become U+FFFD. After `limit_bytes` the output is still read, so that the agent is
    not blocked, but no longer reported, redacted or collected: this runs on the event loop, and an
    agent may print without an end. `redact` removes secrets from a text before it is cut.

    Each event is reported with a position: the number of events of each stream so far, and the
    rest of the limit. A reporter that starts with a position and is fed the whole output again
    reports only the events after that position; the stream reader still sees all lines.

    `on_progress` is called when the reader has read more. `finished` is set while the reader is
    finished; when the agent continues, a new anyio event replaces it.
    """

    def __init__(
        self,
        reader: StreamReader,
        report: AgentReport,
        limit_bytes: int,
        redact: Callable[[str], str],
        position: Json | None = None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        start = position or {}
        self.finished = anyio.Event()
        self.last_output_at = anyio.current_time()
        self._reader = reader
        self._report = report
        self._redact = redact
        self._on_progress = on_progress
        self._limit_bytes = limit_bytes
        self._bytes_left: int = start.get("bytes_left", limit_bytes)
        self._is_limit_reported: bool = start.get("limit_told", False)
        self._skipped = {name: start.get(name, 0) for name in ("stdout", "stderr")}
        self._seen = {"stdout": 0, "stderr": 0}
        self._sent = dict(self._skipped)
        # A summary is stored even when nothing else of the output is.
        self._splitters = {
            name: LineSplitter(self._stored_text, redact) for name in ("stdout", "stderr")
        }
        self._last_error_line = ""

    def feed(self, stream: str, data: bytes) -> None:
        """Process a piece of output.

        Updates `last_output_at` unless all events in it only report that the agent is waiting.
        """
        lines = list(self._splitters[stream].feed(data))
        if not lines:
            self.last_output_at = anyio.current_time()
        self._report_events(stream, self._read_lines(stream, lines))
        self._on_progress()

    @property
    def last_error_line(self) -> str:
        """The last line of the errors that is not blank, redacted and cut."""
        return self._redact(self._last_error_line)[:ERROR_LINE_CHARACTERS]

    def close(self) -> None:
        """Report the incomplete last lines."""
        for stream, splitter in self._splitters.items():
            self._report_events(stream, self._read_lines(stream, list(splitter.close())))
        self._report_events("stdout", self._new_events("stdout", self._reader.end()))
        self._on_progress()

    def _stored_text(self, text: str) -> str:
        """Return a text without secrets; what is not stored needs no redaction."""
        return self._redact(text) if self._bytes_left > 0 else text

    def _report_events(self, stream: str, events: Iterable[tuple[str, Json]]) -> None:
        batch: list[str] = []
        size = batch_end = 0
        for kind, data in events:
            number = self._seen[stream]
            if kind != "output" or size >= EVENT_CHARACTERS:
                self._send_output(stream, "".join(batch), batch_end)
                batch, size = [], 0
            if kind != "output":
                self._send(kind, data, stream, number)
            elif self._bytes_left > 0:
                batch.append(data["text"])
                size, batch_end = size + len(data["text"]), number
        self._send_output(stream, "".join(batch), batch_end)
        self._report_limit()
        if self._reader.finished:
            self.finished.set()
        elif self.finished.is_set():
            self.finished = anyio.Event()

    def _read_lines(self, stream: str, lines: list[str | LongLine]) -> Iterator[tuple[str, Json]]:
        is_active = False
        for line in lines:
            if isinstance(line, LongLine):
                events = list(self._reader.read_long_line(stream, line.length, line.condensed))
            else:
                if stream == "stderr" and (text := line[:KEPT_ERROR_CHARACTERS].strip()):
                    self._last_error_line = text
                events = list(self._reader.read_line(stream, line))
            if not is_active:
                is_active = not events or not all(data.get("waiting") for _, data in events)
            yield from self._new_events(stream, events)
        if is_active:
            self.last_output_at = anyio.current_time()

    def _new_events(
        self, stream: str, events: Iterable[tuple[str, Json]]
    ) -> Iterator[tuple[str, Json]]:
        for kind, data in events:
            for part in self._parts_of(data) if kind == "output" else [data]:
                self._seen[stream] += 1
                if self._seen[stream] > self._skipped[stream]:
                    yield kind, part

    def _parts_of(self, data: Json) -> list[Json]:
        """Return the events of a text: several when it is long, the beginning if it is broken."""
        text = data["text"]
        if length := data.get(UNREADABLE):
            return [{"stream": data["stream"], "text": self._excerpt(text, length)}]
        if len(text) <= WINDOW:
            return [data]
        clean = self._stored_text(text)
        starts = range(0, len(clean), LINE_CHARACTERS)
        return [data | {"text": clean[start : start + LINE_CHARACTERS]} for start in starts]

    def _excerpt(self, text: str, length: int) -> str:
        clean = self._stored_text(text[:WINDOW]).rstrip()
        more = "..." if len(clean) > EXCERPT_CHARACTERS else ""
        note = f"[these {length} characters could not be read as JSON]"
        return f"{clean[:EXCERPT_CHARACTERS]}{more} {note}\n"

    def _cut_values(self, data: Json) -> Json:
        window = EVENT_CHARACTERS + OVERLAP_CHARACTERS
        return {
            key: f"{self._redact(value[:window])[:EVENT_CHARACTERS]} [cut]"
            if isinstance(value, str) and len(value) > EVENT_CHARACTERS
            else value
            for key, value in data.items()
        }

    def _send_output(self, stream: str, text: str, number: int) -> None:
        if text:
            self._send("output", {"stream": stream, "text": text}, stream, number)

    def _send(self, kind: str, data: Json, stream: str, number: int) -> None:
        if self._bytes_left <= 0:
            return
        if kind != "output":
            data = self._cut_values(data)
        size = sum(len(str(value).encode("utf-8", "replace")) for value in data.values())
        self._bytes_left -= max(size, EVENT_BYTES)
        self._sent[stream] = number
        self._report(kind, data, {**self._sent, "bytes_left": self._bytes_left})

    def _report_limit(self) -> None:
        # The note has a position of its own, as the event before it may be stored without it.
        if self._bytes_left <= 0 and not self._is_limit_reported:
            self._is_limit_reported = True
            note = f"[output after {self._limit_bytes} bytes (MAX_OUTPUT_BYTES) is not stored]\n"
            position = {**self._sent, "bytes_left": self._bytes_left, "limit_told": True}
            self._report("output", {"stream": "stderr", "text": note}, position)
