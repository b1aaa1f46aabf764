"""`loadgen capacity fit`: the answer, its files and exit codes, and every kind of bad input with its place."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen import open_study
from loadgen.errors import ExitCode
from loadgen_controller import cli

DATA = Path(__file__).parents[1] / "data" / "capacity"


def fit(*args: object) -> Result:
    result = CliRunner().invoke(cli.app, ["capacity", "fit", *map(str, args)], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def written(folder: Path, text: str, name: str = "measured.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_the_answer_is_the_same_in_text_page_json_and_csv(tmp_path: Path) -> None:
    page, document, rows = tmp_path / "c.html", tmp_path / "c.json", tmp_path / "c.csv"

    done = fit(DATA / "specsdm91.csv", "--html", page, "--json", document, "--csv", rows)

    assert done.exit_code == ExitCode.PASSED
    assert done.output.startswith(
        "throughput peaks at load 96.52 (95 % interval 78.89 to 136.7), with throughput 1,884"
    )
    assert "throughput peaks at load 96.52" in page.read_text(encoding="utf-8")
    study = open_study(document)
    assert study.facts["peak_load"] == pytest.approx(96.52, abs=0.005)
    assert study.facts["amdahl_limit"] == pytest.approx(3245.6, abs=0.05)
    with rows.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [float(row["load"]) for row in found] == [1, 18, 36, 72, 108, 144, 216]
    assert float(found[2]["residual"]) == pytest.approx(111.09, abs=0.01)


def test_without_a_peak_the_exit_code_is_3_and_the_reason_leads(tmp_path: Path) -> None:
    document = tmp_path / "c.json"

    done = fit(DATA / "raytracer.csv", "--json", document)

    assert done.exit_code == ExitCode.INCOMPLETE
    assert done.output.startswith("no peak seen up to 64: the curve does not fall up to the highest load")
    facts = json.loads(document.read_text(encoding="utf-8"))["facts"]
    assert facts["peak_load"] is None
    assert facts["axis"] == "instances"


def test_numbers_beyond_1_2_times_the_highest_load_are_printed_only_when_asked_and_are_marked() -> None:
    without, with_it = (
        fit(DATA / "specsdm91.csv"),
        fit(DATA / "specsdm91.csv", "--extrapolate", 250, "--extrapolate", 500),
    )

    assert "500" not in without.output
    (near,) = [line for line in with_it.output.splitlines() if line.startswith("250 ")]
    (far,) = [line for line in with_it.output.splitlines() if line.startswith("500 ")]
    assert "extrapolated" not in near
    assert "extrapolated: not for decisions" in far


@pytest.mark.parametrize(
    ("header", "options", "axis"),
    [
        ("users,tps", [], "concurrency"),
        ("nodes;requests/s", [], "instances"),
        ("rate\tachieved_per_s", [], "rate"),
        ("N,X(N)", [], "concurrency"),
        ("what,throughput", [], "concurrency"),
        ("a,b", ["--load", "A", "--throughput", "b"], "concurrency"),
        ("a,b", ["--load", "a", "--throughput", "b", "--axis", "instances"], "instances"),
    ],
)
def test_columns_are_found_by_header_or_option(tmp_path: Path, header: str, options: list[str], axis: str) -> None:
    separator = next(one for one in ",;\t" if one in header)
    body = "".join(f"{n}{separator}{n * 10}\r\n" for n in (8, 1, 2, 4, 16, 32))
    path = written(tmp_path, f"\ufeff# measured in May\r\n{header}\r\n\r\n{body}")

    done = fit(path, "--json", tmp_path / "c.json", *options)

    assert done.exit_code == ExitCode.INCOMPLETE, done.output
    facts = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["facts"]
    assert (facts["axis"], facts["distinct_loads"], facts["gamma"]) == (axis, 6, pytest.approx(10))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["is empty"]),
        ("load,throughput\n", ["only 0 distinct loads"]),
        ("1,2\n2,3\n", ["measured.csv:1: the first line has numbers"]),
        ("when,what,why\n1,2,3\n", ["no column is known as the load", "no column is known as the throughput"]),
        ("load,throughput\n1,2\n2,3\n3,4\n", ["only 3 distinct loads"]),
        ("load,throughput\n4,2\n4,3\n4,4\n", ["all loads are 4"]),
        (
            "load,throughput\n1,x\n2,-3\n3\n4,nan\n5,0\n6,1e999\n",
            [
                "measured.csv:2: column throughput must be a number, got x",
                "measured.csv:3: column throughput must be above 0, got -3",
                "measured.csv:4: 1 cell, but the header has 2",
                "measured.csv:5: column throughput must be a number, got nan",
                "measured.csv:6: column throughput must be above 0, got 0",
                "measured.csv:7: column throughput is too large: 1e999",
            ],
        ),
        ('load,throughput\n1,"1,234"\n', ["no thousands separators"]),
        ("load,throughput\n1,2\0\n", ["contains zero bytes"]),
        ('load,throughput\n1,"' + "x" * 140_000 + '"\n', ["invalid CSV"]),
        ("load,load,throughput\n1,2,3\n", ["2 columns are named load"]),
    ],
)
def test_bad_files_are_refused_with_line_and_reason_all_at_once(tmp_path: Path, text: str, expected: list[str]) -> None:
    done = fit(written(tmp_path, text))

    assert done.exit_code == ExitCode.USAGE
    for one in expected:
        assert one in done.output


def test_many_faults_are_counted_after_the_first_ten(tmp_path: Path) -> None:
    done = fit(written(tmp_path, "load,throughput\n" + "x,1\n" * 500))

    assert done.output.count("must be a number") == 10
    assert "490 further rows with faults" in done.output


def test_too_many_rows_and_too_large_files_are_refused_at_once(tmp_path: Path) -> None:
    rows = fit(written(tmp_path, "load,throughput\n" + "1,2\n" * 10_001))
    size = fit(written(tmp_path, "load,throughput\n" + "1" * (17 << 20)))

    assert (rows.exit_code, size.exit_code) == (ExitCode.USAGE, ExitCode.USAGE)
    assert "more than 10,000 rows" in rows.output
    assert "larger than 16 MiB" in size.output


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["nothing.csv"], "cannot read nothing.csv: No such file"),
        (["a.csv", "b.csv"], "a CSV file must be the only one"),
        (["last"], "no run last in runs"),
        (["last", "--load", "users"], "name columns of a CSV file, not of runs"),
        ([DATA / "specsdm91.csv", "--load", "laod"], "did you mean load?"),
        ([DATA / "specsdm91.csv", "--load", "throughput"], "are the same column"),
        ([DATA / "specsdm91.csv", "--extrapolate", "0"], "--extrapolate: 0 must be a finite number above 0"),
        ([DATA / "specsdm91.csv", "--html", "nowhere/c.html"], "there is no folder nowhere"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    args: list[object], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a folder without runs
    done = fit(*args)

    assert done.exit_code == ExitCode.USAGE
    assert expected in done.output


def test_a_machine_without_scipy_names_the_extra_before_the_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name for name in sys.modules if name.partition(".")[0] == "scipy" or ".usl" in name or ".curves" in name
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)

    done = fit("nothing.csv")

    assert done.exit_code == ExitCode.USAGE
    assert "loadgen capacity fit needs scipy, which is not installed" in done.output
    assert "cannot read" not in done.output


def test_headers_from_outside_are_harmless_on_the_page_and_in_the_terminal(tmp_path: Path) -> None:
    header = "load <script>alert(1)</script>\x1b[31m,throughput"
    body = "".join(f"{n},{n}\n" for n in (1, 2, 4, 8, 16, 32))

    done = fit(written(tmp_path, f"{header}\n{body}"), "--html", tmp_path / "c.html")

    assert done.exit_code == ExitCode.INCOMPLETE
    assert "\x1b[31m" not in done.output
    assert "<script" not in (tmp_path / "c.html").read_text(encoding="utf-8")


def test_two_outputs_cannot_be_one_file(tmp_path: Path) -> None:
    done = fit(DATA / "specsdm91.csv", "--html", tmp_path / "c", "--json", tmp_path / "c")
    assert done.exit_code == ExitCode.USAGE
    assert "--html and --json both name" in done.output
    assert not (tmp_path / "c").exists()


def test_a_number_that_is_too_large_is_called_so(tmp_path: Path) -> None:
    assert "column load is too large: 1e300" in fit(written(tmp_path, "load,throughput\n1e300,5\n")).output
