"""Records recommendations in the audit trail of a history, as D-1, D-2, ..."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.programme.recommending.recommendation import Recommendation
from loadgen.programme.recommending.shown import as_document

__all__ = ["RECOMMENDED", "document_of", "recommendation_ids", "record_recommendation"]

RECOMMENDED: Final = "recommended"
"""The kind of the event. Versions that do not know it pass over it."""
_ID: Final = re.compile(r"D-([1-9][0-9]{0,8})")


def record_recommendation(
    store: Store,
    found: Recommendation,
    release: str,
    journeys: Sequence[str],
    by: str,
    now: datetime,
    *,
    impact: Sequence[Mapping[str, Any]] = (),
    entries: Iterable[EvidenceEntry] = (),
) -> str:
    """Store a recommendation with its evidence, and return its id such as "D-207".

    The number is taken before the event is written, so two writers at the same time get different numbers.

    Raises:
        StorageError, CloudError: the history cannot be written.
    """
    # Older versions took no numbers, so the ids of the events count as well.
    known = max(recommendation_ids(store.events(RECOMMENDED)), default=0)
    id_ = f"D-{store.take_number('D', known + 1)}"
    document = as_document(found, release, tuple(journeys), id_, utc_text(now), impact=impact, entries=entries)
    store.note(
        Event(
            RECOMMENDED,
            utc_text(now),
            by,
            details={
                "id": id_,
                "release": release,
                "journeys": json.dumps(list(journeys)),
                "recommendation": found.recommendation,
                "document": json.dumps(document, ensure_ascii=False),
            },
        )
    )
    return id_


def recommendation_ids(events: Iterable[Event]) -> list[int]:
    """Return the numbers of the recommendations among events."""
    found = (_ID.fullmatch(one.details.get("id", "")) for one in events if one.kind == RECOMMENDED)
    return [int(match[1]) for match in found if match]


def document_of(event: Event) -> dict[str, Any]:
    """Return the JSON document of a recorded recommendation; {} if the event has none that can be read."""
    try:
        document = json.loads(event.details.get("document", ""))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
