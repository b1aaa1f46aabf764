"""What is shown of a sweep: terminal, page, JSON and CSV, and nothing in them from a hostile name or level."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from loadgen.analysis.factors.design import fraction, full
from loadgen.analysis.factors.factor import Factor
from loadgen.studies.files import as_csv, as_json
from loadgen.studies.page import as_page
from loadgen.studies.report import as_report
from loadgen.studies.study import Study
from loadgen.sweep.drawings.effect_plot import EffectRow, effect_plot
from loadgen.sweep.drawings.heat_table import HeatCell, heat_table, shade_of
from loadgen.sweep.drawings.line_plot import LevelLine, LinePoint, line_plot
from loadgen.sweep.files import FILES, write_results
from loadgen.sweep.journal import open_journal
from loadgen.sweep.open_sweep import open_sweep
from loadgen.sweep.plan import write_plan
from loadgen.sweep.responses import Response
from loadgen.sweep.result import SweepResult, result_of
from loadgen.sweep.shown.facts import cell_rows, run_rows, term_rows
from loadgen.sweep.study import study_of
from loadgen.sweep.texts import change_text, interval_text, value_text
from loadgen_controller.screen.terminal_report import print_report
from tests.support.simulated_sweep import PAYOUT, SETTLE, THREE_MORE, Law, plan_of, records_of, spoiled, two_pools

HOSTILE = (
    '<img src=x onerror="alert(1)">',
    "\x1b[2J\x1b]0;owned\x07",
    "=cmd|'/c calc'!A0",
    "::error::forged",
    "a\u202eb\nc",
)


@pytest.fixture(scope="module")
def story() -> SweepResult:
    plan = plan_of()
    return result_of(plan, records_of(plan, Law(two_pools)))


def printed(study: Study, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    print_report(console, as_report(study))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 200])
def test_all_figures_of_two_and_of_five_factors_fit_on_80_and_200_columns(story: SweepResult, width: int) -> None:
    plan = plan_of(fraction((SETTLE, PAYOUT, *THREE_MORE), 5), repeats=2, control_every=8)
    for result in (story, result_of(plan, records_of(plan, Law(two_pools)))):
        study = study_of(result)
        text = printed(study, width)

        assert "…" not in text
        assert not any(len(line) > width for line in text.splitlines() if not line.startswith("    "))
        for table in study.tables:
            assert all(cell in text for row in table.rows for cell in row[1:])


def test_texts_of_values_and_changes_have_their_unit_and_one_number_of_decimals() -> None:
    p99, errors, rate = Response("p99"), Response("error_ratio"), Response("throughput")

    assert change_text(412.4, 360.2, 470.1, p99) == "+412 ms (360 to 470)"
    assert change_text(-1.04, -9.3, 7.2, p99) == "-1.0 ms (-9.3 to 7.2)"
    assert change_text(0.004, -0.002, 0.01, errors) == "+0.40 percentage points (-0.20 to 1.00)"
    assert change_text(0.0, -0.0, 0.0, errors) == "0.00 percentage points (0.00 to 0.00)"
    assert change_text(-20.0, -25.0, -15.0, rate) == "-20.0/s (-25.0/s to -15.0/s)"
    assert change_text(5.0, None, None, p99) == "+5.0 ms"
    assert value_text(None, p99) == "-"
    assert interval_text(0.0001, 0.02, errors) == "0.010 % to 2.00 %"


def test_the_page_loads_nothing_and_shows_cells_lines_and_effects(story: SweepResult) -> None:
    page = as_page(study_of(story)).decode()

    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert " style=" not in page
    assert page.count('<svg class="xy') == 2
    assert '<table class="heat">' in page
    assert page.count('class="h5"') == 1
    assert "3 runs" in page


def test_each_drawing_has_a_text_for_people_who_do_not_see_it(story: SweepResult) -> None:
    texts = [drawing.text for drawing in study_of(story).drawings]

    assert len(texts) == 3
    assert "The largest p99 is at settle 8, payout 8" in texts[0]
    assert "payout 8: " in texts[1]
    assert "Full dots are found (1 of 3)" in texts[2]


def test_hostile_names_and_levels_are_harmless_everywhere(tmp_path: Path) -> None:
    factors = tuple(Factor(f"f{n}{text}", (f"{text}low", f"{text}high")) for n, text in enumerate(HOSTILE[:3]))
    plan = plan_of(full(factors), repeats=2)
    records = records_of(plan, Law(lambda levels: 400.0 if all("high" in one for one in levels.values()) else 200.0))
    records[3] = spoiled(records[3], f"{HOSTILE[1]} {HOSTILE[3]} {HOSTILE[4]}")
    result = result_of(plan, records)
    study = study_of(result, tmp_path)

    text, page, table = printed(study, 80), as_page(study).decode(), as_csv(study).decode()
    for shown in (text, page, as_json(study).decode(), table):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "\x07" not in shown
    assert "<img" not in page
    assert not any(line.lstrip().startswith("::error") for line in text.splitlines())
    cells = [cell for row in csv.reader(io.StringIO(table)) for cell in row]
    assert not any(cell.startswith(("=", "@", "\t")) for cell in cells)


def test_json_is_strict_and_has_the_same_figures_as_the_tables(story: SweepResult) -> None:
    document = json.loads(as_json(study_of(story)), parse_constant=pytest.fail)

    facts = document["facts"]["responses"]["p99"]
    assert facts["terms"][0]["term"] == "settle × payout"
    assert sorted(facts["findings"][0]["explains"]) == ["payout", "settle"]
    assert document["facts"]["cells"][3]["settle"] == "8"
    assert len(document["rows"]) == 12
    assert document["kind"] == "sweep"


def test_rows_keep_factors_that_are_named_like_a_column() -> None:
    plan = plan_of((Factor("cell", ("0", "1")), Factor("p99", ("a", "b"))))
    rows = [*run_rows(result_of(plan, records_of(plan, Law(lambda levels: 200.0))))]

    assert rows[0]["cell (factor)"] in ("0", "1")
    assert rows[0]["p99 (factor)"] in ("a", "b")
    assert isinstance(rows[0]["p99"], float)


def test_rows_of_cells_and_terms_have_intervals_and_ranks(story: SweepResult) -> None:
    cells, terms = [*cell_rows(story)], [*term_rows(story)]

    assert [one["runs"] for one in cells] == [3, 3, 3, 3]
    for one in cells:
        low, value, high = one["p99 low"], one["p99"], one["p99 high"]
        assert isinstance(low, float)
        assert isinstance(value, float)
        assert isinstance(high, float)
        assert low < value < high
    assert [one["rank"] for one in terms if one["response"] == "p99"] == [1, 2, 3]
    assert terms[0]["term"] == "settle × payout"


def test_open_sweep_gives_frames_of_a_folder_and_its_files_can_be_written_again(
    tmp_path: Path, story: SweepResult
) -> None:
    write_plan(tmp_path, story.plan)
    with open_journal(tmp_path) as journal:
        for record in story.runs:
            journal.append(record)
    write_results(tmp_path, story, study_of(story, tmp_path))

    sweep = open_sweep(tmp_path)

    assert sweep.headline == study_of(story).headline
    assert set(sweep.runs["settle"]) == {"0", "8"}
    assert len(sweep.cells) == 4
    assert sweep.terms.iloc[0]["term"] == "settle × payout"
    assert sweep.facts["responses"]["p99"]["findings"]
    assert repr(sweep) == "<Sweep 20261129-143000-shop-a1b2: 12 of 12 runs>"
    assert {name for name in FILES if (tmp_path / name).stat().st_size > 100} == set(FILES)


def test_shades_follow_the_value_and_noise_has_one_shade() -> None:
    assert [shade_of(value, 100, 1_000) for value in (100, 200, 500, 1_000)] == [0, 1, 4, 5]
    assert shade_of(108, 100, 108) == 1
    assert shade_of(105, 100, 105) == 0
    assert shade_of(0.3, 0.0, 0.3) == 5
    assert shade_of(0.0, 0.0, 0.0) == 0


def test_a_heat_table_shows_cells_that_were_not_run_and_at_most_8_columns() -> None:
    factors = [(f"f{n}", ("0", "1")) for n in range(6)]
    drawn = heat_table(factors, [HeatCell(("0",) * 6, ("12 ms", "3 runs"), 12.0)])

    assert drawn.count("<tr>") == 1 + 8
    assert drawn.count("not run") == 63
    assert heat_table([], []).count("not run") == 1


def test_drawings_of_nothing_are_empty() -> None:
    assert line_plot("t", "x", ("a",), "y", [LevelLine("one", (None,))]) == ""
    assert effect_plot("t", [], is_log=True) == ""
    assert effect_plot("t", [EffectRow("a", float("nan"), None, None, "", False)], is_log=True) == ""


def test_drawings_show_values_of_one_size_and_share_of_errors() -> None:
    flat = line_plot("t", "x", ("a", "b"), "y", [LevelLine("one", (LinePoint(5, 5, 5, ""), None))])
    shares = effect_plot("t", [EffectRow("a", -0.2, -0.3, -0.1, "", True)], is_log=False)
    huge = effect_plot("t", [EffectRow("a", 9.0, -8.0, 12.0, "", True)], is_log=True)

    assert 'd="M' in flat
    assert "percentage points" in shares
    assert "circle" in huge
