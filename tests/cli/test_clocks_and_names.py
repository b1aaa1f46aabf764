"""A wrong clock, a question about an earlier time, and a source that got another name: what each command says."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from typer.testing import CliRunner, Result

from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event
from loadgen.history.store.write_once_storage import place_of
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice
from loadgen_controller import cli
from tests.cli.test_slo_pull import PROMISE
from tests.support.made_evidence import Made, made_history

COMMANDS: Final = {
    "status": ("slo", "status"),
    "decide": ("decide", "checkout", "--release", "v412", "--no-record"),
    "report": ("slo", "report", "--no-record", "--week", f"{datetime.now(UTC):%G-W%V}"),
    "board": ("board", "--check"),
    "anomaly": ("slo", "anomaly", "list"),
}
LATER: Final = "2999-01-01T00:00:00.000Z"


def loadgen(*args: str) -> Result:
    result = CliRunner().invoke(cli.app, list(args), env={"COLUMNS": "400"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def answers(*more: str, of: tuple[str, ...] = tuple(COMMANDS)) -> dict[str, Result]:
    return {name: loadgen(*COMMANDS[name], *more) for name in of}


def codes(found: dict[str, Result]) -> dict[str, int]:
    return {name: one.exit_code for name, one in found.items()}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made = made_history(tmp_path_factory.mktemp("clocks"), is_good=True)
    file = made.folder / "programme.toml"
    file.write_text(file.read_text().replace("live = false", "live = true"))
    return made


@pytest.fixture
def made(template: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A history that is a GO for v412, and the folder with it as the present one."""
    shutil.copytree(template.folder, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("LOADGEN_STORE", raising=False)
    return template


# -- clocks ---------------------------------------------------------------------------------------


def test_counts_after_tomorrow_are_named_by_each_command_and_keep_from_good_answers(made: Made) -> None:
    assert codes(answers(of=("status", "decide"))) == {"status": 0, "decide": 0}
    start = (int(time.time()) // 300 + 864) * 300
    Ledger.open("history").write("prod", [Slice("checkout-fast", start, 300, 0, 1000)])

    found = answers()

    day = datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%d")
    for name, one in found.items():
        assert f"the ledger has counts of {day}, and the clock of this machine shows" in one.output, (name, one.output)
    assert codes(found) == {"status": 3, "decide": 3, "report": 0, "board": 1, "anomaly": 3}


def test_counts_after_the_time_of_as_of_are_no_sign_of_a_wrong_clock(made: Made) -> None:
    Ledger.open("history").write("prod", [Slice("checkout-fast", (int(time.time()) // 300 + 864) * 300, 300, 0, 1000)])
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    found = answers("--as-of", now)

    assert not [name for name, one in found.items() if "the clock of this machine" in one.output]
    assert found["status"].exit_code == 0


def test_a_page_names_revisions_that_are_dated_in_the_future(made: Made) -> None:
    ledger = Ledger(place_of("history"), lambda: LATER)
    ledger.write("prod", [Slice("checkout-fast", made.end - 8 * 86_400, 300, 0, 1000)])

    page = loadgen(*COMMANDS["report"])
    then = loadgen(*COMMANDS["report"], "--as-of", datetime.now(UTC).isoformat())

    assert "1 revision of the ledger left out, dated in the future, such as " in page.output
    assert "dated in the future" not in then.output


def test_decisions_that_are_dated_in_the_future_do_not_count_and_are_named(made: Made) -> None:
    store = Store.open("history")
    details = {"id": "D-9", "release": "v412", "journeys": '["checkout"]', "recommendation": "NO-GO", "document": "{}"}
    store.note(Event("recommended", LATER, "paul", details=details))
    details = {"id": "D-9", "release": "v412", "until": "2999-02-01T00:00:00Z"}
    store.note(Event("overridden", LATER, "paul", because="peak", details=details))
    verdict = store.events("verdict")[0]
    store.note(Event("verdict", LATER, "ci", verdict.run_ids, details=verdict.details))

    found = loadgen(*COMMANDS["decide"])

    assert found.exit_code == 3, found.output
    assert "dated in the future: PASS" in found.output
    assert "D-9 was overridden by paul, dated in the future, until 2999-02-01, because peak" in found.output


@pytest.mark.parametrize("then", ["2026-01-01T00:00Z", LATER])
def test_as_of_a_time_without_counts_nothing_is_good(made: Made, then: str) -> None:
    found = answers("--as-of", then, of=("status", "decide", "board", "anomaly"))
    found["report"] = loadgen("slo", "report", "--no-record", "--as-of", then)

    assert codes(found) | {"decide": 3} == {"status": 3, "decide": 3, "report": 3, "board": 1, "anomaly": 3}
    assert found["decide"].exit_code in (3, 4)
    assert "2 no data" in found["status"].output
    assert "there is nothing to report for " in found["report"].output
    assert "not searched: the ledger has no counts of it" in found["anomaly"].output


# -- names of sources -----------------------------------------------------------------------------


def source(name: str, slices: int, good: int, end: int) -> None:
    """Name the source of the promise, in both files, and write its counts until a time."""
    Path("slos").mkdir(exist_ok=True)
    promise = PROMISE.format(name="checkout-fast", source=name, total="shop_count").replace("4w", "1d")
    promise = promise.replace("annotations: {", "annotations: {loadgen.dev/journey: checkout, ")
    Path("slos/checkout-fast.yaml").write_text(promise)
    Path("programme.toml").write_text(f'[sources.{name}]\nkind = "csv"\nfile = "counts.csv"\n')
    rows = [f"{end - 300 * n},checkout-fast,{good},1000" for n in range(slices, 0, -1)]
    Path("counts.csv").write_text("\n".join(["time[unix s],slo,good,total", *rows, ""]))


@pytest.fixture
def pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Counts of a day and more until half an hour ago, from the source prod-prometheus. Return the present slice."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOADGEN_STORE", raising=False)
    end = int(time.time()) // 300 * 300
    source("prod-prometheus", 314, 1000, end - 1_800)
    assert loadgen("slo", "pull").exit_code == 0
    return end


def test_after_a_source_is_renamed_only_the_time_that_the_ledger_lacks_is_written(pulled: int) -> None:
    source("prom-eu", 320, 998, pulled)

    first, again = loadgen("slo", "pull"), loadgen("slo", "pull")
    status = loadgen("slo", "status", "--explain")

    assert (first.exit_code, again.exit_code, status.exit_code) == (0, 0, 0), status.output
    assert "note: 314 slices left out: the ledger has this time from the source prod-prometheus" in first.output
    assert "checkout-fast: 6 slices read" in first.output
    assert "nothing new" in again.output
    now = int(time.time())
    reading = Ledger.open("history").read(now - 3 * 86_400, now)
    assert (len(reading.slices("checkout-fast")), reading.clashes) == (320, ())
    assert {one.source for one in reading.revisions} == {"prod-prometheus", "prom-eu"}


@pytest.mark.usefixtures("pulled")
def test_a_source_that_is_renamed_only_in_programme_toml_is_missing_with_its_name() -> None:
    file = Path("programme.toml")
    file.write_text(file.read_text().replace("prod-prometheus", "prom-eu"))

    found = loadgen("slo", "pull")

    assert found.exit_code == 3
    assert "missing: the source prod-prometheus is neither in programme.toml nor a DataSource" in found.output


@pytest.mark.usefixtures("pulled")
def test_two_sources_at_the_same_time_are_named_by_each_command_and_judged_by_none() -> None:
    """Older versions wrote both."""
    now = int(time.time())
    theirs = Ledger.open("history").read(now - 3 * 86_400, now).slices("checkout-fast")
    Ledger.open("history").write("prom-eu", theirs)

    found = answers()

    both = "314 overlapping slices of the sources prod-prometheus, prom-eu, the first at "
    for name in ("status", "board", "anomaly"):
        assert both in found[name].output, (name, found[name].output)
    assert "it has slices of two sources at the same time, which would count twice" in found["status"].output
    assert "from 2 sources" in found["decide"].output or "two sources" in found["decide"].output
    assert "two sources at the same time" in found["report"].output
    assert codes(found) | {"decide": 3} == {"status": 3, "decide": 3, "report": 3, "board": 1, "anomaly": 3}
