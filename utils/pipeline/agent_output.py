"""Converts the output of an agent into events, line by line and up to a limit."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator

import anyio

from utils.agents.spec import StreamReader
from utils.models.tasks import Json

LINE_CHARACTERS = 32_768
"""Longer lines are cut into events of this length."""

OVERLAP_CHARACTERS = 16_384
"""Characters read ahead of a cut, so that a secret of this length is not split between events.

The longest value of a variable has half as many, and each of its bytes two in hexadecimal.
"""

JSON_LINE_CHARACTERS = 4_000_000
"""A line that may be JSON is not cut up to this length."""

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

    Decodes the output as UTF-8, also where a character is split between two pieces; invalid bytes
    become U+FFFD. After `limit_bytes` the output is still read, so that the agent is not blocked,
    but no longer reported, redacted or collected: this runs on the event loop, and an agent may
    print without an end. `redact` removes secrets from a text before it is cut.

    Each event is reported with a position: the number of events of each stream so far, and the
    rest of the limit. A reporter that starts with a position and is fed the whole output again
    reports only the events after that position; the stream reader still sees all lines.

    `finished` is set while the reader is finished; when the agent continues, a new anyio event
    replaces it.
    """

    def __init__(
        self,
        reader: StreamReader,
        report: AgentReport,
        limit_bytes: int,
        redact: Callable[[str], str],
        position: Json | None = None,
    ) -> None:
        start = position or {}
        self.finished = anyio.Event()
        self.last_output_at = anyio.current_time()
        self._reader = reader
        self._report = report
        self._redact = redact
        self._limit_bytes = limit_bytes
        self._bytes_left: int = start.get("bytes_left", limit_bytes)
        self._is_limit_reported: bool = start.get("limit_told", False)
        self._skipped = {name: start.get(name, 0) for name in ("stdout", "stderr")}
        self._seen = {"stdout": 0, "stderr": 0}
        self._sent = dict(self._skipped)
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {name: decoder("replace") for name in ("stdout", "stderr")}
        # Pieces of an incomplete line, joined only when there is something to report.
        self._incomplete: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._incomplete_size = {"stdout": 0, "stderr": 0}
        self._is_cut = {"stdout": False, "stderr": False}
        self._last_error_line = ""

    def feed(self, stream: str, data: bytes) -> None:
        """Process a piece of output.

        Updates `last_output_at` unless all events in it only report that the agent is waiting.
        """
        text = self._decoders[stream].decode(data)
        self._incomplete[stream].append(text)
        self._incomplete_size[stream] += len(text)
        if "\n" not in text and self._incomplete_size[stream] <= self._window(stream):
            self.last_output_at = anyio.current_time()
            return
        *complete, rest = self._take_incomplete(stream).split("\n")
        lines = []
        for line in complete:
            *pieces, end = self._cut(stream, line)
            lines += [*pieces, f"{end}\n"]
            self._is_cut[stream] = False
        *pieces, rest = self._cut(stream, rest)
        self._incomplete[stream] = [rest]
        self._incomplete_size[stream] = len(rest)
        if not lines + pieces:
            self.last_output_at = anyio.current_time()
        self._report_lines(stream, lines + pieces)

    @property
    def last_error_line(self) -> str:
        """The last line of the errors that is not blank, redacted and cut."""
        return self._redact(self._last_error_line)[:ERROR_LINE_CHARACTERS]

    def _take_incomplete(self, stream: str) -> str:
        text = "".join(self._incomplete[stream])
        self._incomplete[stream] = []
        self._incomplete_size[stream] = 0
        return text

    def _window(self, stream: str) -> int:
        first = next(filter(None, self._incomplete[stream]), "")
        return self._length_limit(stream, first) + OVERLAP_CHARACTERS

    def _length_limit(self, stream: str, line: str) -> int:
        may_be_json = line.startswith("{") and not self._is_cut[stream]
        return JSON_LINE_CHARACTERS if may_be_json else LINE_CHARACTERS

    def _cut(self, stream: str, line: str) -> list[str]:
        # The cuts must depend on the line only, not on the pieces it arrived in: positions count
        # events. What follows a cut is no JSON, whatever it begins with.
        pieces = []
        while len(line) > (window := self._length_limit(stream, line) + OVERLAP_CHARACTERS):
            self._is_cut[stream] = True
            window = min(window, LINE_CHARACTERS + OVERLAP_CHARACTERS)
            clean = self._redact(line[:window]) if self._bytes_left > 0 else line[:window]
            pieces.append(clean[:LINE_CHARACTERS])
            line = clean[LINE_CHARACTERS:] + line[window:]
        return [*pieces, line]

    def close(self) -> None:
        """Report the incomplete last lines."""
        for stream, decoder in self._decoders.items():
            text = self._take_incomplete(stream) + decoder.decode(b"", final=True)
            if text:
                self._report_lines(stream, [text])

    def _report_lines(self, stream: str, lines: list[str]) -> None:
        batch: list[str] = []
        size = batch_end = 0
        for kind, data in self._new_events(stream, lines):
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

    def _new_events(self, stream: str, lines: list[str]) -> Iterator[tuple[str, Json]]:
        is_active = False
        for line in lines:
            if stream == "stderr" and (text := line[:KEPT_ERROR_CHARACTERS].strip()):
                self._last_error_line = text
            events = list(self._reader.read_line(stream, line))
            if not is_active:
                is_active = not events or not all(data.get("waiting") for _, data in events)
            for event in events:
                self._seen[stream] += 1
                if self._seen[stream] > self._skipped[stream]:
                    yield event
        if is_active:
            self.last_output_at = anyio.current_time()

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
