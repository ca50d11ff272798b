"""Draws a transcript as an animated SVG without scripts: one text for each line, timed by CSS.

Where a reader prefers reduced motion, the last screen stands still.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from demo.console import Style
from demo.terminal import Line, Runs, Transcript

COLUMNS = 104
ROWS = 30

TITLE = (
    "The demo works on a task, kills its own server during a second one, and ends with the same "
    "diff."
)

_CELL = 7.8
_ROW = 18
_MARGIN = 16
_BAR = 30

_LONGEST_WAIT_SECONDS = 0.8
_LINE_SECONDS = 0.09
_END_SECONDS = 6.0

_COLOURS: dict[Style | None, str] = {
    None: "#d7dde6",
    "bold": "#ffffff",
    "dim": "#93a0b0",
    "red": "#ff8a80",
    "green": "#7ee787",
    "cyan": "#8ac7ff",
}

_STYLE = """\
text{{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;\
white-space:pre;fill:{plain}}}
{colours}
g.s{{transform:translateY({end}px);animation:s {total:.2f}s step-end infinite}}
text.t{{animation-duration:{total:.2f}s;animation-timing-function:step-end;\
animation-iteration-count:infinite}}
text.p{{visibility:hidden}}
{frames}
@media (prefers-reduced-motion:reduce){{g.s,text.t{{animation:none}}}}"""


@dataclass(frozen=True, slots=True)
class _Timing:
    """The times of a recording in the drawing, in the order of its lines, and their total."""

    shown: tuple[float, ...]
    erased: tuple[float | None, ...]
    total: float

    def percent(self, seconds: float) -> str:
        return f"{100 * seconds / self.total:.2f}%"


def drawing(transcript: Transcript) -> str:
    """Return the SVG."""
    lines = list(_wrapped(transcript.lines))
    timing = _timing(lines)
    last_row = max(line.row for line in lines)
    end = -_ROW * max(0, last_row + 1 - ROWS)
    style = _STYLE.format(
        plain=_COLOURS[None],
        colours="\n".join(_colour_rules()),
        end=end,
        total=timing.total,
        frames="\n".join([_scroll(lines, timing), *_frames(lines, timing)]),
    )
    width = round(COLUMNS * _CELL + 2 * _MARGIN)
    height = _BAR + ROWS * _ROW + 2 * _MARGIN
    dots = "".join(
        f'<circle cx="{20 + 18 * number}" cy="{_BAR // 2 + 3}" r="5" fill="#4b5563"/>'
        for number in range(3)
    )
    texts = "\n".join(_text(number, line) for number, line in enumerate(lines))
    inside = f'x="0" y="{_BAR}" width="{width}" height="{height - _BAR - 8}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{TITLE}">\n<title>{TITLE}</title>\n'
        f"<style>\n{style}\n</style>\n"
        f'<rect width="{width}" height="{height}" rx="8" fill="#11161d"/>\n{dots}\n'
        f"<svg {inside}>\n"
        f'<g class="s">\n{texts}\n</g>\n</svg>\n</svg>\n'
    )


def _wrapped(lines: list[Line]) -> Iterator[Line]:
    """Yield the lines as a terminal of `COLUMNS` shows them; longer ones take several rows."""
    more = 0
    for line in lines:
        pieces = list(_pieces(line.runs)) or [[]]
        for piece in pieces:
            yield Line(line.row + more, line.shown_at, piece, line.erased_at)
            more += 1
        more -= 1


def _pieces(runs: Runs) -> Iterator[Runs]:
    piece: Runs = []
    free = COLUMNS
    for text, style in runs:
        rest = text
        while rest:
            piece.append((rest[:free], style))
            rest, free = rest[free:], free - len(rest[:free])
            if free == 0:
                yield piece
                piece, free = [], COLUMNS
    if piece:
        yield piece


def _timing(lines: list[Line]) -> _Timing:
    """Return the times in the drawing: without long waits, and one line after the other."""
    moments = sorted({line.shown_at for line in lines} | {line.erased_at or 0.0 for line in lines})
    clock: dict[float, float] = {}
    now = before = 0.0
    for moment in moments:
        now += min(moment - before, _LONGEST_WAIT_SECONDS)
        clock[moment], before = now, moment
    # Lines that came at once push those behind them back.
    late, last = 0.0, -_LINE_SECONDS
    shown, erased = [], []
    for line in lines:
        at = max(clock[line.shown_at] + late, last if line.erased_at else last + _LINE_SECONDS)
        late, last = at - clock[line.shown_at], at
        shown.append(at)
        erased.append(None if line.erased_at is None else clock[line.erased_at] + late)
    return _Timing(tuple(shown), tuple(erased), last + _END_SECONDS)


def _scroll(lines: list[Line], timing: _Timing) -> str:
    frames = ["0%{transform:none}"]
    hidden = 0
    for line, at in zip(lines, timing.shown, strict=True):
        if line.row + 1 - ROWS > hidden:
            hidden = line.row + 1 - ROWS
            frames.append(f"{timing.percent(at)}{{transform:translateY({-_ROW * hidden}px)}}")
    return f"@keyframes s{{{''.join(frames)}}}"


def _frames(lines: list[Line], timing: _Timing) -> Iterator[str]:
    for number, line in enumerate(lines):
        end = timing.erased[number]
        gone = "" if end is None else f"{timing.percent(end)}{{visibility:hidden}}"
        shown = (
            f"0%{{visibility:hidden}}{timing.percent(timing.shown[number])}{{visibility:visible}}"
        )
        if line.runs:
            yield f"@keyframes k{number}{{{shown}{gone}}}#k{number}{{animation-name:k{number}}}"


def _text(number: int, line: Line) -> str:
    if not line.runs:
        return ""
    y = _MARGIN + _ROW * (line.row + 1) - 5
    column = 0
    spans = []
    for text, style in line.runs:
        x, length = _MARGIN + column * _CELL, len(text) * _CELL
        kind = f' class="{style}"' if style else ""
        spans.append(
            f'<tspan{kind} x="{x:.1f}" textLength="{length:.1f}" xml:space="preserve">'
            f"{escape(text)}</tspan>"
        )
        column += len(text)
    kinds = "t p" if line.erased_at is not None else "t"
    return f'<text id="k{number}" class="{kinds}" y="{y}">{"".join(spans)}</text>'


def _colour_rules() -> Iterator[str]:
    for style, colour in _COLOURS.items():
        if style is not None:
            weight = ";font-weight:600" if style == "bold" else ""
            yield f".{style}{{fill:{colour}{weight}}}"
