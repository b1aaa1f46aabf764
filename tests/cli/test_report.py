"""`loadgen report`: every format from a folder, also where it is cut off, killed, of another version, or not whole."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from loadgen.history.store.extract import accepted_of
from loadgen.history.store.store import Store
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.report.exports.markdown import text as markdown_text
from loadgen.report.run_as_dataframes import open_run
from loadgen_controller import cli
from tests.support.past_runs import past_run

OLD = Path(__file__).parents[1] / "data" / "runs" / "20261124-browse-format-1"
PHASES = OLD.with_name("20261125-phases-format-1")
RUN = "20261124-210823-browse-1ba6"
FORMATS = ("html", "json", "csv", "parquet", "junit", "markdown")
OF_THE_LOG = ("html", "json")
OF_THE_SUMMARY = ("csv", "parquet", "junit", "markdown")


def loadgen(*args: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in args], env={"COLUMNS": "200"})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(OLD, Path("runs") / RUN))


def held(page: bytes, name: str = "history") -> dict[str, Any]:
    """The document in the page."""
    found = re.search(rb'id="%s">([^<]+)<' % name.encode(), page)
    assert found is not None
    made: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(found[1])))
    return made


def assert_no_rest(folder: Path) -> None:
    assert not [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


# -- how it stands in its history ---------------------------------------------------------------------

SHOP = "20261124-{:02}0000-shop-00{:02}"


@pytest.fixture(scope="module")
def shop_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve accepted runs of a shop, and one that is 30 % slower: a folder with `runs` and `history`."""
    folder = tmp_path_factory.mktemp("shop")
    store = Store.open(str(folder / "history"))
    for n in range(13):
        level = 130.0 if n == 12 else 100.0 + n % 3
        path = past_run(folder / "runs", SHOP.format(n, n), level_ms=level, seed=n, seconds=20)
        if n < 12:
            store.add(accepted_of(open_run(path)))
    return folder


@pytest.fixture
def shop(shop_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOADGEN_STORE", raising=False)
    shutil.copytree(shop_runs, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_page_json_and_markdown_say_alike_how_the_run_stands_in_its_history(shop: Path) -> None:
    page, document, comment = (loadgen("report", "last", "--format", name) for name in ("html", "json", "markdown"))

    assert page.stderr.splitlines() == [f"wrote {Path('runs', SHOP.format(12, 12), 'report.html')}"]
    said = json.loads(document.stdout)["in_history"]
    first = said["sentences"][0]
    assert re.match(r"p95 of checkout.* is (2|3)\d\.\d % \(95 %: .*\) above 12 accepted runs\.", first)
    assert said["sentences"][-1] == (
        f"A single run decides nothing. To judge whether this is a regression: loadgen gate {SHOP.format(12, 12)}"
    )
    whole = Path("runs", SHOP.format(12, 12), "report.html").read_bytes()
    assert held(whole)["in_history"] == said
    shown = whole.decode().partition('<template id="in-history">')[2].partition("</template>")[0]
    assert re.findall(r"<li>(.*?)</li>", shown) == [escape(text) for text in said["sentences"]]
    assert "**In its history**" in comment.stdout
    assert markdown_text(first) in comment.stdout


def test_an_old_run_is_held_against_what_was_before_it(shop: Path) -> None:
    document = json.loads(loadgen("report", SHOP.format(4, 4), "--format", "json").stdout)
    assert document["in_history"]["runs"] == [SHOP.format(n, n) for n in range(4)]
    first = loadgen("report", SHOP.format(0, 0), "--format", "json")
    assert "in_history" not in json.loads(first.stdout)
    assert "fewer than two accepted runs from before" in first.stderr


def test_without_a_history_a_report_says_nothing_of_one(shop: Path) -> None:
    shutil.move("history", "elsewhere")
    without = loadgen("report", "last", "--format", "json")
    named = loadgen("report", "last", "--format", "json", "--store", "elsewhere")

    assert (without.exit_code, without.stderr) == (0, "")
    assert "in_history" not in json.loads(without.stdout)
    assert json.loads(named.stdout)["in_history"]["sentences"][-1].endswith(" --store elsewhere")


def test_a_history_of_other_runs_or_one_that_cannot_be_read_costs_no_report(run: Path, shop: Path) -> None:
    other = loadgen("report", RUN, "--format", "markdown")
    assert other.exit_code == 0
    assert (
        "note: not compared with its history: none of the 12 accepted runs in history can be compared with it"
        in other.stderr
    )
    assert "In its history" not in other.stdout

    for path in Path("history").rglob("*.parquet"):
        path.write_bytes(b"PAR1 no more")
    damaged = loadgen("report", SHOP.format(12, 12), "--format", "markdown")
    assert damaged.exit_code == 0
    assert damaged.stderr.startswith("note: not compared with its history: ")

    Path("file").write_text("")
    wrong = loadgen("report", "last", "--store", "file")
    assert wrong.exit_code == 2
    assert "file is a file, but a history is a folder" in wrong.stderr


def test_a_run_without_a_verdict_is_held_against_nothing(shop: Path) -> None:
    Path("runs", SHOP.format(12, 12), "summary.json").unlink()
    document = loadgen("report", SHOP.format(12, 12), "--format", "json")
    assert document.exit_code == 0
    assert "in_history" not in json.loads(document.stdout)
    assert "history" not in document.stderr


# -- what is written, and where ---------------------------------------------------------------------


def test_page_goes_into_the_folder_of_the_run_and_carries_its_story(run: Path) -> None:
    result = loadgen("report", "last")

    assert (result.exit_code, result.stderr) == (0, f"wrote {run / 'report.html'}\n")
    verdict = held((run / "report.html").read_bytes())["verdict"]
    assert verdict["result"] == "failed"
    assert "Under this load the target did not meet its objective." in verdict["sentences"]
    assert f"See the failed requests with their responses: loadgen failures {RUN}" in verdict["next"]
    assert verdict["excludes"]
    assert_no_rest(run)


def test_title_and_owner_are_given_or_stand_in_the_settings(run: Path) -> None:
    def about(*more: str) -> tuple[str, str]:
        said = json.loads(loadgen("report", "last", "--format", "json", *more).stdout)["run"]
        return said["title"], said["owner"]

    own = about()
    Path("loadgen.toml").write_text('[report]\ntitle = "Shop, weekly"\nowner = "Shop team"\n')

    assert own[1] == ""
    assert about() == ("Shop, weekly", "Shop team")
    assert about("--title", "Monday", "--owner", "Ann") == ("Monday", "Ann")
    assert "<title>Monday · " in loadgen("report", "last", "--title", "Monday", "--format", "html", "-o", "-").stdout
    refused = loadgen("report", "last", "--format", "csv", "--title", "Monday")
    assert refused.exit_code == 2
    assert "--title and --owner cannot be used with csv" in refused.stderr


def test_a_format_that_contradicts_the_name_of_the_file_is_an_error_before_it_is_written(run: Path) -> None:
    refused = loadgen("report", "last", "--format", "csv", "-o", "a.html")
    assert refused.exit_code == 2
    assert "--format csv contradicts the name a.html, which ends in .html" in refused.stderr
    assert "hint: remove --format to write html, or end the name in .csv" in refused.stderr
    assert not Path("a.html").exists()


def test_metrics_of_the_run_are_in_its_report(run: Path) -> None:
    one = {"name": "cpu", "period_s": 5, "at_s": [0, 5], "values": [12.5, None]}
    (run / "metrics.json").write_text(json.dumps({"format": 1, "source": "cloudwatch", "metrics": [one]}))

    (lane,) = json.loads(loadgen("report", "last", "--format", "json").stdout)["metrics"]["lanes"]

    assert (lane["name"], lane["at_s"], lane["values"]) == ("cpu", [0, 5], [12.5, None])


def test_second_run_is_drawn_behind_the_first(run: Path) -> None:
    shutil.copytree(PHASES, "runs/20261125-014142-phases-fab5")
    result = loadgen("report", "20261124", "20261125", "-o", "both.html")

    assert result.exit_code == 0, result.stderr
    page = Path("both.html").read_bytes()
    assert held(page)["run"]["id"] == RUN
    assert held(page, "baseline")["run"]["id"] == "20261125-014142-phases-fab5"


def test_format_follows_from_the_name_of_the_file(run: Path) -> None:
    for name in ("a.json", "a.csv", "a.parquet", "a.xml", "a.md"):
        assert loadgen("report", "last", "-o", name).exit_code == 0
    assert json.loads(Path("a.json").read_text())["run"]["id"] == RUN
    assert Path("a.csv").read_text().startswith("kind,journey,")
    assert Path("a.parquet").read_bytes()[:4] == b"PAR1"
    assert ElementTree.parse("a.xml").getroot().tag == "testsuites"
    assert Path("a.md").read_text().startswith("### ❌ FAILED")


def test_what_is_not_html_goes_to_stdout_and_nothing_else_does(run: Path) -> None:
    assert json.loads(loadgen("report", "last", "--format", "json").stdout)["run"]["id"] == RUN
    lines = loadgen("report", "last", "--format", "csv", "--table", "windows", "--split", "regions", "-o", "-").stdout
    assert len({line.split(",")[9] for line in lines.splitlines()[1:]}) == 2


def test_longer_windows_hold_the_same_counts(run: Path) -> None:
    def total(*more: str) -> int:
        lines = loadgen("report", "last", "--format", "csv", "--table", "windows", *more).stdout.splitlines()
        at = lines[0].split(",").index("count")
        return sum(int(line.split(",")[at]) for line in lines[1:])

    assert total() == total("--window", "2s") == total("--split", "outcomes") > 0


def test_all_that_is_wrong_is_said_at_once(run: Path) -> None:
    result = loadgen("report", "none", "nor", "-o", "no/such/a.foo", "--window", "long", "--split", "regions")

    assert result.exit_code == 2
    for what in (
        "cannot derive the format from the name",
        '--window: invalid duration "long"',
        "--window and --split need --table windows",
        "-o: there is no folder no/such",
        "no run none in runs",
        "no run nor in runs",
    ):
        assert what in result.stderr
    assert "a second run cannot be shown in" in loadgen("report", "last", "last", "--format", "csv").stderr
    assert (
        "--table, --window and --split cannot be used with junit"
        in loadgen("report", "last", "--format", "junit", "--table", "series").stderr
    )


def test_file_that_cannot_be_written_leaves_what_was_there(run: Path, tmp_path: Path) -> None:
    (tmp_path / "taken.json").mkdir()
    result = loadgen("report", "last", "-o", "taken.json")

    assert (result.exit_code, "-o: taken.json is a folder" in result.stderr) == (2, True)
    assert_no_rest(tmp_path)


def test_what_is_no_file_is_written_into_and_stays(run: Path, tmp_path: Path) -> None:
    os.mkfifo("pipe")
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(Path("pipe").read_bytes)
        assert loadgen("report", "last", "--format", "json", "-o", "pipe").exit_code == 0
        assert json.loads(read.result())["run"]["id"] == RUN
    assert Path("pipe").is_fifo()
    read_end, write_end = os.pipe()  # as /dev/stdout of a pipeline is: its link leads to no path
    with ThreadPoolExecutor(1) as reader, os.fdopen(read_end, "rb") as piped:
        read = reader.submit(piped.read)
        assert loadgen("report", "last", "--format", "json", "-o", f"/dev/fd/{write_end}").exit_code == 0
        os.close(write_end)
        assert json.loads(read.result())["run"]["id"] == RUN
    Path("link.json").symlink_to("real.json")
    assert loadgen("report", "last", "-o", "link.json").exit_code == 0
    assert Path("link.json").is_symlink()
    assert json.loads(Path("real.json").read_bytes())["run"]["id"] == RUN


def test_window_of_no_length_leaves_no_file(run: Path, tmp_path: Path) -> None:
    result = loadgen("report", "last", "-o", "a.csv", "--table", "windows", "--window", "0s")

    assert (result.exit_code, "--window: a window must be longer than 0" in result.stderr) == (2, True)
    assert not Path("a.csv").exists()
    assert_no_rest(tmp_path)


# -- folders that are not whole ---------------------------------------------------------------------


@pytest.mark.parametrize("format_", FORMATS)
def test_older_format_is_written(run: Path, format_: str) -> None:
    assert loadgen("report", RUN, "--format", format_, "-o", "out").exit_code == 0
    assert Path("out").stat().st_size > 100


@pytest.mark.parametrize("format_", FORMATS)
def test_newer_format_is_refused_with_the_reason(run: Path, format_: str) -> None:
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"format": 99}))
    result = loadgen("report", RUN, "--format", format_, "-o", "out")

    assert result.exit_code == 5
    assert "it has format 99, but this loadgen knows only formats up to 1" in result.stderr
    assert "a newer one" in result.stderr
    assert not Path("out").exists()


@pytest.fixture
def going(run: Path) -> Iterator[Path]:
    """The run as somebody still writes it."""
    (run / "summary.json").unlink()
    folder = RunDir.open(run, writable=True)
    yield run
    folder.close()


@pytest.mark.parametrize("format_", FORMATS)
def test_run_that_goes_on_is_told_as_far_as_it_is_or_it_is_said_why_not(going: Path, format_: str) -> None:
    result = loadgen("report", RUN, "--format", format_, "-o", "out")

    assert "still going on" in result.stderr
    assert result.exit_code == (0 if format_ in OF_THE_LOG else 2)
    assert Path("out").exists() == (format_ in OF_THE_LOG)


@pytest.mark.parametrize("format_", FORMATS)
def test_run_that_was_killed_is_told_up_to_its_last_whole_record(run: Path, format_: str) -> None:
    (run / "summary.json").unlink()
    log = (run / "deltas.log").read_bytes()
    (run / "deltas.log").write_bytes(log[: len(log) // 2])
    result = loadgen("report", RUN, "--format", format_, "-o", "out")

    assert "was killed" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.exit_code == (0 if format_ in OF_THE_LOG else 2)
    if format_ == "json":
        document = json.loads(Path("out").read_text())
        assert document["verdict"] is None
        assert 0 < sum(document["slots"]["finished"]) < 60
    windows = loadgen("report", RUN, "--format", "csv", "--table", "windows")
    assert (windows.exit_code, len(windows.stdout.splitlines()) > 3) == (0, True)


@pytest.mark.parametrize("format_", FORMATS)
def test_log_that_is_gone_costs_what_is_made_of_it(run: Path, format_: str) -> None:
    (run / "deltas.log").unlink()
    result = loadgen("report", RUN, "--format", format_, "-o", "out")

    assert result.exit_code == (5 if format_ in OF_THE_LOG else 0)
    if format_ in OF_THE_LOG:
        assert f"cannot open {run / 'deltas.log'}: No such file" in result.stderr


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("torn", ["", "{", '{"format": 1}', "\xff"])
def test_summary_that_is_torn_is_named(run: Path, format_: str, torn: str) -> None:
    (run / "summary.json").write_text(torn, encoding="latin-1")
    result = loadgen("report", RUN, "--format", format_, "-o", "out")

    assert (result.exit_code, "cannot read" in result.stderr, "summary.json" in result.stderr) == (5, True, True)
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["bundle.tar", "events.jsonl", "histograms.hlog"])
def test_files_that_it_does_not_need_may_be_gone(run: Path, name: str) -> None:
    (run / name).unlink()
    for format_ in FORMATS:
        assert loadgen("report", RUN, "--format", format_, "-o", "out").exit_code == 0


@pytest.mark.parametrize("manifest", [None, "", "{", "[]"])
def test_folder_without_a_sound_manifest_is_no_run_or_is_named(run: Path, manifest: str | None) -> None:
    if manifest is None:
        (run / "manifest.json").unlink()
    else:
        (run / "manifest.json").write_text(manifest)
    result = loadgen("report", RUN, "--format", "json", "-o", "out")

    assert result.exit_code == (2 if manifest is None else 5)
    assert ("no run" if manifest is None else "manifest.json") in result.stderr


def test_empty_folder_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "20261124-nothing").mkdir(parents=True)
    result = loadgen("report", "last")
    assert (result.exit_code, "no run last in runs" in result.stderr) == (2, True)


def test_explain_says_it_below_the_tables(run: Path) -> None:
    result = loadgen("runs", "show", "last", "--explain")

    assert result.exit_code == 0
    titles = ["What was tested", "The verdict", "What it means", "What it does not say", "Next"]
    places = [result.output.index(f"\n{title}\n") for title in titles]
    assert places == sorted(places)
    assert f"loadgen failures {RUN}\n" in result.output
    assert "What it means" not in loadgen("runs", "show", "last").output
