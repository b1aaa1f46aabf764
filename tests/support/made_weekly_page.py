"""Made values of weekly pages: the example of a payments team with an incident, and one of hostile texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import sin
from typing import Final

from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.programme.weekly.page_values import (
    Chart,
    ChartLine,
    ChartMark,
    Row,
    Said,
    Section,
    Shown,
    WeeklyPage,
)

__all__ = ["HOSTILE", "example_page", "full_page", "hostile_page", "public_page"]

START: Final = 1_784_498_400
"""Monday 2026-07-20 00:00 in Berlin."""
DAY: Final = 86_400
HOSTILE: Final = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "[pay](javascript:alert(1))",
    "\u202egnp.exe\u2066 \u200b\x1b[31m",
    "https://evil.example/x.png",
    "x" * 400,
    "]]></style><style>@import 'https://evil.example'</style>",
)
_HEALTHY: Final = ("refund", "login", "cart", "invoice", "payout", "profile", "notify", "receipt", "export")


def example_page() -> WeeklyPage:
    """Return the page of week 30: checkout broke its promise, search became slower, three promises have little news."""
    rows = (_checkout(), _search(), _settle(), *(_healthy(name, n) for n, name in enumerate(_HEALTHY[:7])), _others())
    return WeeklyPage(
        title="Payments · performance",
        week="2026-W30",
        zone="Europe/Berlin",
        start=START,
        end=START + 7 * DAY,
        as_of="2026-07-27T06:00:00Z",
        id="w30-4f1a",
        complete_to=START + 7 * DAY - 300,
        sources=(*tuple(f"prod-{n}" for n in range(7)), "prod-prometheus", "cloudwatch-eu"),
        late=("prod-prometheus", "cloudwatch-eu"),
        sentences=(
            Said(
                "13 of 14 promises were kept. Checkout's was not: 99.41 % against 99.5 %, from the incident of "
                "Tuesday; its budget is overspent (-18 %).",
                "bad",
                ("S-11800001",),
                "payments-oncall@shop.example",
                "promise not kept",
            ),
            Said(
                "Search became slower by about 6 % on Wednesday with commit 81ac0f3; it still keeps its promise.",
                "bad",
                ("R-77000001",),
                "search-team@shop.example",
                "regression",
            ),
            Said("Launch of v412: INCONCLUSIVE, 2 runs are missing (D-207).", "open", ("D-207",), "", "launch"),
        ),
        rows=rows,
        charts=(_budgets(), _p95(), _headroom()),
        sections=_sections(),
        evidence=_evidence(),
        revisions=("2026-07-20/prod-prometheus-3", "2026-07-21/prod-prometheus-2"),
    )


def public_page() -> WeeklyPage:
    """Return the example as a public page, of which everything that is internal must disappear."""
    return replace(example_page(), is_public=True)


def full_page() -> WeeklyPage:
    """Return a page with as much as one sheet of paper must hold: 12 rows of bad news, sections with many items."""
    page = example_page()
    worst = replace(_checkout(), week_on_week=_search().week_on_week, kept=_settle().kept)
    rows = tuple(replace(worst, journey=f"journey-{n}", says="") for n in range(12))
    sections = tuple(replace(one, items=one.items[:1] * 6) for one in page.sections)
    return replace(page, rows=rows, sections=sections)


def hostile_page() -> WeeklyPage:
    """Return a page with 14 rows whose texts all come from an enemy."""
    entries = tuple(
        EvidenceEntry(f"S-{n}{text}", "slices", text, text, ((text, text),), (text,), (text,), text)
        for n, text in enumerate(HOSTILE)
    )
    ids = tuple(one.id for one in entries)
    cell = Shown(HOSTILE[0], "bad", 1.0, unit=HOSTILE[1], evidence=ids)
    row = Row(*HOSTILE[:5], "bad", cell, cell, cell, cell, cell, cell, cell, cell, HOSTILE[6], HOSTILE[7])
    rows = tuple(replace(row, journey=HOSTILE[n % len(HOSTILE)], promise=HOSTILE[n % 3]) for n in range(13))
    said = tuple(Said(text, "bad", ids, text, text) for text in HOSTILE)
    line = ChartLine(HOSTILE[0], ((START, 1.0), (START + DAY, None)), marks=(ChartMark(START, HOSTILE[1]),), tone="bad")
    chart = Chart(HOSTILE[1], HOSTILE[0], HOSTILE[7], (line, replace(line, name=HOSTILE[6])), 1.0, HOSTILE[0], ids)
    return WeeklyPage(
        title=HOSTILE[1],
        week=HOSTILE[0],
        zone=HOSTILE[0],
        start=START,
        end=START + 7 * DAY,
        as_of=HOSTILE[4],
        id=HOSTILE[0],
        complete_to=0,
        sources=HOSTILE,
        late=HOSTILE,
        sentences=said[:3],
        rows=(*rows, Row("", "", "", "", "", "open", says=HOSTILE[0])),
        charts=(chart,),
        sections=tuple(Section(text, said, text) for text in HOSTILE),
        evidence=entries,
        revisions=HOSTILE,
        notes=HOSTILE,
    )


def _checkout() -> Row:
    ledger = ("S-11800001",)
    return Row(
        "checkout",
        "checkout-fast",
        "payments-oncall@shop.example",
        "99.5 % ≤ 300 ms, 4w",
        "Occurrences",
        "bad",
        Shown("no, 99.41 %", "bad", 0.9941, unit="share", count=1_004_200, evidence=ledger),
        Shown("-18 %", "bad", -0.18, unit="share", evidence=ledger),
        Shown("1.4", "bad", 1.4, evidence=ledger),
        Shown("gone", "bad", 0.0, evidence=ledger),
        Shown("+1 % (-1 to 3)", "plain", 0.01, -0.01, 0.03, "share", 40, evidence=("R-77000002",)),
        Shown("PASS", "good", evidence=("G-88",)),
        Shown("1.3 ×", "plain", 1.3, evidence=("C-12",)),
        Shown("8,100 € (5,900 to 10,400)", "plain", 8100, 5900, 10400, "€", evidence=("F-90000001",)),
        "payments",
    )


def _search() -> Row:
    ledger = ("S-11800002",)
    return Row(
        "search",
        "search-fast",
        "search-team@shop.example",
        "99 % ≤ 500 ms, 4w",
        "Occurrences",
        "open",
        Shown("yes, 99.23 %", "good", 0.9923, evidence=ledger),
        Shown("23 %", "plain", 0.23, evidence=ledger),
        Shown("0.9", "plain", 0.9, evidence=ledger),
        Shown("in 2 to 9 days", "open", 2, 2, 9, "d", evidence=ledger),
        Shown("became slower by 6 % (4 to 8 %)", "bad", 0.06, 0.04, 0.08, "share", 42, evidence=("R-77000001",)),
        Shown("FAIL", "bad", evidence=("G-91",)),
        Shown("2.1 ×", "plain", 2.1, evidence=("C-12",)),
        Shown("not measured"),
        "search",
    )


def _settle() -> Row:
    ledger = ("S-11800003",)
    return Row(
        "settle",
        "settle-available",
        "payments-oncall@shop.example",
        "99.9 % ok, calendar month",
        "Timeslices",
        "open",
        Shown("undecided, 99.87 to 99.93 %", "open", None, 0.9987, 0.9993, evidence=ledger),
        Shown("undecided", "open", evidence=ledger),
        Shown("0.4", "plain", 0.4, evidence=ledger, is_estimate=True),
        Shown("not at this rate", "good", evidence=ledger),
        Shown("we cannot tell: 3 runs would", "open", count=2, evidence=("R-77000003",)),
        says="27 minutes of prod-prometheus are missing; they would settle it.",
        team="payments",
    )


def _healthy(name: str, n: int) -> Row:
    ledger = (f"S-1180001{n}",)
    return Row(
        name,
        f"{name}-fast",
        f"{'shop' if n % 2 else 'core'}-team@shop.example",
        "99.5 % ≤ 300 ms, 4w",
        "Occurrences",
        "good",
        Shown(f"yes, 99.{70 + n} %", "good", 0.997 + n / 1000, evidence=ledger),
        Shown(f"{40 + 5 * n} %", "plain", 0.4 + n / 20, evidence=ledger),
        Shown(f"0.{6 - n // 2}", "plain", 0.6, evidence=ledger),
        Shown("not at this rate", "good", evidence=ledger),
        Shown("did not change by more than 2 %", "good", 0.0, -0.02, 0.02, "share", evidence=(f"R-7700001{n}",)),
        Shown("PASS", "good", evidence=(f"G-{n + 70}",)),
        Shown("1.8 ×", "plain", 1.8, evidence=("C-12",)),
        Shown("nothing", "good", 0.0, evidence=("F-90000001",)),
        "shop",
    )


def _others() -> Row:
    return Row(
        "", "", "", "", "", "good", says="4 more promises were kept, each with more than half of its budget left."
    )


def _budgets() -> Chart:
    times = [START - 28 * DAY + n * DAY for n in range(36)]

    def line(name: str, end: float, tone: str = "plain", drop: int = 0) -> ChartLine:
        falls = [100 - (100 - end) * n / 35 - (0 if n < 29 or not drop else drop) for n in range(36)]
        points = tuple(
            (at, None if name == "settle" and 12 < n < 15 else round(value + 2 * sin(n + end), 2))
            for n, (at, value) in enumerate(zip(times, falls, strict=True))
        )
        return ChartLine(name, points, tone=tone)  # type: ignore[arg-type]

    healthy = (line(name, 40 + 5 * n) for n, name in enumerate(_HEALTHY))
    lines = (line("checkout", 32, "bad", 50), line("search", 23, "open"), line("settle", 61, "open"), *healthy)
    return Chart(
        "Error budget left, 28 days",
        "%",
        "Checkout's budget fell by 50 points on Tuesday and is overspent. Search's will be gone in 2 to 9 days. The "
        "other budgets last.",
        lines,
        0.0,
        "all spent",
        ("S-11800001", "S-11800002"),
    )


def _p95() -> Chart:
    weeks = [START - (12 - n) * 7 * DAY for n in range(13)]

    def line(name: str, base: float, since: int, marks: tuple[ChartMark, ...] = (), tone: str = "plain") -> ChartLine:
        values = [base * (1.06 if n >= since else 1) + 2 * sin(1.7 * n) for n in range(13)]
        points = tuple(
            (at, None if n == 5 else round(value, 1)) for n, (at, value) in enumerate(zip(weeks, values, strict=True))
        )
        band = [(value - 6, value + 6) for value in values]
        return ChartLine(
            name,
            points,
            tuple(low for low, _ in band),
            tuple(high for _, high in band),
            marks,
            tone,  # type: ignore[arg-type]
        )

    return Chart(
        "p95 of runs, 13 weeks",
        "ms",
        "Search became slower by 6 % (4 to 8 %) in week 30 with commit 81ac0f3. Checkout did not change by more than "
        "2 %. Week 23 has no runs.",
        (
            line("search", 214, 11, (ChartMark(weeks[11], "81ac0f3 +6 %"),), "bad"),
            line("checkout", 181, 99, (ChartMark(weeks[4], "pinned v398"),)),
        ),
        evidence=("R-77000001", "R-77000002"),
    )


def _headroom() -> Chart:
    weeks = [START + n * 7 * DAY for n in range(13)]
    need = [910 + 24 * n for n in range(13)]
    line = ChartLine(
        "forecast",
        tuple((at, float(value)) for at, value in zip(weeks, need, strict=True)),
        tuple(value - 20.0 - 4 * n for n, value in enumerate(need)),
        tuple(value + 20.0 + 6 * n for n, value in enumerate(need)),
    )
    return Chart(
        "Peak of checkout against capacity",
        "requests/s",
        "The forecast peak reaches the capacity of 1,180 requests/s between weeks 38 and 43.",
        (line,),
        1180.0,
        "capacity",
        ("C-12",),
    )


def _sections() -> tuple[Section, ...]:
    return (
        Section(
            "What changed",
            (
                Said("Search became slower by 6 % (4 to 8 %) with commit 81ac0f3.", "bad", ("R-77000001",)),
                Said("Refund did not change by more than 2 %.", "plain", ("R-77000010",)),
            ),
        ),
        Section(
            "What is open",
            (
                Said(
                    "The regression of search is 4 days old; it costs 310 € a week (180 to 450).",
                    "bad",
                    ("G-91",),
                    "search-team@shop.example",
                ),
                Said("Settle lacks 27 minutes of counts.", "open", ("S-11800003",), "payments-oncall@shop.example"),
            ),
        ),
        Section(
            "Anomalies",
            (
                Said(
                    "Checkout had fewer requests than usual on 21 July from 14:00 to 16:00: new.",
                    "open",
                    ("A-50000001",),
                ),
            ),
        ),
        Section(
            "Recommendations and overrides in force",
            (Said("D-207: launch of v412 is INCONCLUSIVE; two runs of 10 minutes are missing.", "open", ("D-207",)),),
            "None.",
        ),
        Section(
            "Coverage",
            (Said("Covered: 71 % of requests, 88 % of value. Largest gap: refund (9 %).", "plain", ("F-90000002",)),),
        ),
        Section(
            "How sure we are",
            (Said("The gate is healthy: 1 of 24 A/A controls failed (0.1 to 21 %).", "good", ("H-60000001",)),),
        ),
    )


def _evidence() -> tuple[EvidenceEntry, ...]:
    says: Mapping[str, str] = {
        "S-11800001": "994,100 of 1,000,000 requests to checkout were good",
        "S-11800002": "99.23 % of requests to search were good",
        "S-11800003": "settle: 8,025 of 8,064 slices have counts",
        "R-77000001": "p95 of search: +6 % (4 to 8 %) in 42 runs",
        "R-77000002": "p95 of checkout: +1 % (-1 to 3 %) in 40 runs",
        "R-77000003": "p95 of settle: 2 runs are too few",
        "F-90000001": "what failures cost, from programme.toml",
        "F-90000002": "coverage by requests and by value",
        "A-50000001": "a remainder of 7.1 robust standard deviations",
        "H-60000001": "1 of 24 A/A controls failed",
        "G-88": "the gate passed for checkout of v412",
        "G-91": "the gate failed for search at 81ac0f3",
        "C-12": "checkout carries 1,180 requests/s (1,120 to 1,240)",
        "D-207": "INCONCLUSIVE for v412",
    }
    more = {f"S-1180001{n}": f"the requests of {name}" for n, name in enumerate(_HEALTHY[:7])}
    more |= {f"R-7700001{n}": f"p95 of {name}, week on week" for n, name in enumerate(_HEALTHY[:7])}
    more |= {f"G-{n + 70}": f"the gate passed for {name}" for n, name in enumerate(_HEALTHY[:7])}
    kinds = {
        "S": "slices",
        "R": "runs",
        "G": "gate",
        "D": "recommendation",
        "C": "study",
        "H": "controls",
        "A": "anomaly",
    }
    return tuple(
        EvidenceEntry(
            id_,
            kinds.get(id_[0], "facts"),  # type: ignore[arg-type]
            text,
            "good / total = 994100 / 1000000 = 99.41 %, rounded down" if id_ == "S-11800001" else "",
            (
                ("query", 'http_requests_total{route="/checkout",code!~"5.."}'),
                ("good", "994,100"),
                ("total", "1,000,000"),
            )
            if id_[0] == "S"
            else (),
            ("2026-07-20/prod-prometheus-3",) if id_[0] == "S" else (),
            ("r-2026-07-22-01", "r-2026-07-23-01") if id_[0] == "R" else (),
        )
        for id_, text in {**says, **more}.items()
    )
