"""Turns the bytes an agent prints into events, line by line and within a limit."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator

import anyio

from utils.agents.spec import StreamReader
from utils.models.tasks import Json

LINE_CHARACTERS = 32_768
"""A longer line is cut into events of this length."""

OVERLAP_CHARACTERS = 4_096
"""Characters held back at a cut, so that no shorter secret is split between two events."""

JSON_LINE_CHARACTERS = 4_000_000
"""A line that may be JSON is read as a whole up to this length."""

EVENT_CHARACTERS = 32_768
"""Lines that come together travel in one event up to this length."""

EVENT_BYTES = 100
"""The minimum size that an event counts, because every row has a cost."""

ERROR_LINE_CHARACTERS = 500

AgentReport = Callable[[str, Json, Json], None]
"""Called with an event's kind, its data, and the position after it."""


class OutputReporter:
    """Feeds whole lines to a stream reader and reports the events.

    Text is decoded as UTF-8 across the borders of pieces; other bytes become U+FFFD. After
    `limit_bytes` the output is still read, so that the agent goes on, but no longer reported.
    `redact` takes secrets out of a text before it is cut.

    Each event is reported with a position: how many events of each stream came so far, and what is
    left of the limit. Given such a position, a reporter that is fed the whole output again reports
    exactly the events after it; its reader sees all of them.

    `finished` is set while the reader is; when the agent goes on, another event takes its place.
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
        self.last_error_line = ""
        self.finished = anyio.Event()
        self.last_output_at = anyio.current_time()
        self._reader = reader
        self._report = report
        self._redact = redact
        self._limit = limit_bytes
        self._left: int = start.get("bytes_left", limit_bytes)
        self._limit_told: bool = start.get("limit_told", False)
        self._known = {name: start.get(name, 0) for name in ("stdout", "stderr")}
        self._seen = {"stdout": 0, "stderr": 0}
        self._sent = dict(self._known)
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {name: decoder("replace") for name in ("stdout", "stderr")}
        self._rest = {"stdout": "", "stderr": ""}

    def feed(self, stream: str, data: bytes) -> None:
        """Take a piece of output. It is a sign of life unless it only tells of new tries."""
        text = self._rest[stream] + self._decoders[stream].decode(data)
        *complete, rest = text.split("\n")
        lines = []
        for line in complete:
            *pieces, end = self._cut(line)
            lines += [*pieces, f"{end}\n"]
        *pieces, self._rest[stream] = self._cut(rest)
        if not lines + pieces:
            self.last_output_at = anyio.current_time()
        self._report_lines(stream, lines + pieces)

    def _cut(self, line: str) -> list[str]:
        # Where is a matter of the line alone, whatever pieces it came in: events are counted.
        pieces = []
        while len(line) > (window := _limit_of(line) + OVERLAP_CHARACTERS):
            clean = self._redact(line[:window])
            pieces.append(clean[:LINE_CHARACTERS])
            line = clean[LINE_CHARACTERS:] + line[window:]
        return [*pieces, line]

    def close(self) -> None:
        """Report what stands in unfinished lines."""
        for stream, rest in self._rest.items():
            text = rest + self._decoders[stream].decode(b"", final=True)
            self._rest[stream] = ""
            if text:
                self._report_lines(stream, [text])

    def _report_lines(self, stream: str, lines: list[str]) -> None:
        batch, batch_end = "", 0
        for kind, data in self._new_events(stream, lines):
            number = self._seen[stream]
            if kind != "output":
                self._send_output(stream, batch, batch_end)
                self._send(kind, self._bounded(data), stream, number)
                batch = ""
                continue
            if len(batch) >= EVENT_CHARACTERS:
                self._send_output(stream, batch, batch_end)
                batch = ""
            batch, batch_end = batch + data["text"], number
        self._send_output(stream, batch, batch_end)
        self._tell_limit()
        if self._reader.finished:
            self.finished.set()
        elif self.finished.is_set():
            self.finished = anyio.Event()

    def _new_events(self, stream: str, lines: list[str]) -> Iterator[tuple[str, Json]]:
        for line in lines:
            if stream == "stderr" and line.strip():
                self.last_error_line = self._redact(line.strip())[:ERROR_LINE_CHARACTERS]
            events = list(self._reader.read_line(stream, line))
            if not events or not all(data.get("waiting") for _, data in events):
                self.last_output_at = anyio.current_time()
            for event in events:
                self._seen[stream] += 1
                if self._seen[stream] > self._known[stream]:
                    yield event

    def _bounded(self, data: Json) -> Json:
        return {
            key: f"{self._redact(value)[:EVENT_CHARACTERS]} [cut]"
            if isinstance(value, str) and len(value) > EVENT_CHARACTERS
            else value
            for key, value in data.items()
        }

    def _send_output(self, stream: str, text: str, number: int) -> None:
        if text:
            self._send("output", {"stream": stream, "text": text}, stream, number)

    def _send(self, kind: str, data: Json, stream: str, number: int) -> None:
        if self._left <= 0:
            return
        size = sum(len(str(value).encode("utf-8", "replace")) for value in data.values())
        self._left -= max(size, EVENT_BYTES)
        self._sent[stream] = number
        self._report(kind, data, {**self._sent, "bytes_left": self._left})

    def _tell_limit(self) -> None:
        # With a position of its own: the event before it may be stored without it.
        if self._left <= 0 and not self._limit_told:
            self._limit_told = True
            note = f"[output after {self._limit} bytes (MAX_OUTPUT_BYTES) is not stored]\n"
            position = {**self._sent, "bytes_left": self._left, "limit_told": True}
            self._report("output", {"stream": "stderr", "text": note}, position)


def _limit_of(line: str) -> int:
    return JSON_LINE_CHARACTERS if line.startswith("{") else LINE_CHARACTERS
