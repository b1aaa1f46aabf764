"""The Chromium of a worker, driven by Playwright: started, given contexts, ended. Nothing else imports Playwright.

Playwright's driver is a process of its own, which starts Chromium with a pipe. Both end when their pipe is closed, so
also when the worker is killed.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from loadgen.errors import UsageError
from loadgen.extras import missing_package
from loadgen.find_chromium import INSTALL_CHROMIUM, find_chromium, why_none

if TYPE_CHECKING:
    from playwright.async_api import (
        Browser,
        BrowserContext,
        Page,
        Playwright,
        Request,
        Response,
        Route,
        StorageState,
    )

__all__ = [
    "BrowserContext",
    "Chromium",
    "Page",
    "Request",
    "Response",
    "Route",
    "StorageState",
    "browser_failure",
    "check_installed",
]

_OPTIONS: Final = (
    "--disable-dev-shm-usage",
    "--disable-quic",
    # WebRTC looks up no names, so rules for names do not stop it.
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--no-first-run",
    "--no-proxy-server",
)
_KEPT: Final = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "TZ",
    "LD_LIBRARY_PATH",
    "FONTCONFIG_FILE",
    "FONTCONFIG_PATH",
)
"""The environment variables of Chromium. The others may be secrets, which a page must not get close to."""
_ROOT_NOTE: Final = "Chromium runs without its sandbox, because this program runs as root; run agents as another user"
_CLOSE_S: Final = 5.0


def check_installed() -> str:
    """Return the path of this machine's Chromium.

    Raises:
        UsageError: Playwright is not installed, or there is no Chromium.
    """
    if find_spec("playwright") is None:
        raise missing_package("Plan(browsers=...), loadgen[browser],", "playwright", "browser")
    path = find_chromium()
    if not path:
        raise UsageError(f"Plan(browsers=...): {why_none()}", hint=f"{INSTALL_CHROMIUM}, on each machine with an agent")
    return path


def browser_failure(error: BaseException) -> tuple[bool, bool]:
    """Return (is it an exception of Playwright, is it a time-out)."""
    from playwright.async_api import Error
    from playwright.async_api import TimeoutError as TooLate

    return isinstance(error, Error), isinstance(error, TooLate)


class Chromium:
    """A running Chromium. note: is empty, or a text for readers of the measurements."""

    def __init__(self, playwright: Playwright, browser: Browser, note: str) -> None:
        self._playwright, self._browser, self.note = playwright, browser, note

    @classmethod
    async def launch(cls, path: str, rules: str) -> Chromium:
        """Start a Chromium. rules: of names and addresses (`host_rules.py`). Cost: 1 to 3 s.

        Raises:
            UsageError: it did not start.
        """
        from playwright.async_api import Error, async_playwright

        is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        options = [*_OPTIONS, f"--host-resolver-rules={rules}", *(["--no-sandbox"] if is_root else [])]
        playwright = await async_playwright().start()
        try:
            # Signals are for the worker, which ends its browser itself.
            browser = await playwright.chromium.launch(
                executable_path=path,
                env={name: os.environ[name] for name in _KEPT if name in os.environ},
                args=options,
                chromium_sandbox=not is_root,
                handle_sigint=False,
                handle_sigterm=False,
                handle_sighup=False,
            )
        except Error as error:
            await playwright.stop()
            first = str(error).strip().splitlines()[0]
            raise UsageError(
                f"Chromium did not start: {first}", hint=f"run {path} --headless --dump-dom about:blank by hand"
            ) from error
        except BaseException:
            await playwright.stop()
            raise
        return cls(playwright, browser, _ROOT_NOTE if is_root else "")

    @property
    def is_running(self) -> bool:
        return self._browser.is_connected()

    async def context(
        self, base_url: str, *, verify: bool, limit_ms: float, storage: StorageState | None = None
    ) -> BrowserContext:
        """Return a new context: a person with an empty cache.

        base_url: of relative URLs. verify: check certificates. limit_ms: of each navigation and each wait. storage: the
        cookies and local storage that the person has; None: none.
        """
        context = await self._browser.new_context(
            base_url=base_url, ignore_https_errors=not verify, storage_state=storage
        )
        context.set_default_timeout(limit_ms)
        context.set_default_navigation_timeout(limit_ms)
        return context

    async def close(self) -> None:
        """End Chromium and its driver. Neither may delay the end of a run for long."""
        for ending in (self._browser.close, self._playwright.stop):
            with suppress(Exception):  # it may have ended already; what is left ends with the worker's pipe
                await asyncio.wait_for(ending(), _CLOSE_S)
