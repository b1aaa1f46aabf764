"""Writes evidence as HTML: links to it, and its list at the end of a page."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from loadgen.outside_text import in_html, one_line
from loadgen.programme.evidence.entry import EvidenceEntry

__all__ = ["EvidenceLinks", "anchor", "evidence_html", "unique"]

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9-]")
_MOST: Final = 64
"""PDF readers reject names that are much longer."""
_LONGEST_ID: Final = 24
"""Longer ids, which are not ours, are cut where they stand in a table."""


def anchor(evidence_id: str) -> str:
    """Return the name of the place of an id on its page: the id, with a code for each character beyond letters,
    digits and dashes. Different ids have different names.
    """
    name = _UNSAFE.sub(lambda found: f"_{ord(found[0]):x}_", evidence_id)
    return name if len(name) <= _MOST else f"long-{hashlib.sha256(evidence_id.encode()).hexdigest()[:16]}"


def unique(ids: Iterable[str]) -> tuple[str, ...]:
    """Return the ids in their order, each once."""
    return tuple(dict.fromkeys(one for one in ids if one))


class EvidenceLinks:
    """Makes links to the evidence of one page. Ids without an entry on the page become plain text."""

    def __init__(self, entries: Sequence[EvidenceEntry]) -> None:
        self._known = {one.id for one in entries}

    def of(self, ids: Iterable[str]) -> str:
        """Return links to the evidence, with spaces between them."""
        return " ".join(self.link(one, one_line(one, _LONGEST_ID)) for one in unique(ids))

    def link(self, evidence_id: str, text: str, style: str = "id") -> str:
        """Return a text that is a link to one piece of evidence. The text is escaped."""
        if evidence_id not in self._known:
            return f'<span class="{style}">{in_html(text)}</span>'
        return f'<a class="{style}" href="#{anchor(evidence_id)}">{in_html(text)}</a>'


def evidence_html(entries: Iterable[EvidenceEntry]) -> Iterator[str]:
    """Yield each piece of evidence once, with its inputs, formula, revisions, runs, and the command that shows it."""
    seen = {one.id: one for one in reversed(list(entries))}
    for one in reversed(seen.values()):
        yield f'<article id="{anchor(one.id)}"><h3><b>{in_html(one.id)}</b> {in_html(one.says)}</h3>'
        if one.formula:
            yield f'<p class="formula">{in_html(one.formula)}</p>'
        facts = [
            *one.inputs,
            *([("revisions", ", ".join(one.revisions))] if one.revisions else []),
            *([("runs", ", ".join(one.run_ids))] if one.run_ids else []),
        ]
        if facts:
            rows = "".join(f"<div><dt>{in_html(name)}</dt><dd>{in_html(value)}</dd></div>" for name, value in facts)
            yield f"<dl>{rows}</dl>"
        commands = unique((f"loadgen evidence {one.id}", one.see))
        yield "<p>" + " ".join(f"<code>{in_html(command)}</code>" for command in commands) + "</p></article>"
