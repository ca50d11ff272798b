"""Looks for faults that keep people from using a view: colours, names, room on a phone."""

from __future__ import annotations

from typing import Literal

from tests.support.page.views import Site
from tests.support.source_files import ROOT

AXE = ROOT / "tests/data/axe.min.js"
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# The other colours change nothing else.
LOOKS: dict[Literal["light", "dark"], list[str]] = {"light": STANDARDS, "dark": ["color-contrast"]}
RUN_AXE = """
async (rules) => (await axe.run(document, { runOnly: rules })).violations
  .filter((found) => ["serious", "critical"].includes(found.impact))
  .map((found) => `${found.id}: ${found.nodes.map((node) => node.html).slice(0, 3).join(" | ")}`)
"""


class Check:
    """Looks at a view as axe does, and on a phone for what does not fit."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.faults: list[str] = []

    def look(self, view: str) -> None:
        """Note the faults of what the page shows, in both colours."""
        page = self._site.page
        if page.evaluate("typeof axe") == "undefined":
            page.evaluate(AXE.read_text(encoding="utf-8") + "\n;undefined")
        for scheme, rules in LOOKS.items():
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            self.faults += [f"{view}, {scheme}: {fault}" for fault in page.evaluate(RUN_AXE, rules)]
        page.set_viewport_size({"width": 390, "height": 844})
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            self.faults.append(f"{view}: wider than a phone")
        page.set_viewport_size({"width": 1280, "height": 900})
