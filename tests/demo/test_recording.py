"""The recording of the demonstration: what a terminal shows, drawn with its times."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from demo.svg import COLUMNS, ROWS, drawing
from demo.terminal import Transcript
from tests.support.source_files import ROOT

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    """Return the lines of a drawing, each with its kinds before it."""
    found = ET.fromstring(svg).iter(f"{SVG}text")
    return [f"{one.get('class')}: {''.join(one.itertext())}" for one in found]


def test_lines_colours_and_the_progress_line_are_followed() -> None:
    transcript = Transcript("$ demo")
    transcript.add(0.5, "\r\x1b[K\x1b[2m  agent 0.1 s |\x1b[0m")
    transcript.add(1.0, "\r\x1b[K\x1b[2m  agent 0.6 s /\x1b[0m")
    transcript.add(1.5, "\r\x1b[K\x1b[31m  <gone>\x1b[0m\r\nthe ")
    transcript.add(2.0, "end\r\n")
    assert transcript.rows == 3
    svg = drawing(transcript)
    assert texts(svg) == [
        "t: $ demo",
        "t p:   agent 0.1 s |",
        "t p:   agent 0.6 s /",
        "t:   <gone>",
        "t: the end",
    ]
    assert '<tspan class="red"' in svg


def test_a_long_line_takes_several_rows_and_the_screen_scrolls() -> None:
    transcript = Transcript("$ demo")
    transcript.add(0.1, "x" * (COLUMNS + 5) + "\r\n" + "line\r\n" * ROWS)
    svg = drawing(transcript)
    assert texts(svg)[1:3] == [f"t: {'x' * COLUMNS}", "t: xxxxx"]
    assert svg.count("px)}") == 3


def test_the_recording_of_readme_shows_the_killed_server_and_stands_still_if_asked() -> None:
    svg = (ROOT / "docs" / "demo.svg").read_text()
    shown = "\n".join(texts(svg))
    assert re.search(r"kill -9 \d+: the server is gone, in the middle of task 2", shown)
    assert "Its diff is the same as that of task 1." in shown
    assert "@media (prefers-reduced-motion:reduce){g.s,text.t{animation:none}}" in svg
    assert "<script" not in svg
    assert "docs/demo.svg" in (ROOT / "README.md").read_text()
