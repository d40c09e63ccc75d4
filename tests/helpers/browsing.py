"""Pages in a real browser: headless Chromium, driven by Playwright, offline."""

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a browser: apt-get install chromium, or any chromium on the PATH"
)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Visit:
    """A page that was opened, and everything that it did which a report must not do."""

    def __init__(self, browser: "Browser", report: Path, link: str = "", **context: Any) -> None:
        self.page = browser.new_page(**context)
        self.console: list[str] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", self._dismiss)
        self.page.goto(report.as_uri() + link)
        self.page.wait_for_load_state("load")

    def _dismiss(self, dialog: "Dialog") -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()


def luminance(colour: str) -> float:
    """WCAG 2.2 relative luminance of `rgb(r, g, b)`."""
    channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(visit: Visit, selector: str, foreground: str, background: str) -> float:
    """WCAG 2.2 contrast of a computed property of `selector` with the background of the element `background`."""
    script = "([s, p]) => getComputedStyle(document.querySelector(s))[p]"
    pair = [(selector, foreground), (background, "backgroundColor")]
    light, dark = sorted((luminance(visit.page.evaluate(script, list(one))) for one in pair), reverse=True)
    return (light + 0.05) / (dark + 0.05)
