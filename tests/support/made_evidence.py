"""A small history with every kind of file: a ledger of two days, runs, verdicts, a recommendation, a study, a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from loadgen.history.gate.aa_test_health import CONTROL
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event, ObjectiveVerdict
from loadgen.history.store.write_once_storage import place_of
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.programme.evidence.slices_entry import slices_entry, used_revisions
from loadgen.programme.evidence.weeks import record_week
from loadgen.programme.ledger.exclusions import Exclusion, exclude, exclusions
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice
from loadgen.programme.recommending.record import RECOMMENDED
from loadgen.programme.slo_files.read_any import read_objectives
from loadgen.programme.status import states_of, window_s
from tests.support.accepted import KEY, history

PROMISES = """apiVersion: openslo/v1
kind: SLO
metadata: {{name: checkout-fast, annotations: {{loadgen.dev/owner: pay@shop.example, loadgen.dev/journey: checkout}}}}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{{duration: 1d, isRolling: true}}]
  objectives: [{{target: 0.99}}]
  indicator:
    metadata: {{name: fast}}
    spec: {{ratioMetric: {{counter: true, good: {good}, total: {total}}}}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {{name: search-steady, annotations: {{loadgen.dev/owner: search@shop.example, loadgen.dev/journey: search}}}}
spec:
  service: shop
  budgetingMethod: Timeslices
  timeWindow: [{{duration: 1d, isRolling: true}}]
  objectives: [{{target: 0.9, timeSliceTarget: 0.95, timeSliceWindow: 10m}}]
  indicator:
    metadata: {{name: steady}}
    spec: {{ratioMetric: {{counter: true, good: {good}, total: {total}}}}}
"""
GOOD = "{metricSource: {type: Prometheus, spec: {query: 'shop_bucket{le=\"0.3\"}'}}}"
TOTAL = "{metricSource: {type: Prometheus, spec: {query: shop_count}}}"
PROGRAMME = """[journeys.checkout]
live = false
forecast = {low = "300/s", high = "360/s", until = 2999-12-31}
"""
WEEK = "2026-W30"


@dataclass(frozen=True, slots=True)
class Made:
    """A made history: where it is, when its page was made, its page, and the evidence of the two promises."""

    folder: Path
    at: datetime
    page: Mapping[str, Any]
    checkout: EvidenceEntry
    search: EvidenceEntry

    @property
    def url(self) -> str:
        return str(self.folder / "history")

    @property
    def first_file(self) -> Path:
        """The oldest file of the ledger that the promise of checkout rests on."""
        day, _, name = self.checkout.revisions[0].partition("/")
        return self.folder / f"history/slis/day={day}/{name}.parquet"

    @property
    def end(self) -> int:
        """The end of the counts, Unix time in s."""
        return int(self.at.timestamp()) // 600 * 600 - 600


def made_history(folder: Path, *, is_good: bool = False, has_runs: bool = True) -> Made:
    """Write a history below a folder, with programme.toml and slos/.

    is_good: all promises are kept, the gate says PASS, and the release is a GO. has_runs: without it, the history has
    no runs, so writing takes a tenth of the time.
    """
    at = datetime.now(UTC).replace(microsecond=0)
    made = Made(folder, at, {}, EvidenceEntry("", "slices", ""), EvidenceEntry("", "slices", ""))
    (folder / "slos").mkdir()
    (folder / "slos/shop.yaml").write_text(PROMISES.format(good=GOOD, total=TOTAL))
    (folder / "programme.toml").write_text(PROGRAMME)
    _ledger(made, is_good=is_good)
    _events(made, is_good=is_good, has_runs=has_runs)
    return _page(made)


def _ledger(made: Made, *, is_good: bool) -> None:
    bad = 5 if is_good else 30
    ledger = Ledger(place_of(made.url), lambda: utc_text(made.at - timedelta(minutes=5)))
    starts = [made.end - 300 * n for n in range(1, 330)]
    checkout = [Slice("checkout-fast", start, 300, 1000 - bad, 1000, evidence="prod: shop_count") for start in starts]
    search = [Slice("search-steady", start, 300, 80 if not start % 7 and not is_good else 100, 100) for start in starts]
    ledger.write("prod", [*checkout, *search])


def _events(made: Made, *, is_good: bool, has_runs: bool) -> None:
    store = Store.open(made.url)
    old = history(12, {"checkout": 100.0}, sd=0.005)
    passed = (ObjectiveVerdict("p(99) < 300ms", "passed", "checkout"),)
    new = [
        replace(run, labels={"release": "v412"}, objectives=passed)
        for run in history(3, {"checkout": 100.0}, sd=0.005, seed=2, first=12)
    ]
    if has_runs:
        for run in (*old, *new):
            store.add(run)
        store.pin([run.run_id for run in old[:3]], "1.4")
    outcome = "PASS" if is_good else "FAIL"
    details = {"key": KEY.hash(), "detectable": "0.03", "history": "12", "outcome": outcome, "reasons": "as measured"}
    store.note(Event("verdict", "", "ci", tuple(run.run_id for run in new), details=details))
    for n in range(12):
        about = details | {"outcome": "PASS"}
        store.note(Event(CONTROL, utc_text(made.at - timedelta(days=n)), details=about))
    facts = {"low_per_s": 500.0, "high_per_s": 550.0, "release": "v412", "scenario": "shop.py", "plan": "plan"}
    store.add_study({"kind": "capacity find", "headline": "500/s to 550/s", "facts": facts})
    place = place_of(made.url)
    night = Exclusion(made.end - 7200, made.end - 3600, "announced maintenance", ("checkout-fast",), "maria")
    exclude(place, replace(night, at=utc_text(made.at - timedelta(hours=1))))
    rows = [{"kind": "gate", "journey": "checkout", "id": "G-1", "state": "go", "says": outcome, "required": True}]
    recommended = {
        "id": "D-1",
        "release": "v411",
        "journeys": json.dumps(["checkout"]),
        "recommendation": "INCONCLUSIVE",
        "document": json.dumps({"is_valid": True, "evidence": rows}),
    }
    store.note(Event(RECOMMENDED, "", "maria", details=recommended))
    store.note(Event("overridden", "", "paul", because="Black Friday", details={"id": "D-1", "release": "v411"}))


def _page(made: Made) -> Made:
    place, as_of = place_of(made.url), utc_text(made.at)
    objectives = read_objectives([made.folder / "slos/shop.yaml"]).check().objectives
    now = int(made.at.timestamp())
    reading = Ledger(place).read(now - window_s(objectives), now, as_of)
    states = states_of(objectives, reading, exclusions(place, as_of)[0], now)
    checkout, search = (
        slices_entry(one, used_revisions(one.objective.name, reading, one.start, one.end), as_of) for one in states
    )
    run_ids = Store.open(made.url).events("verdict")[0].run_ids
    gate = EvidenceEntry("G-1", "gate", "the gate judged 3 runs", run_ids=run_ids)
    page = {
        "week": WEEK,
        "id": "w30-4f1a",
        "as_of": as_of,
        "sentences": [{"text": "Checkout's promise was not kept.", "evidence": [checkout.id]}],
        "rows": [
            {"journey": "checkout", "kept": _cell("97.0 %", 0.97, checkout.id), "gate": _cell("FAIL", None, "G-1")},
            {"journey": "search", "kept": _cell("90.00 %", 0.9, search.id), "headroom": _cell("1.3 ×", 1.3, "C-1")},
            {"journey": "refund", "kept": _cell("not measured", None)},
        ],
        "sections": [{"title": "Recommendations", "items": [{"text": "v411: INCONCLUSIVE.", "evidence": ["D-1"]}]}],
        "charts": [{"title": "budget", "evidence": [checkout.id, search.id]}],
        "evidence": [one.as_document() for one in (checkout, search, gate)],
    }
    record_week(place, page, as_of)
    return replace(made, page=page, checkout=checkout, search=search)


def _cell(text: str, value: float | None, *ids: str) -> dict[str, Any]:
    return {"text": text, "value": value, "low": None, "high": None, "evidence": list(ids)}
