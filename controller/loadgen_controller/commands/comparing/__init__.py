"""The work of `loadgen compare` after its options are read, and its output formats.

The formats are defined here because `comparison.py` needs scipy, and reading the options must not.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Format"]


class Format(StrEnum):
    """Output formats of `loadgen compare`."""

    TERMINAL = "terminal"
    HTML = "html"
    JSON = "json"
    MARKDOWN = "markdown"
