"""Tables of probes: what is not there yet, a short baseline, and more rows than a terminal can show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from loadgen.report.probe_tables import probe_tables
from loadgen.report.report_parts import Table
from loadgen.report.summary_reader import ProbeFigures, ProbeRow, Summary


def tables_of(**figures: Any) -> list[Table]:
    probe = ProbeFigures(name="p", **figures)
    return list(probe_tables(cast(Summary, SimpleNamespace(probes=(probe,)))))


def rows(count: int) -> tuple[ProbeRow, ...]:
    return tuple(ProbeRow(key=str(n), title=f"row {n}", kind="gauge", mean=1.0) for n in range(count))


def test_a_probe_beside_its_server_says_how_to_add_it() -> None:
    *_, last = tables_of(kind="postgres", at="apart")

    assert last.rows == (("samples", "not added yet"),)
    assert last.note.endswith("loadgen probe add RUN FILE.")


def test_a_short_baseline_is_told_where_one_is_used() -> None:
    short, long, page = (
        tables_of(samples=9, rows=rows(1), kind=kind, baseline_s=length)[0]
        for kind, length in (("postgres", 2.5), ("postgres", 60.0), ("metrics", 2.5))
    )

    assert "Its baseline is short: 2.5 s before the load." in short.note
    assert long.note == page.note == ""


def test_a_terminal_gets_no_more_than_40_rows() -> None:
    table, *_ = tables_of(samples=9, rows=rows(50), kind="prometheus")

    assert len(table.rows) == 40
    assert "10 more rows are in the notebook: run.probes()." in table.note
