"""Writes a launch page as one HTML file without scripts."""

from __future__ import annotations

from loadgen.outside_text import in_html
from loadgen.programme.pages.launch_values import LaunchPage
from loadgen.report.static_page import static_page

__all__ = ["launch_html"]


def launch_html(page: LaunchPage) -> bytes:
    """Return the page in UTF-8. The same page gives the same bytes."""
    return static_page(page.title, [f"<h1>{in_html(page.recommendation)}</h1>"], b"")
