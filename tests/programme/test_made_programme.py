"""The made programme agrees with itself: its recommendations rest on verdicts that its history has."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadgen.history.gate.verdict_numbers import numbered_verdicts
from loadgen.history.store.store import Store
from loadgen.programme.recommending.record import RECOMMENDED, document_of
from loadgen_controller import cli
from tests.support.made_programme import MadeProgramme

_LEDGER_PAGE = Path(__file__).parents[2] / "docs" / "ledger.md"


def test_each_recommendation_quotes_a_verdict_of_the_history_that_has_its_state(made: MadeProgramme) -> None:
    store = Store.open(str(made.store))
    verdicts = dict(numbered_verdicts(store))
    rows = [row for event in store.events(RECOMMENDED) for row in document_of(event)["evidence"]]

    assert [(row["id"], row["state"], verdicts[row["id"]].details["outcome"]) for row in rows] == [
        ("G-7", "no-go", "FAIL"),
        ("G-14", "open", "FAIL"),
    ]
    assert rows[0]["says"] == f"FAIL: {verdicts['G-7'].details['reasons']}"


def test_the_example_of_the_page_about_the_ledger_is_what_the_command_prints(
    made: MadeProgramme, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = _LEDGER_PAGE.read_text(encoding="utf-8").split("## Status")[1].split("```console\n")[1].split("```")[0]
    command, *lines = block.strip().splitlines()
    monkeypatch.chdir(made.folder)

    done = CliRunner().invoke(cli.app, command.removeprefix("$ loadgen ").split(), env={"COLUMNS": "400"})

    assert len(lines) == 3
    for line in lines:
        assert line.removesuffix("...") in done.stdout
