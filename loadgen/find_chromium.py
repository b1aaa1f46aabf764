"""Finds the Chromium of this machine, for pages as PDF and for browsers as users."""

from __future__ import annotations

import os
import shutil
from typing import Final

from loadgen.outside_text import one_line

__all__ = ["INSTALL_CHROMIUM", "VARIABLE", "find_chromium", "why_none"]

VARIABLE: Final = "LOADGEN_CHROMIUM"
"""The environment variable with the path or name of a Chromium; empty: use none."""
INSTALL_CHROMIUM: Final = f"Install Chromium or set {VARIABLE} to its path"
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless-shell")


def find_chromium() -> str:
    """Return the path of a Chromium; "" if none was found. The variable `LOADGEN_CHROMIUM` goes first."""
    chosen = os.environ.get(VARIABLE)
    names = _NAMES if chosen is None else (chosen,)
    return next((path for name in names if name and (path := shutil.which(name))), "")


def why_none() -> str:
    """Return why `find_chromium` found none, as the beginning of a sentence."""
    chosen = os.environ.get(VARIABLE)
    return f'{VARIABLE} names "{one_line(chosen, 80)}", which is not a program' if chosen else "no Chromium found"
