"""HTML pages that are ready-made: one file without scripts, in the style of a run's report.

The page's security policy allows only its own style and forbids loading anything. Tables come from `report_parts`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Final

from loadgen.outside_text import in_html
from loadgen.report.html import PAGE
from loadgen.report.report_parts import Table

__all__ = ["static_page", "table_html"]

_CARDS: Final = 3
"""A telephone has no room for a table with as many columns of words."""


def static_page(title: str, body: Iterable[str], more_style: bytes) -> bytes:
    """Return a page in UTF-8. The same arguments give the same bytes.

    title: plain text. body: HTML. more_style: CSS that follows the one of a run's report.
    """
    style = (PAGE / "style.css").read_bytes() + more_style
    allowed = base64.b64encode(hashlib.sha256(style).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{allowed}'; img-src data:; base-uri 'none'; form-action 'none'"
    head = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        '<link rel="icon" href="data:,">',
        f"<title>{in_html(title)}</title>",
    ]
    return b"\n".join(
        [
            "\n".join(head).encode("utf-8", "replace"),
            b"<style>" + style + b"</style>\n</head>\n<body>\n<main>",
            "\n".join(body).encode("utf-8", "replace"),
            b"</main>\n</body>\n</html>\n",
        ]
    )


def table_html(table: Table) -> str:
    """Return a table as HTML, with its note below; its title is left out. All its texts are escaped.

    A table with `_CARDS` columns of words has the class "cards" and the names of its columns in each cell, so a style
    can make a card of each row where the screen has no room for all columns.
    """
    classes = ("", *("text",) * (table.words - 1), *("number",) * (len(table.columns) - table.words))
    numbers = [f' class="{name}"' if name else "" for name in classes]
    heads = "".join(f"<th{number}>{in_html(cell)}</th>" for number, cell in zip(numbers, table.columns, strict=True))
    is_cards = table.words >= _CARDS
    names = [f' data-name="{in_html(cell)}"' if is_cards else "" for cell in table.columns]
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{number}{name}>{in_html(cell)}</td>" for number, name, cell in zip(numbers, names, row, strict=True)
        )
        + "</tr>\n"
        for row in table.rows
    )
    note = f'<p class="note">{in_html(table.note)}</p>' if table.note else ""
    body = f"<thead><tr>{heads}</tr></thead>\n<tbody>{rows}</tbody>"
    return f'<div class="scroll{" cards" if is_cards else ""}"><table>{body}</table></div>{note}'
