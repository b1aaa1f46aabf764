"""Tables about databases in a terminal of 80 columns and in Markdown, and their sentences."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from loadgen.probes.shown.database_facts import DatabaseFacts
from loadgen.report.report_parts import Table
from loadgen.report.target_side.database_tables import database_tables, page_databases
from loadgen.report.target_side.metrics_file import read_databases
from loadgen_controller.screen.terminal_report import print_table
from tests.support.made_databases import FACTS, UPDATE


def tables(one: DatabaseFacts = FACTS) -> dict[str, Table]:
    return {table.title.partition(": ")[2].partition(" at ")[0]: table for table in database_tables([one])}


def test_statements_add_up_and_say_what_is_unknown() -> None:
    table = tables()["statements by added time"]

    assert table.rows == (
        (f"1. {UPDATE}", "1,496", "50.5", "75.6", "93 %"),
        ("2. statement -7, text unknown", "10", "0.2", "-0.002", "-0.1 %"),
        ("all others", "400", "-", "0.5", "7.1 %"),
    )
    assert table.note.splitlines() == [
        "Added: execution time during the load, minus that of the 10 s before it at the same rate.",
        "The server forgot 3 statements: their time is unknown.",
        "The probe's own statements took 38 ms. They are not in the table.",
        "1, plan of its search: full scan of 100,000 rows.",
        "2: no plan, because permission denied.",
    ]


def test_a_lock_chain_has_its_root_first_with_the_statement_before() -> None:
    assert [row[0] for row in tables()["lock chain"].rows] == [
        "settle (11), idle in transaction for 0.4 s",
        f"| before: {UPDATE}",
        "| last: SELECT ?",
        "| holds: ledger (RowExclusiveLock)",
        "  payout (12), active, for ledger",
        f"  | {UPDATE}",
        "    web (13), active, in a deadlock, for ledger",
    ]
    assert [row[1] for row in tables()["lock chain"].rows] == ["-", "", "", "", "0.374", "", "0.3"]


def test_deadlocks_are_named_and_counted() -> None:
    assert tables()["deadlocks"].rows == (
        ("counted by the server", "2"),
        ("seen at 20 s", f"settle (11) and payout (12): {UPDATE}"),
    )


def test_active_sessions_have_their_share_and_both_means() -> None:
    table = tables()["active sessions by wait event"]

    assert table.rows == (("Lock:transactionid", "1", "80 %"), ("no wait: on a CPU, or ready to run", "0.25", "20 %"))
    assert table.note == "Mean of 60 samples: 1.25; by the execution time of statements: 1.3."


def test_without_findings_there_is_no_table() -> None:
    assert list(database_tables([DatabaseFacts("shopdb")])) == []
    assert list(database_tables([])) == []


@pytest.mark.parametrize("width", [80, 200])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(width: int) -> None:
    console = Console(width=width, record=True)
    with console.capture() as captured:
        for table in database_tables([FACTS]):
            print_table(console, table)

    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= width
    for figure in ("1,496", "50.5", "75.6", "93 %", "0.414", "0.374"):
        assert any(line.rstrip().endswith(figure) or f" {figure} " in line for line in lines), figure


def test_the_page_has_the_facts_and_the_sentences() -> None:
    (made,) = page_databases([FACTS])

    assert made["probe"] == "shopdb"
    assert "The server forgot 3 statements: their time is unknown." in made["notes"]  # type: ignore[operator]
    assert made["sessions_note"] == "Mean of 60 samples: 1.25; by the execution time of statements: 1.3."


def test_facts_are_the_same_after_writing_and_reading_the_file(tmp_path: Path) -> None:
    document = {"format": 1, "metrics": [], "databases": [msgspec.to_builtins(FACTS)]}
    (tmp_path / "metrics.json").write_bytes(msgspec.json.encode(document))

    assert read_databases(tmp_path) == (FACTS,)


@pytest.mark.parametrize("text", ["{", "[]", '{"databases": [{"probe": 1}]}', '{"format": 1, "metrics": []}'])
def test_a_file_without_facts_gives_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.json").write_text(text)

    assert read_databases(tmp_path) == ()
    assert read_databases(tmp_path / "missing") == ()
