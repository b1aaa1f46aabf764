"""Writes the table of promises of a weekly page as HTML: worst rows first, each number a link to its evidence.

On paper one sheet has room for `ONE_SHEET` rows. The first sheet of a longer table has the worst rows and a row about
the others, which are on the second sheet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen.outside_text import in_html
from loadgen.programme.pages.evidence_html import EvidenceLinks, unique
from loadgen.programme.weekly.page_values import QUARTER_COLUMNS, Row, Shown, columns_of

__all__ = ["ONE_SHEET", "PromiseTable", "owner_html"]

ONE_SHEET: Final = 12
"""As many rows are printed on one sheet."""
_ONE_PUBLIC_SHEET: Final = 36
"""The same for a public page, whose rows are one line each, and which has no charts."""
_PUBLIC: Final = ("journey", "promise", "kept")
_IDS_ON_SCREEN: Final = 4
"""A row shows as many ids on a screen, where each number is a link to its own. Paper shows them all."""


@dataclass(frozen=True, slots=True)
class PromiseTable:
    """The table of a page. Public tables have neither owners nor evidence."""

    rows: tuple[Row, ...]
    links: EvidenceLinks
    is_public: bool = False

    def html(self) -> Iterator[str]:
        """Yield the table with all rows for the screen, and for paper those of the first sheet."""
        first = self.rows[: self._on_first_sheet]
        yield f'<section class="{self._style}" aria-label="Promises, worst first">'
        yield from self._opened()
        for n, row in enumerate(self.rows):
            yield from self._row(row, is_printed=n < len(first))
        if rest := self.rows[len(first) :]:
            yield f'<tr class="summary on-paper"><td colspan="{self._width}">{_about(rest)}</td></tr>'
        if not self.rows:
            yield f'<tr class="summary"><td colspan="{self._width}">There are no promises.</td></tr>'
        yield "</tbody></table></section>"

    def second_sheet(self) -> Iterator[str]:
        """Yield the rows for which the first sheet has no room; only paper has a second one."""
        yield f'<section class="{self._style}"><h2>Other promises</h2>'
        yield from self._opened()
        for row in self.rows[self._on_first_sheet :]:
            yield from self._row(row, is_printed=True)
        yield "</tbody></table></section>"

    @property
    def has_second_sheet(self) -> bool:
        """Return whether one sheet of paper has no room for all rows."""
        return self._on_first_sheet < len(self.rows)

    @property
    def _on_first_sheet(self) -> int:
        most = _ONE_PUBLIC_SHEET if self.is_public else ONE_SHEET
        return len(self.rows) if len(self.rows) <= most else most - 1

    @property
    def _style(self) -> str:
        return "promises has-trend" if "trend" in self._columns else "promises"

    @property
    def _columns(self) -> Mapping[str, str]:
        return columns_of(self.rows)

    @property
    def _names(self) -> list[str]:
        return [name for name in self._columns if name in _PUBLIC] if self.is_public else [*self._columns]

    @property
    def _width(self) -> int:
        return len(self._names) + (not self.is_public)

    def _opened(self) -> Iterator[str]:
        heads = {name: self._columns[name] for name in self._names} | (
            {} if self.is_public else {"evidence": "evidence"}
        )
        cells = "".join(f'<th scope="col" class="c-{name}">{in_html(text)}</th>' for name, text in heads.items())
        yield f"<table><thead><tr>{cells}</tr></thead>\n<tbody>"

    def _row(self, row: Row, *, is_printed: bool) -> Iterator[str]:
        style = f"is-{row.tone}{'' if is_printed else ' on-screen'}"
        if not row.journey:
            yield f'<tr class="{style} summary"><td colspan="{self._width}">{in_html(row.says)}</td></tr>'
            return
        shown = dict(row.cells())
        cells = [f'<th scope="row" class="c-journey"><span>{in_html(row.journey)}</span></th>']
        for name in self._names[1:]:
            if name in shown:
                cells.append(self._cell(name, shown[name]))
            elif name == "promise":
                method = f" <small>{in_html(row.method)}</small>" if row.method else ""
                cells.append(_td(name, f"<span>{in_html(row.promise)}</span>{method}"))
            else:
                cells.append(_td(name, f"<span>{owner_html(row.owner) if row.owner else 'nobody'}</span>"))
        if not self.is_public:
            cells.append(_td("evidence", f"<small>{self._ids(shown.values())}</small>"))
        has_more = bool(row.says) and not self.is_public
        yield f'<tr class="{style}{" has-more" if has_more else ""}">{"".join(cells)}</tr>'
        if has_more:
            yield f'<tr class="{style} more"><td colspan="{self._width}">{in_html(row.says)}</td></tr>'

    def _ids(self, cells: Iterable[Shown]) -> str:
        every = unique(one for cell in cells for one in cell.evidence)
        shown, more = every[:_IDS_ON_SCREEN], every[_IDS_ON_SCREEN:]
        if not more:
            return self.links.of(shown)
        return (
            f'{self.links.of(shown)} <span class="on-screen">+{len(more)}</span> '
            f'<span class="on-paper">{self.links.of(more)}</span>'
        )

    def _cell(self, name: str, cell: Shown) -> str:
        text = f"{cell.text}{' (estimate)' if cell.is_estimate and 'estimate' not in cell.text else ''}"
        if self.is_public or not cell.evidence:
            return _td(name, f"<span>{in_html(text)}</span>", cell.tone if cell.evidence else "none")
        return _td(name, f"<span>{self.links.link(cell.evidence[0], text, 'n')}</span>", cell.tone)


def owner_html(owner: str) -> str:
    """Return an owner as HTML. A narrow column breaks an address at its sign."""
    return in_html(owner).replace("@", "@<wbr>")


def _td(name: str, html: str, tone: str = "plain") -> str:
    return f'<td class="c-{name} is-{tone}" data-name="{in_html(QUARTER_COLUMNS.get(name, name))}">{html}</td>'


def _about(rest: Sequence[Row]) -> str:
    """Return a sentence about the rows of the second sheet. It never hides bad news."""
    broken, unsure = (sum(row.tone == tone for row in rest) for tone in ("bad", "open"))
    parts = [f"{broken} with bad news" if broken else "", f"{unsure} not decided" if unsure else ""]
    said = ", ".join(filter(None, parts)) or "none of them is broken or undecided"
    return f"{len(rest)} more are on the second sheet: {said}."
