"""Renders the explained codes as a web page, for the links of the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from utils.api.error_codes.entry import ErrorEntry
from utils.api.error_codes.table import ANCHORED, SECTIONS

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Coding agents over HTTP: error codes</title>
<link rel="icon" href="favicon-32x32.png">
<style>
body {{ font: 16px sans-serif; margin: 2em; }}
td, th {{ border-bottom: 1px solid #ccc; padding: .4em; text-align: left; }}
tr:target {{ background: #ffd; }}
</style>
</head>
<body>
<h1>Error codes</h1>
<p><a href="../docs">Back to the API</a></p>
{sections}
</body>
</html>
"""


def error_page() -> str:
    """Return the page; each code of an answer has its name as an anchor."""
    sections = (
        f'<h2 id="{title.lower().replace(" ", "-")}">{escape(title)}</h2>\n<p>{_html(text)}</p>\n'
        f"{_table(entries)}"
        for title, text, entries in SECTIONS
    )
    return _PAGE.format(sections="\n".join(sections))


def _table(entries: Sequence[ErrorEntry]) -> str:
    rows = "\n".join(_row(entry) for entry in entries)
    heading = "<tr><th>Code<th>HTTP<th>What happened<th>What to do</tr>"
    return f"<table>\n{heading}\n{rows}\n</table>"


def _row(entry: ErrorEntry) -> str:
    anchor = f' id="{entry.code}"' if ANCHORED.get(entry.code) is entry else ""
    cells = (f"`{entry.code}`", str(entry.status or ""), entry.happened, entry.remedy)
    return f"<tr{anchor}>" + "".join(f"<td>{_html(cell)}" for cell in cells) + "</tr>"


def _html(text: str) -> str:
    """Convert the little Markdown that the explanations contain."""
    linked = re.sub(r"\[([^\[\]]+)\]\(([^()]+)\)", r'<a href="\2">\1</a>', escape(text))
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", linked)
