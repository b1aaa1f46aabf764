"""One piece of evidence: what a number was computed from, so that a sceptic can compute it again. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final, Literal

__all__ = ["LETTERS", "EvidenceEntry", "EvidenceKind", "evidence_id"]

EvidenceKind = Literal["slices", "runs", "gate", "recommendation", "study", "controls", "anomaly", "facts"]
LETTERS: Final[Mapping[EvidenceKind, str]] = {
    "slices": "S",
    "runs": "R",
    "gate": "G",
    "recommendation": "D",
    "study": "C",
    "controls": "H",
    "anomaly": "A",
    "facts": "F",
}
"""The letter of the ids of each kind. G-n, D-n and C-n are numbers of the history. The others are made from the content
by `evidence_id`, so the same inputs give the same id."""


@dataclass(frozen=True, slots=True)
class EvidenceEntry:
    """What a number was computed from.

    id: "S-4f1a2b9c", "G-88". says: the result in a sentence without a full stop. formula: how it was computed, in
    words and with the numbers of this case. inputs: names and values, such as ("query", 'http_requests_total{...}'),
    ("good", "994100"). revisions: of the ledger, "2026-07-20/prod-3". run_ids: of the runs that were used. see: a
    command that shows more, or "".
    """

    id: str
    kind: EvidenceKind
    says: str
    formula: str = ""
    inputs: tuple[tuple[str, str], ...] = ()
    revisions: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    see: str = field(default="")

    def as_document(self) -> dict[str, object]:
        """Return the entry for JSON."""
        document = asdict(self)
        return document | {
            "inputs": [{"name": name, "value": value} for name, value in self.inputs],
            "revisions": list(self.revisions),
            "run_ids": list(self.run_ids),
        }


def evidence_id(kind: EvidenceKind, content: Mapping[str, object]) -> str:
    """Return an id from the content: the letter of the kind and 8 hexadecimal digits of its SHA-256.

    content: everything that the number depends on; values that JSON has.
    """
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return f"{LETTERS[kind]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
