"""A whole report on a terminal of 80 columns."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from loadgen.report.report_parts import Table
from loadgen.report.report_tables import final_report
from loadgen.report.summary_reader import read
from loadgen_controller.screen.terminal_report import print_report, split_to_width
from tests.report.test_tables import CI, report, series, summary, with_ci


def drawn(**changes: Any) -> list[str]:
    out = StringIO()
    print_report(Console(width=80, file=out, force_terminal=False), report(**changes))
    return out.getvalue().splitlines()


def wide() -> dict[str, Any]:
    """Long names, large numbers, every table."""
    large = {"p50": 12_345.0, "p90": 23_456.0, "p95": 34_567.0, "p99": 45_678.0, "p99.9": 56_789.0, "max": "> 60000.0"}
    ends = CI | {"p50": [12_000.0, 12_900.0], "p95": [34_000.0, 35_100.0], "p99": [44_000.5, 47_000.0]}
    name = "GET /api/v1/customers/{id}/orders/{order}/positions"
    windowed = {"window_s": 60.0, "windows": 541, "windows_failed": 31, "worst_window_s": 412.0, "budget": 2.4}
    return {
        "series": [
            with_ci(response_ms=large, response_ci_ms=ends, count=12_345_678, censored=1_234),
            with_ci("request", "login", name, response_ms=large, response_ci_ms=ends),
            series("request", "login", name, outcome="fail: import failed after three tries of an hour", count=9),
        ],
        "slos": [
            {
                "objective": 'p(99.9, window="1m", journey="checkout") < 1500ms',
                "verdict": "inconclusive",
                "observed": 0.1234,
                "unit": "ratio",
                "count": 12_345_678,
            }
            | windowed,
            summary()["slos"][0] | {"observed": 34_567.0, "low": 34_000.0, "high": 35_100.0, "count": 12_345_678},
        ],
        "tagged": [series("request", "login", name, tags={"x-cache": "Hit from cloudfront, stale while revalidated"})],
        "loads": [{"load": "spike after two minutes", "series": [series("journey", None, None)]}],
        "custom": [
            {
                "name": "check: " + "the cart holds what was put in",
                "kind": "rate",
                "n": 2_000,
                "hits": 1,
                "ratio": 5e-4,
            },
            {"name": "basket", "kind": "trend", "unit": "EUR", "n": 9_999, "values": large | {"max": 1.0}},
            {
                "name": "stock of all goods",
                "kind": "gauge",
                "unit": "items",
                "n": 3,
                "low": 1e5,
                "high": 1e6,
                "last": 7,
            },
        ],
        "warmup": {"cut_s": 30.0, "how": "found", "why": "until 30.0 s response times were 12 % longer (MSER-5)"},
    }


def test_no_line_of_a_report_is_longer_than_80_columns() -> None:
    lines = [line.rstrip() for line in drawn(**wide())]
    assert max(map(len, lines)) <= 80


def test_no_figure_of_a_report_is_shortened() -> None:
    text = "\n".join(drawn(**wide()))
    for figure in (
        "12,345,678",
        "34,000 to 35,100 ms",
        "34,000 to 35,100 ",
        "44,000 to 47,000",
        "> 60,000",
        "12.3 %",
        "240 %",
    ):
        assert figure in text


def test_a_command_below_the_report_is_not_broken_so_that_it_can_be_copied() -> None:
    folder = Path("runs") / ("20261124-170312-checkout-of-all-shops-in-europe-" + "x" * 40)
    out = StringIO()
    made = read(summary(requests={"started": 5, "finished": 5, "errors": 5}))
    print_report(Console(width=80, file=out, force_terminal=False), final_report(made, folder))
    assert f"loadgen failures {folder}" in out.getvalue()


def test_each_note_of_a_table_has_its_own_line() -> None:
    unsure = {"verdict": "passed", "observed": 20.0, "unit": "ms", "count": 300, "sure": False}
    shares = {"bad_share_low": 0.0, "bad_share_high": 0.06, "allowed": 0.05, "budget": 0.0}
    slos = [{"objective": f"p({q}) < 300ms"} | unsure | shares for q in (90, 95)]
    shown = drawn(slos=slos)
    assert len([line for line in shown if "not sure;" in line]) == 2
    assert not any("\\n" in line for line in shown)


def test_a_table_that_is_too_wide_is_split_into_tables_with_the_first_column() -> None:
    table = Table("", ("journey", "kept", "burn", "at stake"), (("checkout", "yes, " + "9" * 30, "4.1", "x" * 20),), 4)

    whole, narrow = (split_to_width(table, width, cut=1, least=20) for width in (80, 40))

    assert whole == (table,)
    assert [one.columns for one in narrow] == [("journey", "kept", "burn"), ("journey", "at stake")]
    assert [row[0] for one in narrow for row in one.rows] == ["checkout", "checkout"]
