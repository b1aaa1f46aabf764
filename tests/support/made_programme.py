"""A programme of 13 weeks that nobody ran: promises, ledger, runs, decisions and studies, always the same bytes.

    made = made_programme(tmp_path)     # 2026-04-27 to 2026-07-27 (UTC), whose last week is 2026-W30

14 journeys of a shop, each with one promise over 4 weeks. What happens in them:

    checkout  an incident on Tuesday of week 30, 10:00 to 12:40: its promise is not kept
    search    becomes slower by 6 % on Wednesday of week 30 with commit 81ac0f3; keeps its promise
    refund    has no counts for 20 hours of week 29: undecided
    wallet    becomes slower by a little each week (drift that nobody accepted)
    catalog   has an excluded time on a Sunday
    login     spends its budget faster since Thursday
    profile   its source is late by 2 hours at the end of week 30

There is also an override (of D-1, until 2026-08-15), a recommendation of v412 (D-2, INCONCLUSIVE), 24 A/A controls of
which 1 failed, a capacity (C-1), and a revision of late counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadgen.history.store.audit_trail import encoded
from loadgen.history.store.parquet_run import to_parquet
from loadgen.history.store.stored_run import Accepted, Event, ObjectiveVerdict
from loadgen.history.store.study_records import StudyRecord, encoded_study
from loadgen.programme.ledger.ledger_file import Revision, Rows
from loadgen.programme.ledger.ledger_file import to_parquet as slices_to_parquet
from loadgen.programme.openslo.write import as_openslo
from loadgen.programme.promises.objectives import DataSource, Objective, Query, RatioIndicator, RollingWindow, Threshold
from loadgen.programme.promises.slo_set import SloSet
from tests.support.accepted import KEY, accepted

__all__ = ["END", "JOURNEYS", "START", "WEEKS", "MadeProgramme", "made_programme", "objectives"]

WEEKS: Final = 13
END: Final = 1_785_110_400
"""2026-07-27, 0 h UTC: the end of the week 2026-W30."""
_WEEK: Final = 7 * 86_400
START: Final = END - WEEKS * _WEEK
WIDTH: Final = 300
JOURNEYS: Final = {
    # journey: (team, p95 in ms, requests in 5 minutes at the mean, target)
    "checkout": ("payments", 180.0, 1_200, "0.995"),
    "search": ("browse", 90.0, 5_000, "0.99"),
    "refund": ("payments", 240.0, 60, "0.999"),
    "wallet": ("payments", 130.0, 400, "0.995"),
    "catalog": ("browse", 70.0, 8_000, "0.99"),
    "login": ("accounts", 110.0, 900, "0.995"),
    "profile": ("accounts", 95.0, 700, "0.99"),
    "cart": ("browse", 85.0, 2_500, "0.995"),
    "invoice": ("payments", 210.0, 150, "0.99"),
    "payout": ("payments", 320.0, 90, "0.99"),
    "register": ("accounts", 140.0, 120, "0.99"),
    "reviews": ("browse", 75.0, 1_800, "0.98"),
    "shipping": ("browse", 160.0, 500, "0.99"),
    "support": ("accounts", 200.0, 110, "0.98"),
}
RELEASES: Final = (("v410", 0), ("v411", 42), ("v412", 86))
"""Each release with the number of its first night."""
_MORE: Final = "loadgen gate shop.py:peak --runs 2 --label release=v412"
_V411_FAILED, _V411_PASSED = "2026-06-08", "2026-06-15"
"""The first night of v411, whose FAIL (G-7) is the reason of D-1; and a week later, when all its runs pass (G-8)."""
_COMMITS: Final = {0: "0f3c2d1", 42: "4be1902", 86: "81ac0f3"}
PROGRAMME_TOML: Final = """\
[programme]
title = "Shop · performance"
zone = "UTC"

[decide]
headroom = 1.25

[journeys.checkout]
live = true
plan = "shop.py:peak"
forecast = {low = "300/s", high = "360/s", until = 2026-12-31}

[journeys.search]
plan = "shop.py:peak"
forecast = {low = "180/s", high = "240/s", until = 2026-12-31}

[sources.prod]
kind = "prometheus"
url = "https://prometheus.shop.example"
load_tests = "absent: they run in staging"
"""


@dataclass(frozen=True, slots=True)
class MadeProgramme:
    """Where it is. folder: with `slos`, `programme.toml` and `history`."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "history"

    @property
    def slos(self) -> Path:
        return self.folder / "slos"

    @property
    def programme(self) -> Path:
        return self.folder / "programme.toml"


def objectives() -> tuple[Objective, ...]:
    """The 14 promises."""
    return tuple(
        Objective(
            name=f"{journey}-fast",
            service="shop",
            target=Decimal(target),
            window=RollingWindow(28 * 86_400),
            indicator=RatioIndicator(
                total=Query(source="prod", spec_json=json.dumps({"query": f'http_total{{journey="{journey}"}}'})),
                good=Query(
                    source="prod",
                    spec_json=json.dumps({"query": f'http_bucket{{journey="{journey}",le="{2 * p95 / 1e3:g}"}}'}),
                ),
                counter=True,
            ),
            threshold=Threshold(Decimal(f"{2 * p95:g}"), "ms"),
            owner=f"{team}-oncall@shop.example",
            journey=journey,
            labels=(("team", team),),
            source="prod",
            alert_set="standard",
        )
        for journey, (team, p95, _, target) in JOURNEYS.items()
    )


def made_programme(folder: Path, *, weeks: int = WEEKS, nights: int = 7 * WEEKS) -> MadeProgramme:
    """Write everything into a folder, and return where it is. Takes about 1 s of CPU.

    weeks, nights: of the ledger and of the runs, counted back from `END`; fewer are faster.
    """
    made = MadeProgramme(folder)
    for name in ("slos", "history/events", "history/studies", f"history/runs/key={KEY.hash()}"):
        (folder / name).mkdir(parents=True)
    slos = SloSet.of(objectives(), (DataSource("prod", "Prometheus", json.dumps({"url": "http://prod.example"})),))
    (made.slos / "shop.yaml").write_text(as_openslo(slos), encoding="utf-8")
    made.programme.write_text(PROGRAMME_TOML, encoding="utf-8")
    write_ledger(made.store, weeks)
    runs = made_runs()[-nights:]
    for run in runs:
        (made.store / f"runs/key={KEY.hash()}/{run.run_id}.parquet").write_bytes(to_parquet(run))
    for n, event in enumerate(made_events(runs)):
        _write_event(made.store, n, event)
    study = StudyRecord("C-1", "2026-07-09T14:00:00.000Z", "perf@shop.example", CAPACITY)
    (made.store / "studies/C-1.json").write_bytes(encoded_study(study))
    return made


# -- production -----------------------------------------------------------------------------------


def counts(weeks: int = WEEKS) -> dict[str, tuple[Any, Any, Any, Any]]:
    """{name of the objective: (start, good, total, missing_s)} of all slices."""
    random = np.random.default_rng(30)
    start = np.arange(START, END, WIDTH, dtype=np.int64)
    hour = (start % 86_400) / 3_600
    day = 1.0 + 0.6 * np.sin((hour - 9) / 24 * 2 * np.pi)
    found = {}
    for n, (journey, (_, _, volume, target)) in enumerate(JOURNEYS.items()):
        total = random.poisson(volume * day)
        share = np.full(len(start), (1 - float(target)) * (0.62 if journey == "refund" else 0.21 + 0.03 * n))
        if journey == "checkout":
            share[_between(start, "2026-07-21T10:00", "2026-07-21T12:40")] = 0.92
        if journey == "login":
            share[start >= _at("2026-07-23T06:00")] = (1 - float(target)) * 1.9
        if journey == "catalog":
            share[_between(start, "2026-07-12T02:00", "2026-07-12T06:00")] = 1.0
        bad = random.binomial(total, share)
        missing = np.zeros(len(start), np.int64)
        keep = start >= END - weeks * _WEEK  # all weeks are drawn, so the last ones are always the same
        if journey == "refund":
            keep &= ~_between(start, "2026-07-14T06:00", "2026-07-15T02:00")
        if journey == "profile":
            keep &= start < END - 2 * 3_600
        else:
            keep &= start < END - WIDTH
        found[f"{journey}-fast"] = (start[keep], (total - bad)[keep], total[keep], missing[keep])
    return found


def write_ledger(store: Path, weeks: int = WEEKS) -> None:
    """Write a file for each day; and for one day a second revision with the late counts of one hour."""
    found = counts(weeks)
    names = sorted(found)
    slo = np.concatenate([np.full(len(found[name][0]), n, np.int32) for n, name in enumerate(names)])
    start, good, total, missing = (np.concatenate([found[name][n] for name in names]) for n in range(4))
    flags = np.zeros(len(start), np.bool_)
    sources = ["accounts-db" if name == "profile-fast" else "prod" for name in names]
    texts = tuple(f"raw counters of {name}" for name in names)
    rows = Rows(
        (slo, tuple(names)), start, np.full(len(start), WIDTH, np.int64), good, total, missing, flags, (slo, texts)
    )
    is_late = slo == names.index("cart-fast")
    is_late &= _between(start, "2026-07-22T03:00", "2026-07-22T04:00")
    own = np.array([source == "accounts-db" for source in sources])[slo]
    days = start // 86_400
    order = np.argsort(days, kind="stable")
    bounds = np.searchsorted(days[order], np.unique(days))
    for n, first in enumerate(bounds):
        last = bounds[n + 1] if n + 1 < len(bounds) else len(order)
        index = order[first:last]
        day = datetime.fromtimestamp(int(start[index[0]]), UTC)
        at = (day + timedelta(days=1, minutes=5)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        for source, chosen in (("prod", ~own & ~is_late), ("accounts-db", own)):
            _write_revision(store, day, source, 1, at, "first data", rows.chosen(index[chosen[index]]))
        if is_late[index].any():
            late = (day + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            _write_revision(store, day, "prod", 2, late, "late or corrected data", rows.chosen(index[is_late[index]]))


def _write_revision(store: Path, day: datetime, source: str, number: int, at: str, because: str, rows: Rows) -> None:
    if not len(rows):
        return
    text = day.strftime("%Y-%m-%d")
    folder = store / f"slis/day={text}"
    folder.mkdir(parents=True, exist_ok=True)
    data = slices_to_parquet(Revision(text, source, number, at, because), rows)
    (folder / f"{source}-{number}.parquet").write_bytes(data)


# -- runs -----------------------------------------------------------------------------------------


def made_runs(nights: int = 7 * WEEKS) -> list[Accepted]:
    """One run a night at 1:30, oldest first. They differ by 1 %."""
    random = np.random.default_rng(412)
    found = []
    for n in range(nights):
        at = datetime.fromtimestamp(START, UTC) + timedelta(days=n, hours=1, minutes=30)
        release = [name for name, first in RELEASES if first <= n][-1]
        commit = [text for first, text in _COMMITS.items() if first <= n][-1]
        noise = np.exp(random.normal(0, 0.01, len(JOURNEYS)))
        p95 = {journey: float(level * noise[k]) for k, (journey, (_, level, _, _)) in enumerate(JOURNEYS.items())}
        p95["search"] *= 1.06 if n >= 86 else 1.0
        p95["wallet"] *= 1.0 + 0.0009 * n
        run = accepted(
            p95,
            run_id=at.strftime("%Y%m%d-%H%M%S-shop-") + f"{n:04x}",
            started_at=at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            commit=commit + "0" * 33,
            labels={"release": release},
            objectives=(ObjectiveVerdict("p(95) < 1s", "passed"),),
        )
        found.append(replace(run, figures=tuple(one for one in run.figures if one.percentile != "mean")))
    return found


CAPACITY: Final[Mapping[str, Any]] = {
    "kind": "capacity find",
    "title": "capacity of shop.py:peak",
    "headline": "shop.py:peak serves 468/s (452/s to 490/s)",
    "result": "found",
    "facts": {
        "scenario": "shop.py",
        "plan": "peak",
        "release": "v411",
        "rate_per_s": 468.0,
        "low_per_s": 452.0,
        "high_per_s": 490.0,
        "is_confirmed": True,
    },
    "rows": [],
    "run_ids": ["20260709-130000-shop-c001"],
}


# -- decisions ------------------------------------------------------------------------------------


def made_events(runs: list[Accepted]) -> list[Event]:
    """The audit trail, oldest first."""
    found = []
    for n, run in enumerate(runs):
        at = _later(run.started_at, minutes=5)
        found.append(Event("accepted", at, "ci", (run.run_id,), details={"key": KEY.hash()}))
        if n % 7 == 0 or n == len(runs) - 4:
            day = run.started_at[:10]
            failed = "search" if n == len(runs) - 4 else "checkout" if day == _V411_FAILED else ""
            before = {_V411_FAILED: 0, _V411_PASSED: 7}.get(day, 2)
            details = {
                "outcome": "FAIL" if failed else "PASS",
                "key": KEY.hash(),
                "names": json.dumps([failed] if failed else []),
                "reasons": f"{failed}: 6.2 % slower" if failed else "",
                "percentile": "p95",
                "detectable": "0.021",
                "history": "40",
            }
            judged = tuple(one.run_id for one in runs[max(n - before, 0) : n + 1])
            found.append(Event("verdict", _later(run.started_at, minutes=9), "ci", judged, details=details))
    for n in range(24):
        at = _time(datetime.fromtimestamp(END - (24 - n) * 3 * 86_400, UTC) + timedelta(hours=4))
        details = {"outcome": "FAIL" if n == 9 else "PASS", "key": KEY.hash()}
        found.append(Event("control", at, "ci", details=details))
    if runs:
        details = {"name": "v410", "key": KEY.hash()}
        at = _later(runs[min(20, len(runs) - 1)].started_at, hours=8)
        found.append(
            Event("pinned", at, "perf@shop.example", tuple(r.run_id for r in runs[5:20] or runs[:1]), "", details)
        )
    found += [
        _recommended(
            "D-1", "v411", "checkout", "NO-GO", "2026-06-08T09:00:00.000Z",
            ("G-7", "no-go", "FAIL: checkout: 6.2 % slower"), (),
        ),
        Event(
            "overridden",
            "2026-06-08T15:00:00.000Z",
            "director@shop.example",
            because="the fix of the tax rounding cannot wait",
            details={"id": "D-1", "release": "v411", "until": "2026-08-15T00:00:00.000Z"},
        ),
        Event(
            "excluded",
            "2026-07-12T08:00:00.000Z",
            "browse-oncall@shop.example",
            because="planned move of the catalog's database",
            details={"from": "2026-07-12T02:00:00.000Z", "to": "2026-07-12T06:00:00.000Z", "slos": "catalog-fast"},
        ),
        _recommended(
            "D-2", "v412", "checkout", "INCONCLUSIVE", "2026-07-24T10:00:00.000Z",
            ("G-14", "open", "the FAIL that stands is also about runs of other releases; judge the runs of v412 alone"),
            ({"command": _MORE, "minutes": 20.0, "why": "2 runs of v412"},),
        ),
    ]  # fmt: skip
    return sorted(found, key=lambda one: one.at)


def _recommended(
    id_: str,
    release: str,
    journey: str,
    word: str,
    at: str,
    gate: tuple[str, str, str],
    missing: tuple[Any, ...],
) -> Event:
    """A recommendation whose only evidence is the gate: its verdict, its state, and what it says."""
    document = {
        "format": 1,
        "id": id_,
        "at": at,
        "release": release,
        "journeys": [journey],
        "recommendation": word,
        "exit_code": {"GO": 0, "NO-GO": 1, "INCONCLUSIVE": 3}[word],
        "is_valid": True,
        "evidence": [
            {
                "kind": "gate",
                "journey": journey,
                "id": gate[0],
                "state": gate[1],
                "says": gate[2],
                "at": at,
                "release": release,
                "required": True,
            }
        ],
        "missing": list(missing),
    }
    return Event(
        "recommended",
        at,
        "perf@shop.example",
        details={
            "id": id_,
            "release": release,
            "journeys": json.dumps([journey]),
            "recommendation": word,
            "document": json.dumps(document),
        },
    )


def _write_event(store: Path, number: int, event: Event) -> None:
    """Write an event under a name that is always the same."""
    name, data = encoded(event)
    (store / re.sub(r"[0-9a-f]{8}\.json$", f"{number:08x}.json", name)).write_bytes(data)


# -- times ----------------------------------------------------------------------------------------


def _at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def _between(start: Any, first: str, last: str) -> Any:
    return (start >= _at(first)) & (start < _at(last))


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _later(text: str, **by: float) -> str:
    return _time(datetime.fromisoformat(text) + timedelta(**by))
