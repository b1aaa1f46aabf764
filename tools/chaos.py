"""Run the tests of the fault matrix and print each fault with its expected and its observed effect: `make chaos`.

    make chaos                      all rows; the soak for two minutes
    make chaos ARGS=--quick         only tests that are also in `make test`
    make chaos ARGS="F5 F12"        only these rows
    make chaos ARGS=--soak          only the soak, its full 30 minutes
    make chaos ARGS="--seed 7 F12"  repeat a row with its seed

A row's tests have the marker `@pytest.mark.fault("F5", "which case")`, or the row in their name
(`test_f15_a_revoked_key_...`). In the second case the name describes the observed effect.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from rich.console import Console
from rich.table import Table

from tests.chaos.matrix import MATRIX

ROOT = Path(__file__).resolve().parent.parent
ROWS: Final = {fault.row for fault in MATRIX}
_IN_NAME: Final = re.compile(r"_f(\d+)(?=_)")
_WORST: Final = ("not run", "ok", "skipped", "FAILED")


@dataclass(slots=True)
class Case:
    """A test of a row. A test with several parameters is one case, unless a marker describes each of them."""

    row: str
    what: str
    seen: str = ""
    result: str = "not run"
    seed: str = ""
    duration_s: float = 0.0

    def note(self, result: str) -> None:
        self.result = max(self.result, result, key=_WORST.index)


class Collector:
    """A pytest plugin that selects the tests of some rows and stores the result of each."""

    def __init__(self, rows: frozenset[str], is_quick: bool) -> None:
        self._rows, self._is_quick = rows or frozenset(ROWS), is_quick
        self._cases: dict[str, list[Case]] = {}
        self._named: dict[str, Case] = {}

    @property
    def cases(self) -> Iterator[Case]:
        seen: set[int] = set()
        for cases in self._cases.values():
            for case in cases:
                if id(case) not in seen:
                    seen.add(id(case))
                    yield case

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        kept: list[pytest.Item] = []
        dropped: list[pytest.Item] = []
        for item in items:
            is_late = self._is_quick and item.get_closest_marker("slow") is not None
            if cases := [] if is_late else list(self._cases_of(item)):
                self._cases[item.nodeid] = cases
            (kept if cases else dropped).append(item)
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept

    def _cases_of(self, item: pytest.Item) -> Iterator[Case]:
        marks = [mark.args for mark in item.iter_markers("fault")]
        for row, *what in marks:
            if row in self._rows:
                yield Case(row, " ".join(what))
        if marks:
            return
        name = item.name.partition("[")[0]
        for number in _IN_NAME.findall(name):
            if (row := f"F{number}") in self._rows:
                words = _IN_NAME.sub("", name.removeprefix("test")).replace("_", " ").strip()
                yield self._named.setdefault(f"{row} {name}", Case(row, "", words))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for case in self._cases.get(report.nodeid, ()):
            case.duration_s += report.duration
            properties = dict(report.user_properties)
            case.seed, case.seen = str(properties.get("seed", "")), str(properties.get("seen", case.seen))
            if report.skipped:
                where = report.longrepr
                reason = str(where[2]) if isinstance(where, tuple) else str(where)
                case.note("skipped")
                case.seen = reason.removeprefix("Skipped: ")
            elif report.failed:
                case.note("FAILED")
            elif report.when == "call":
                case.note("ok")


def main() -> int:
    """Run the tests, print the table, and return the exit code of pytest: 0 only if nothing failed."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("rows", nargs="*", metavar="ROW", help="F1 to F36, G9, G10; default: all rows")
    parser.add_argument("--quick", action="store_true", help="only tests that are also in `make test`")
    parser.add_argument("--soak", action="store_true", help="only the soak, for 30 minutes")
    parser.add_argument("--seed", help="seed of the random faults; default: a new one for each run")
    options = parser.parse_args()
    if unknown := set(options.rows) - ROWS:
        parser.error(f"unknown row: {', '.join(sorted(unknown))}; use F1 to F36, G9 or G10")
    if options.seed:
        os.environ["LOADGEN_CHAOS_SEED"] = options.seed
    os.environ.setdefault("LOADGEN_SOAK_S", "1800" if options.soak else "120")
    rows = frozenset(["F33"] if options.soak else options.rows)
    collector = Collector(rows, options.quick)
    code = pytest.main(["--timeout=7200", "-p", "no:cacheprovider", str(ROOT / "tests")], [collector])
    _print(collector.cases, rows)
    return int(code)


def _print(cases: Iterable[Case], rows: frozenset[str]) -> None:
    table = Table(show_lines=True, title="The fault matrix")
    for name in ("row", "fault", "expected", "seen", "result", "seed"):
        table.add_column(name, overflow="fold")
    by_row: dict[str, list[Case]] = {}
    for case in cases:
        by_row.setdefault(case.row, []).append(case)
    for fault in MATRIX:
        if rows and fault.row not in rows:
            continue
        for case in by_row.get(fault.row, [Case(fault.row, "", result="not yet")]):
            what = f"{fault.what}: {case.what}" if case.what else fault.what
            took = f" ({case.duration_s:.0f} s)" if case.duration_s else ""
            table.add_row(fault.row, what, fault.expected, case.seen, case.result + took, case.seed)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    sys.exit(main())
