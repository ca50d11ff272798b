"""Uses the page by keys alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.waiting import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Page

_NAME_OF_FOCUS = """
() => {
  const element = document.activeElement;
  const label = element.getAttribute("aria-label") || element.labels?.[0]?.innerText.trim();
  const text = element.tagName === "MAIN" ? "main" : element.innerText.trim();
  return element === document.body ? "" : (label || text).split("\\n")[0];
}
"""


class Keys:
    """The keyboard of a person who sees where the focus is."""

    def __init__(self, page: Page) -> None:
        self._page = page

    @property
    def focus(self) -> str:
        """The name of what has the focus: its label, its id or its text."""
        return str(self._page.evaluate(_NAME_OF_FOCUS))

    def wait_for_focus(self, name: str) -> None:
        """Wait until something has the focus."""
        eventually(lambda: self.focus == name)

    def press(self, *keys: str) -> None:
        for key in keys:
            self._page.keyboard.press(key)

    def type(self, text: str) -> None:
        self._page.keyboard.insert_text(text)

    def tab_to(self, name: str, most: int = 12) -> list[str]:
        """Press Tab until something has the focus; return the names of all that had it."""
        passed: list[str] = []
        while not passed or passed[-1] != name:
            assert len(passed) < most, passed
            self.press("Tab")
            passed.append(self.focus)
        return passed
