"""`loadgen slo report` as a user calls it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner, Result

from loadgen.analysis.anomalies.flag import Flags, flag
from loadgen.errors import ExitCode
from loadgen_controller import cli
from tests.support.made_programme import MadeProgramme, made_programme

WEEK = ("--week", "2026-W30", "--as-of", "2026-07-27T06:00Z")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> MadeProgramme:
    """Five weeks of the ledger and two of runs."""
    return made_programme(tmp_path_factory.mktemp("small"), weeks=5, nights=14)


@pytest.fixture(autouse=True, scope="module")
def _each_series_is_searched_once() -> Iterator[None]:
    """Search the hours of an objective for anomalies once: each page does it again, which takes a third of its CPU."""
    known: dict[tuple[bytes, bytes], Flags] = {}

    def once(values: npt.ArrayLike, *, observed: npt.ArrayLike) -> Flags:
        key = (np.asarray(values, np.float64).tobytes(), np.asarray(observed, np.float64).tobytes())
        if key not in known:
            known[key] = flag(values, observed=observed)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loadgen.programme.anomalies.find.flag", once)
        yield


def loadgen(*args: str) -> Result:
    result = CliRunner().invoke(cli.app, ["slo", "report", *args], env={"COLUMNS": "300"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def evidence(*args: str) -> Result:
    return CliRunner().invoke(cli.app, ["evidence", *args], env={"COLUMNS": "300"})


@pytest.fixture(autouse=True)
def _here(small: MadeProgramme, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small.folder)


def test_a_page_is_written_in_each_format_and_recorded_once(small: MadeProgramme, tmp_path: Path) -> None:
    names = [tmp_path / f"week.{kind}" for kind in ("html", "md", "json", "csv")]
    done = loadgen(*WEEK, *(part for name in names for part in ("-o", str(name))))
    assert done.exit_code == ExitCode.PASSED
    document = json.loads(names[2].read_text())
    assert done.stdout.startswith(f"page {document['id']}: ")
    assert done.stdout.endswith("\nwrote " + ", ".join(map(str, names)) + "\n")
    assert names[0].read_bytes().startswith(b"<!doctype html>")
    assert names[1].read_text().startswith("# Shop · performance\n")
    assert names[3].read_text().count("\n") == 15
    recorded = [path.name for path in (small.store / "programme/weeks").iterdir()]
    assert recorded == [f"2026-W30-{document['id']}.json"]


def test_a_page_of_a_team_or_for_customers_hides_no_evidence_of_the_page_of_all_teams(small: MadeProgramme) -> None:
    every = json.loads(loadgen(*WEEK, "--format", "json").stdout)
    customers = json.loads(loadgen(*WEEK, "--public", "--format", "json").stdout)
    shown = json.loads(loadgen(*WEEK, "--team", "payments", "--format", "json").stdout)
    assert [(one["is_public"], one["team"]) for one in (customers, shown)] == [(True, ""), (False, "payments")]
    checked = json.loads(evidence("--check", "2026-W30", "--format", "json").stdout)
    id_ = next(one["id"] for one in customers["evidence"] if one["kind"] == "slices")
    entry = json.loads(evidence(id_, "--format", "json").stdout)["evidence"][0]

    assert len(checked["ids"]) > 60
    assert checked["page"].endswith(every["id"])
    assert {"query", "slo"} <= {one["name"] for one in entry["inputs"]}
    assert entry["revisions"]
    assert "of team payments" in evidence("--check", shown["id"]).stdout


@pytest.mark.process
def test_the_pdf_is_published_beside_the_page(
    small: MadeProgramme, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chromium = tmp_path / "chromium"
    chromium.write_text(
        '#!/bin/sh\nfor one; do case $one in --print-to-pdf=*) echo "%PDF-1.4 %%EOF" > "${one#*=}";; esac; done\n'
    )
    chromium.chmod(0o755)
    monkeypatch.setenv("LOADGEN_CHROMIUM", str(chromium))
    settings = f'{small.programme.read_text()}\n[publish]\nto = "out"\n'
    (tmp_path / "programme.toml").write_text(settings)
    monkeypatch.chdir(tmp_path)
    args = (str(small.slos), *WEEK, "--store", str(small.store), "--publish", "--team", "payments")

    done = loadgen(*args, "--pdf", "week.pdf")
    monkeypatch.setenv("LOADGEN_CHROMIUM", "")
    without = loadgen(*args, "--pdf", "week2.pdf")

    assert (done.exit_code, without.exit_code) == (ExitCode.PASSED, ExitCode.PASSED)
    assert [path.read_bytes() for path in (tmp_path / "out").rglob("*.pdf")] == [Path("week.pdf").read_bytes()]
    assert "5 files" in done.stderr
    assert "No PDF: no Chromium found" in without.stderr


def test_no_cell_of_a_narrow_terminal_is_cut() -> None:
    done = CliRunner().invoke(cli.app, ["slo", "report", *WEEK, "--no-record"], env={"COLUMNS": "80"})
    assert "…" not in done.stdout
    assert re.search(r"^catalog +yes, 99\.\d % \(99\.\d %\)  ", done.stdout, re.MULTILINE)
    assert "\nkept, in brackets: with excluded times\n" in done.stdout


def test_the_terminal_shows_sentences_rows_and_sections() -> None:
    done = loadgen(*WEEK, "--no-record", "--team", "payments")
    assert done.exit_code == ExitCode.PASSED
    assert "payments · Shop · performance: 2026-W30" in done.stdout
    assert "Checkout's was not: 99.4" in done.stdout
    assert "What is open:" in done.stdout
    assert "Load tests spend no error budget of " in done.stdout
    assert "catalog" not in done.stdout


def test_json_goes_to_the_terminal_and_a_public_page_names_nobody() -> None:
    done = loadgen(*WEEK, "--no-record", "--public", "--team", "payments", "--format", "json", "slos/shop.yaml")
    assert json.loads(done.stdout)["is_public"] is True
    assert "oncall" not in done.stdout


def test_a_week_without_data_is_nothing_to_report() -> None:
    done = loadgen("--week", "2020-W53")
    assert done.exit_code == ExitCode.INCOMPLETE
    assert "there is nothing to report for 2020-W53" in done.stderr
    assert "loadgen slo pull" in done.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--week", "2026-W60"], "2026 has the weeks 1 to 53, not 60"),
        (["--week", "2026-W32", "--as-of", "2026-07-27"], "2026-W32 has not begun at 2026-07-27 00:00 UTC"),
        (["--quarter", "2026-Q7"], 'invalid quarter "2026-Q7"'),
        (["--week", "2026-W30", "--quarter", "2026-Q3"], "--week and --quarter exclude each other"),
        (["--as-of", "yesterday"], 'invalid time "yesterday"'),
        (["--team", "paymets"], 'did you mean "payments"?'),
        (["-o", "page.doc"], "unknown kind of file"),
        (["-o", "missing/page.md"], "there is no folder missing"),
        (["--store", "ftp://x"], "ftp://x"),
        (["no-such-folder"], "no-such-folder"),
    ],
)
def test_wrong_options_are_usage_errors(args: list[str], message: str) -> None:
    done = loadgen(*args)
    assert done.exit_code == ExitCode.USAGE
    assert message in done.stderr.replace("\n", " ")


def test_all_errors_of_programme_toml_are_shown_at_once(
    tmp_path: Path, small: MadeProgramme, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "programme.toml").write_text('[programme]\nzone = "Mars"\n[decide]\nruns = -1\n')
    monkeypatch.chdir(tmp_path)
    done = loadgen(str(small.slos), *WEEK, "--store", str(small.store))
    assert done.exit_code == ExitCode.USAGE
    assert "programme.toml:2" in done.stderr
    assert "programme.toml:4" in done.stderr
