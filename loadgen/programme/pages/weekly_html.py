"""Writes a weekly page as one HTML file without scripts."""

from __future__ import annotations

from loadgen.outside_text import in_html
from loadgen.programme.weekly.page_values import WeeklyPage
from loadgen.report.static_page import static_page

__all__ = ["weekly_html"]


def weekly_html(page: WeeklyPage) -> bytes:
    """Return the page in UTF-8. The same page gives the same bytes."""
    return static_page(page.title, [f"<h1>{in_html(page.title)}</h1>"], b"")
