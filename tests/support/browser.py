"""A real browser, and what it has to complain about while a page is shown in it."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, sync_playwright

__all__ = ["Shown", "chromium", "needs_chromium"]

needs_chromium = pytest.mark.skipif(
    shutil.which("chromium") is None and not os.environ.get("CI"), reason="no chromium here; CI has one"
)


@dataclass
class Shown:
    """A page and all that went wrong on it: errors of scripts and of the console (the policy's are there, too)."""

    page: Page
    faults: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Addresses that were asked for, other than data in the address itself."""

    @classmethod
    @contextmanager
    def within(cls, browser: Browser, *, width: int = 1400) -> Iterator[Shown]:
        """Show a page in a tab of its own. All tabs share a profile; what a page has stored there is removed."""
        page = browser.contexts[0].new_page()
        page.set_viewport_size({"width": width, "height": 900})
        shown = cls(page)
        page.on("console", shown._said)
        page.on("pageerror", lambda error: shown.faults.append(f"error: {error}"))
        page.on("request", shown._asks)
        try:
            yield shown
        finally:
            shown._forget()
            page.close()

    def _forget(self) -> None:
        """Empty what the pages of this address have stored."""
        self.page.context.clear_cookies()
        with contextlib.suppress(Error):  # an address that can store nothing: about:blank
            self.page.evaluate("localStorage.clear()")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text}")

    def _asks(self, request: Request) -> None:
        if not request.url.startswith("data:"):
            self.asked.append(request.url)

    def open(self, file: Path) -> Page:
        """From the disk, until it is drawn."""
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-drawn]", timeout=60_000)
        return self.page

    def pictures(self) -> list[str]:
        """Every canvas as it was drawn, in the order in which they stand."""
        found: list[str] = self.page.evaluate("[...document.querySelectorAll('canvas')].map((one) => one.toDataURL())")
        return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's, headless. While it is open no event loop can run in this thread: open it for one module's tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            profile = browser.new_context(color_scheme="light")
            # A page that stays open, so that all others from the disk are drawn by its process: without it, each of
            # them takes a new one, and 1.4 s of CPU instead of 0.6.
            profile.new_page().goto(Path(__file__).as_uri())
            yield browser
        finally:
            browser.close()
