"""`make chaos`: the fault matrix, each fault with what was expected and what was seen.

make chaos                      all rows; the soak for two minutes
make chaos ARGS=--quick         only those that `make test` has too
make chaos ARGS="F5 F12"        only these rows
make chaos ARGS=--soak          only the soak, its full 30 minutes
make chaos ARGS="--seed 7 F12"  again with the seed of a row
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from tests.chaos.matrix import MATRIX

ROOT = Path(__file__).resolve().parent.parent


@dataclass(slots=True)
class Case:
    """One test of a row."""

    row: str
    what: str
    result: str = "not run"
    seen: str = ""
    seed: str = ""
    duration_s: float = 0.0


class Collector:
    """A plugin of pytest: keeps the tests of these rows, and what became of each."""

    def __init__(self, rows: frozenset[str]) -> None:
        self._rows = rows
        self.cases: dict[str, Case] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        kept: list[pytest.Item] = []
        dropped: list[pytest.Item] = []
        for item in items:
            marks = [mark.args for mark in item.iter_markers("fault") if not self._rows or mark.args[0] in self._rows]
            (kept if marks else dropped).append(item)
            for row, *what in marks:
                self.cases[f"{row} {item.nodeid}"] = Case(row, " ".join(what))
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for key, case in self.cases.items():
            if key.partition(" ")[2] != report.nodeid:
                continue
            case.duration_s += report.duration
            said = dict(report.user_properties)
            case.seed, case.seen = str(said.get("seed", "")), str(said.get("seen", ""))
            if report.skipped:
                where = report.longrepr
                reason = str(where[2]) if isinstance(where, tuple) else str(where)
                case.result, case.seen = "skipped", reason.removeprefix("Skipped: ")
            elif report.failed:
                case.result = "FAILED"
            elif report.when == "call":
                case.result = "ok"


def main() -> int:
    """The exit code of pytest, which is that of the table: 0 only when nothing has failed."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__, add_help=True)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="F1 to F33; all of them without")
    parser.add_argument("--quick", action="store_true", help="only what `make test` has too")
    parser.add_argument("--soak", action="store_true", help="only the soak, for 30 minutes")
    parser.add_argument("--seed", help="instead of another one each time")
    options = parser.parse_args()
    if unknown := set(options.rows) - {fault.row for fault in MATRIX}:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    if options.seed:
        os.environ["LOADGEN_CHAOS_SEED"] = options.seed
    os.environ.setdefault("LOADGEN_SOAK_S", "1800" if options.soak else "120")
    rows = frozenset(["F33"] if options.soak else options.rows)
    collector = Collector(rows)
    marked = "fault and not slow" if options.quick else "fault"
    code = pytest.main(["-m", marked, "--timeout=3600", "-p", "no:cacheprovider", str(ROOT / "tests")], [collector])
    _print(collector.cases.values(), rows)
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
        for case in by_row.get(fault.row, [Case(fault.row, "", "not yet")]):
            what = f"{fault.what}: {case.what}" if case.what else fault.what
            took = f" ({case.duration_s:.0f} s)" if case.duration_s else ""
            table.add_row(fault.row, what, fault.expected, case.seen, case.result + took, case.seed)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    sys.exit(main())
