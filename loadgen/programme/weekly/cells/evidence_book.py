"""Collects the evidence of a page: an entry for each number, once. Pure."""

from __future__ import annotations

from loadgen.programme.evidence.entry import EvidenceEntry, EvidenceKind, evidence_id

__all__ = ["EvidenceBook"]


class EvidenceBook:
    """The entries of one page. Equal entries have the same id, and are kept once."""

    def __init__(self) -> None:
        self._entries: dict[str, EvidenceEntry] = {}

    def add(
        self,
        kind: EvidenceKind,
        says: str,
        formula: str = "",
        inputs: tuple[tuple[str, str], ...] = (),
        *,
        revisions: tuple[str, ...] = (),
        run_ids: tuple[str, ...] = (),
        see: str = "",
        id_: str = "",
    ) -> str:
        """Add an entry, and return its id. id_: a number of the history such as "G-88"; "": the id is made from the
        content. Of two different entries with one number, the first one is kept.
        """
        # When somebody asked changes nothing: the revisions fix the slices.
        fixed = [one for one in inputs if one[0] != "as_of"]
        content = {"says": says, "formula": formula, "inputs": fixed, "revisions": revisions, "runs": run_ids}
        found = id_ or evidence_id(kind, content)
        return self.put(EvidenceEntry(found, kind, says, formula, inputs, revisions, run_ids, see))

    def put(self, entry: EvidenceEntry) -> str:
        """Add an entry that has its id already, and return the id."""
        self._entries.setdefault(entry.id, entry)
        return entry.id

    def entries(self, used: set[str]) -> tuple[EvidenceEntry, ...]:
        """Return the entries with these ids, sorted by id."""
        return tuple(self._entries[one] for one in sorted(self._entries) if one in used)
