"""The browser that the report's tests share."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from browsing import CHROMIUM, QUIET

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright


@pytest.fixture(scope="session")
def playwright() -> Iterator["Playwright"]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'firsthand[dev]'")
    with sync_api.sync_playwright() as found:
        yield found


@pytest.fixture(scope="session")
def browser(playwright: "Playwright") -> Iterator["Browser"]:
    chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
    yield chromium
    chromium.close()
