"""Walks over a page: each number must name evidence, and each id must resolve.

The walk knows nothing of the parts of a page. An object of the JSON with a number in "value", "low" or "high" and with
a "text" is a number that people see, and needs an id in its "evidence". So a new column or section is walked, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from loadgen.outside_text import one_line
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.programme.evidence.find import EvidenceFinder, Found, NotFound, entries_in, entry_of, written_id
from loadgen.programme.evidence.recompute import Again, Recomputer

__all__ = ["PageCheck", "check_page", "ids_in", "numbers_without_evidence"]

_DEEPEST: Final = 40


@dataclass(frozen=True, slots=True)
class PageCheck:
    """What the walk over one page found. ids: all that the page names, in its order. again: of each one that resolves.

    unresolved: a sentence for each id that does not resolve. bare: where a number without evidence stands. unreadable:
    sentences about files that cannot be read.
    """

    ids: tuple[str, ...]
    again: Mapping[str, Again]
    unresolved: tuple[str, ...]
    bare: tuple[str, ...]
    unreadable: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Return whether all ids resolve, no number is without evidence, and nothing differs."""
        return not self.unresolved and not self.bare and not self.of_state("differs", "unreadable")

    def of_state(self, *states: str) -> list[str]:
        """Return the ids whose computing again had one of these results."""
        return [id_ for id_, one in self.again.items() if one.state in states]


def ids_in(document: object) -> list[str]:
    """Return the ids of evidence that a page's document names, each once, in its order."""
    found = (id_ for at, one in _objects(document) for id_ in _ids_of(one, at))
    return list(dict.fromkeys(found))


def numbers_without_evidence(document: object) -> list[str]:
    """Return where a number that people see has no evidence, such as "rows[3].burn"."""
    return [
        at
        for at, one in _objects(document)
        if "evidence" in one
        and isinstance(one.get("text"), str)
        and any(_is_number(one.get(name)) for name in ("value", "low", "high"))
        and not _ids_of(one, at)
    ]


def check_page(document: Mapping[str, Any], finder: EvidenceFinder, recomputer: Recomputer) -> PageCheck:
    """Resolve each id of a page, and compute its evidence again.

    An id resolves if the page has its entry, and, for a number or a run of the history, if the history has it as well.
    """
    entries = {entry.id: entry for entry in entries_in(document)}
    listed = document.get("evidence")
    unresolved = [
        f"entry {n} of the page's evidence is not readable"
        for n, one in enumerate(listed if isinstance(listed, list) else (), 1)
        if entry_of(one) is None
    ]
    if not isinstance(listed, list):
        unresolved.append('the page has no list "evidence"')
    ids = list(dict.fromkeys([*ids_in(document), *entries]))
    again: dict[str, Again] = {}
    for id_ in ids:
        found = _resolved(id_, entries, finder, recomputer.again)
        if isinstance(found, Again):
            again[id_] = found
        else:
            unresolved.append(found)
    return PageCheck(
        tuple(ids),
        again,
        tuple(unresolved),
        tuple(numbers_without_evidence(document)),
        finder.unreadable,
    )


def _resolved(
    id_: str,
    entries: Mapping[str, EvidenceEntry],
    finder: EvidenceFinder,
    again: Callable[..., Again],
) -> Again | str:
    entry = entries.get(id_)
    if entry is not None and entry.id == written_id(entry.id) and entry.id[:2] not in ("G-", "D-", "C-"):
        return again(entry)
    found = finder.find(id_)
    if isinstance(found, Found):
        return again(found.entry, entry)
    if found.is_unreadable:
        return Again("unreadable", _sentence(found))
    if entry is not None:
        return f"{one_line(id_, 80)}: the page has it, but {found.why}"
    return _sentence(found)


def _sentence(found: NotFound) -> str:
    nearest = f"; the nearest is {', '.join(found.nearest)}" if found.nearest else ""
    return f"{found.id}: {found.why}{nearest}"


def _objects(document: object, at: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (where, object) for each object of a document, but not for the entries of evidence themselves."""
    if depth > _DEEPEST:
        return
    if isinstance(document, Mapping):
        yield at, document
        for name, value in document.items():
            if at or name != "evidence":
                yield from _objects(value, f"{at}.{name}" if at else str(name), depth + 1)
    elif isinstance(document, (list, tuple)):
        for n, value in enumerate(document):
            yield from _objects(value, f"{at}[{n}]", depth + 1)


def _ids_of(one: Mapping[str, Any], at: str) -> list[str]:
    listed = one.get("evidence") if at else None
    return [id_ for id_ in listed if isinstance(id_, str)] if isinstance(listed, (list, tuple)) else []


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
