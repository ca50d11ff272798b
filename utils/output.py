"""Turns the bytes an agent prints into events, line by line and within a limit."""

from __future__ import annotations

import codecs

from utils.agents.base import Report, StreamReader

LINE_CHARACTERS = 32_768
"""A longer line is cut into events of this length."""

EVENT_CHARACTERS = 32_768
"""Lines that come together travel in one event up to this length."""


ERROR_LINE_CHARACTERS = 500


class OutputReporter:
    """Feeds whole lines to a stream reader and reports the events.

    Text is decoded as UTF-8 across the borders of pieces; other bytes become U+FFFD. After
    `limit_bytes` the output is still read, so that the agent goes on, but no longer reported.
    """

    def __init__(self, reader: StreamReader, report: Report, limit_bytes: int) -> None:
        self.last_error_line = ""
        self._reader = reader
        self._report = report
        self._left = limit_bytes
        self._limit = limit_bytes
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {name: decoder("replace") for name in ("stdout", "stderr")}
        self._rest = {"stdout": "", "stderr": ""}

    def feed(self, stream: str, data: bytes) -> None:
        """Take a piece of output."""
        text = self._rest[stream] + self._decoders[stream].decode(data)
        *complete, self._rest[stream] = text.split("\n")
        lines = [f"{line}\n" for line in complete]
        while len(self._rest[stream]) > LINE_CHARACTERS:
            lines.append(self._rest[stream][:LINE_CHARACTERS])
            self._rest[stream] = self._rest[stream][LINE_CHARACTERS:]
        self._report_lines(stream, lines)

    def close(self) -> None:
        """Report what stands in unfinished lines."""
        for stream, rest in self._rest.items():
            text = rest + self._decoders[stream].decode(b"", final=True)
            self._rest[stream] = ""
            if text:
                self._report_lines(stream, [text])

    def _report_lines(self, stream: str, lines: list[str]) -> None:
        batch = ""
        for line in lines:
            if stream == "stderr" and line.strip():
                self.last_error_line = line.strip()[:ERROR_LINE_CHARACTERS]
            kind, data = self._reader.read_line(stream, line)
            if kind == "output" and len(batch) < EVENT_CHARACTERS:
                batch += data["text"]
                continue
            self._report_output(stream, batch)
            batch = data["text"] if kind == "output" else ""
            if kind != "output":
                self._report(kind, data)
        self._report_output(stream, batch)

    def _report_output(self, stream: str, text: str) -> None:
        if not text or self._left <= 0:
            return
        self._report("output", {"stream": stream, "text": text})
        self._left -= len(text.encode("utf-8", "replace"))
        if self._left <= 0:
            note = f"[output after {self._limit} bytes (MAX_OUTPUT_BYTES) is not stored]\n"
            self._report("output", {"stream": "stderr", "text": note})
