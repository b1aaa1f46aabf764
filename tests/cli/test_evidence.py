"""`loadgen evidence`: what it shows, its exit codes, and the walk over a page."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen.errors import ExitCode
from loadgen.history.store.write_once_storage import place_of
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.programme.evidence.weeks import record_week
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice
from loadgen_controller import cli
from tests.support.made_evidence import WEEK, Made, made_history


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_history(tmp_path_factory.mktemp("made"), has_runs=False)


@pytest.fixture
def made(template: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A history of its own, in `history` of the working folder."""
    shutil.copytree(template.folder, tmp_path / "own")
    monkeypatch.chdir(tmp_path / "own")
    monkeypatch.delenv("LOADGEN_STORE", raising=False)
    return replace(template, folder=tmp_path / "own")


def evidence(*args: str, columns: int = 160) -> Result:
    result = CliRunner().invoke(cli.app, ["evidence", *args], env={"COLUMNS": str(columns)})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_it_shows_inputs_formula_query_revisions_and_that_it_comes_out_again(made: Made) -> None:
    found = evidence(made.checkout.id.lower(), "--explain")
    text = " ".join(found.stdout.split())

    assert found.exit_code == ExitCode.PASSED, found.output
    assert found.stdout.startswith(f"{made.checkout.id}: checkout-fast: not kept: 97.0 % against 99 %")
    assert "attainment = good / total = 267720 / 276000 requests = 97.0 %" in text
    assert "query shop_bucket" in text
    assert f"revisions prod-1 of {made.checkout.revisions[0][:10]}" in text
    assert "recorded page w30-4f1a of 2026-W30" in text
    assert "computed again the same: the ledger as of" in text
    assert "gives the same 267,720 of 276,000" in text
    assert "more loadgen slo status --explain" in text
    assert "not an average of percentiles" in text


def test_a_command_that_reads_run_folders_says_that_they_may_be_gone(made: Made) -> None:
    text = " ".join(evidence("G-1").stdout.split())
    slices = evidence(made.checkout.id).stdout

    assert (
        "needs the folders of these runs in --runs-dir, which may be gone: the history keeps only their figures" in text
    )
    assert "needs " not in slices


def test_several_ids_come_as_one_json_document(made: Made) -> None:
    found = evidence(made.search.id, "G-1", "D-1", "C-1", "G-2", "--format", "json")
    document = json.loads(found.stdout)

    assert found.exit_code == ExitCode.FAILED
    assert [one["id"] for one in document["evidence"]] == [made.search.id, "G-1", "D-1", "C-1", "G-2"]
    assert [one["found"] for one in document["evidence"]] == [True] * 4 + [False]
    assert document["evidence"][0]["computed_again"]["state"] == "same"
    assert document["evidence"][0]["recorded"] == {"week": WEEK, "in": "w30-4f1a", "at": made.page["as_of"]}
    assert document["evidence"][-1]["nearest"] == ["G-1"]
    inputs = {one["name"]: one["value"] for one in document["evidence"][2]["inputs"]}
    assert "because Black Friday" in inputs["overridden"]


def test_an_unknown_id_is_1_with_the_nearest_ones(made: Made) -> None:
    found = evidence("G-12")

    assert found.exit_code == ExitCode.FAILED
    assert "G-12: not found: the gate has given 1 verdict in this history; the nearest is G-1" in found.stderr


def test_the_walk_over_a_recorded_page_and_over_its_file_find_all_ids(made: Made) -> None:
    Path("page.json").write_text(json.dumps(made.page))

    results = [evidence("--check", which) for which in (WEEK, "w30-4f1a", "page.json")]

    assert [one.exit_code for one in results] == [0, 0, 0], results[0].output
    assert results[0].stdout.startswith("2026-W30, page w30-4f1a: 5 of 5 ids of evidence resolve")
    assert "computed again: 3 the same, 0 differ" in results[2].stdout


def test_the_walk_is_1_where_a_number_has_no_evidence_an_id_is_unknown_or_counts_differ(made: Made) -> None:
    page = json.loads(json.dumps(made.page))
    page["rows"][0]["burn"] = {"text": "1.4", "value": 1.4, "evidence": []}
    page["sentences"][0]["evidence"].append("H-00000000")
    page["evidence"][0]["inputs"][6]["value"] = "1"
    Path("page.json").write_text(json.dumps(page))

    found = evidence("--check", "page.json")
    document = json.loads(evidence("--check", "page.json", "--format", "json").stdout)

    assert found.exit_code == ExitCode.FAILED
    assert "a number without evidence: rows[0].burn" in found.stdout
    assert "does not resolve: H-00000000: no recorded page has it" in found.stdout
    assert f"{made.checkout.id}: it differs: the ledger as of" in found.stdout
    assert document["is_whole"] is False
    assert document["numbers_without_evidence"] == ["rows[0].burn"]


def test_the_newest_page_of_a_week_is_walked_and_late_counts_are_a_note(made: Made) -> None:
    later = made.at + timedelta(hours=2)
    start = made.end - 43_200
    Ledger(place_of("history"), lambda: utc_text(later)).write(
        "prod", [Slice("checkout-fast", start, 300, 0, 1)], "late"
    )
    record_week(place_of("history"), {**made.page, "id": "w30-0002"}, utc_text(later))

    found = evidence("--check", WEEK)

    assert found.exit_code == ExitCode.PASSED, found.output
    assert "page w30-0002" in found.stdout
    assert "note: since then, 1 slice changed by" in found.stdout


def test_a_page_or_a_ledger_that_cannot_be_read_is_3(made: Made) -> None:
    day = made.first_file
    day.write_bytes(day.read_bytes()[:50])
    ledger = evidence("--check", WEEK)
    for file in Path("history/programme/weeks").iterdir():
        file.write_bytes(b"")
    page, one = evidence("--check", WEEK), evidence(made.checkout.id)

    assert [each.exit_code for each in (ledger, page, one)] == [ExitCode.INCOMPLETE] * 3
    assert "is left out" in ledger.output
    assert "the page of 2026-W30 cannot be read: programme/weeks/2026-W30-w30-4f1a.json is damaged" in page.output


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((), "give either ids or --check"),
        (("G-1", "--check", WEEK), "give either ids or --check"),
        (("--check", "2026-W31"), "no page of 2026-W31 is recorded in history"),
        (("--check", "absent.json"), "absent.json cannot be read"),
        (("--check", "wrong.json"), "wrong.json is not the JSON of a page"),
        (("--check", "list.json"), 'it has no "evidence"'),
        (("G-1", "--store", "ftp://x"), "is not a location for a history"),
    ],
)
def test_a_wrong_command_line_is_2_with_a_way_out(made: Made, args: tuple[str, ...], text: str) -> None:
    Path("wrong.json").write_text("[" * 100_000)
    Path("list.json").write_text("[1]")

    found = evidence(*args)

    assert found.exit_code == ExitCode.USAGE, found.output
    assert text in found.output


def test_texts_of_pages_and_of_people_are_harmless_in_the_terminal(made: Made) -> None:
    bad = "x\x1b[2J\nPASSED (exit code 0)\u202e"
    entry: dict[str, object] = {
        "id": "H-00000000",
        "kind": "controls",
        "says": bad,
        "formula": bad,
        "see": bad,
        "run_ids": [bad],
    }
    entry |= {"inputs": [{"name": bad, "value": bad}], "revisions": [bad]}
    page = {"week": "2026-W31", "id": "w31-0000", "rows": [{"evidence": [bad, "H-00000000"]}], "evidence": [entry]}
    record_week(place_of("history"), page)

    for args in (
        ("H-00000000",),
        ("--check", "2026-W31"),
        (bad,),
        ("--check", bad),
        ("H-00000000", "--format", "json"),
    ):
        output = evidence(*args).output
        assert not {"\x1b", "\u202e"} & set(output)
        assert not any(line.lstrip().startswith("PASSED (exit") for line in output.splitlines())


def test_an_empty_history_says_that_no_page_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    one, page = evidence("S-4f1a2b9c"), evidence("--check", WEEK)

    assert (one.exit_code, page.exit_code) == (ExitCode.FAILED, ExitCode.USAGE)
    assert "no weekly page is recorded in this history yet" in one.stderr
    assert "loadgen slo report records one" in page.output
    assert not list(tmp_path.iterdir())
