"""What newer versions of loadgen write into a history: kinds of events and folders that older readers do not know."""

from __future__ import annotations

from pathlib import Path

from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event
from loadgen.history.store.write_once_storage import place_of
from loadgen.programme.evidence.weeks import record_week
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice

__all__ = ["KINDS", "add_newer_kinds"]

KINDS = (
    "excluded",
    "recommended",
    "overridden",
    "signed",
    "capacity",
    "sweep",
    "anomaly",
    "published",
    "checked",
    "a kind of tomorrow",
)


def add_newer_kinds(folder: Path, run_ids: tuple[str, ...]) -> None:
    """Add an event of each kind, and a file in each folder, to the history in `folder`."""
    store, place = Store.open(str(folder)), place_of(str(folder))
    for n, kind in enumerate(KINDS):
        details = {"id": f"D-{n + 1}", "outcome": "FAIL", "name": "1.4", "key": "0" * 16}
        store.note(Event(kind, f"2999-01-{n + 1:02}T00:00:00.000Z", "maria", run_ids, "because", details))
    store.add_study({"kind": "capacity find", "headline": "500/s"})
    store.take_number("D")
    record_week(place, {"week": "2026-W30", "id": "w30-4f1a", "evidence": []})
    Ledger(place).write("prod", [Slice("checkout-fast", 1_784_505_600, 300, 990, 1000)])
    place.put_new("tomorrow/day=2999-01-01/file.bin", b"\x00")
    place.put_new("tomorrow.json", b"{")
