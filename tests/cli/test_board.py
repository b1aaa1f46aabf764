"""`loadgen board` as a user calls it: a real history and ledger, its formats, exit codes, and wrong inputs."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner, Result

from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event, ObjectiveVerdict
from loadgen.history.store.write_once_storage import place_of
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice
from loadgen.programme.openslo.write import as_openslo
from loadgen.programme.promises.new_promise import new_promise
from loadgen.programme.promises.objectives import Threshold
from loadgen.programme.promises.slo_set import SloSet
from loadgen_controller import cli
from tests.support.accepted import KEY, accepted

NOW: Final = datetime(2026, 7, 26, 12, tzinfo=UTC)
AS_OF: Final = ("--as-of", "2026-07-26T12:00Z")
DAY: Final = timedelta(days=1)
PROGRAMME: Final = """[journeys.checkout]
team = "payments"
value = 10
currency = "EUR"
endpoints = ["POST /checkout"]

[journeys.search]
value = 1
currency = "EUR"

[[standard.exceptions]]
journey = "refund"
rule = "capacity"
because = "the sandbox allows 5/s"
by = "maria"
until = 2026-12-31
"""
TRAFFIC: Final = {
    "format": 1,
    "names": [{"name": "POST /checkout", "count": 30}, {"name": "GET /gifts", "count": 10}],
}


def loadgen(*args: str, columns: int = 160) -> Result:
    result = CliRunner().invoke(cli.app, ["board", *args], env={"COLUMNS": str(columns)})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def text_of(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def store_at(at: datetime) -> Store:
    return Store(place_of("history"), now=lambda: text_of(at))


def add_run(n: int, at: datetime, **more: Any) -> str:
    run_id = f"{at:%Y%m%d-%H%M%S}-shop-{n:04x}"
    made = accepted({"checkout": 100.0, "search": 50.0}, run_id=run_id, started_at=text_of(at))
    objectives = (ObjectiveVerdict("p(99) < 300ms", "passed"),)
    store_at(at).add(replace(made, **({"objectives": objectives} | more)))
    return run_id


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """checkout (66 %) and search (26 %) are covered; refund (6 %) has a promise and no owner."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOADGEN_STORE", raising=False)
    ids = [add_run(n, NOW - n * DAY) for n in (3, 2, 1)]
    details = {"outcome": "PASS", "key": KEY.hash()}
    # The runs of the gate were not accepted: their key names the journeys.
    store_at(NOW).note(Event("verdict", text_of(NOW - DAY), "ci", ("20260725-000000-shop-none",), details=details))
    facts = {"low_per_s": 500.0, "high_per_s": 550.0, "scenario": "shop.py", "plan": "plan"}
    store_at(NOW - DAY).add_study({"kind": "capacity find", "facts": facts, "run_ids": ids})
    start = int((NOW - 10 * DAY).timestamp())
    counts = {"checkout": 600, "search": 250, "refund": 50}
    slices = [
        Slice(name, start + n * 21_600, 300, total, total, 0, False, "csv")
        for name, total in counts.items()
        for n in range(40)
    ]
    Ledger(place_of("history"), now=lambda: text_of(NOW - timedelta(hours=1))).write("prod", slices)
    (tmp_path / "slos").mkdir()
    for name in counts:
        owner = "" if name == "refund" else "shop@shop.example"
        one = new_promise(
            name,
            service="shop",
            target=Decimal("0.995"),
            threshold=Threshold(Decimal(300), "ms"),
            journey=name,
            owner=owner,
        )
        (tmp_path / f"slos/{name}.yaml").write_text(as_openslo(SloSet.of([one])))
    (tmp_path / "programme.toml").write_text(PROGRAMME)
    return tmp_path


def document(*args: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(loadgen(*AS_OF, "--format", "json", *args).stdout)
    return found


def states(*args: str) -> dict[str, str]:
    return {row["journey"]: row["state"] for row in document(*args)["journeys"]}


def test_the_headline_is_weighted_by_requests_and_value(folder: Path) -> None:
    found = loadgen(*AS_OF)

    # 850 of 900 are 94.4 %; refund has no value, so its share of value is unknown.
    assert found.exit_code == 0
    assert "covered 94 % of requests, 100 % of value; largest gap: refund (6 %), nobody owns it" in found.output
    assert "no share of value, since value or requests are missing: refund" in found.output


def test_check_names_each_broken_rule_with_its_command(folder: Path) -> None:
    found = loadgen(*AS_OF, "--check")

    assert found.exit_code == 1
    assert (
        "broken: refund: owner: nobody owns it\n    write owner into [journeys.refund] of programme.toml"
        in found.output
    )
    assert "excepted: refund: capacity: no capacity was measured" in found.output
    assert "until 2026-12-31: the sandbox allows 5/s (maria)" in found.output
    assert "the house standard is broken (exit code 1)" in found.output


def test_check_passes_if_all_that_is_broken_is_excepted(folder: Path) -> None:
    for rule in ("owner", "objective", "runs", "gate"):
        text = (folder / "programme.toml").read_text()
        more = f'[[standard.exceptions]]\njourney="refund"\nrule="{rule}"\nbecause="new"\nby="m"\nuntil=2026-12-31\n'
        (folder / "programme.toml").write_text(text + more)

    assert loadgen(*AS_OF, "--check").exit_code == 0
    assert loadgen("--as-of", "2027-01-01T00:00Z", "--check").exit_code == 1


def test_what_cannot_be_read_is_undecided(folder: Path) -> None:
    (folder / "slos/refund.yaml").unlink()
    assert loadgen(*AS_OF, "--check").exit_code == 0

    file = next((folder / "history/slis").rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:100])
    found = loadgen(*AS_OF, "--check")

    assert found.exit_code == 3
    assert "could not be read: slis/day=" in found.output


def test_an_empty_history_is_undecided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOADGEN_STORE", raising=False)

    found = loadgen("--check")

    assert found.exit_code == 3
    assert "no journey is known" in loadgen().output


def test_what_was_recorded_later_is_ignored(folder: Path) -> None:
    before = document()
    assert states()["checkout"] == "covered"

    later = add_run(9, NOW + DAY, objectives=())
    store_at(NOW + DAY).strike(later, "x")
    first = min(store_at(NOW).referred())
    store_at(NOW + DAY).strike(first, "y")
    store_at(NOW).note(Event("verdict", text_of(NOW + DAY), "ci", (), details={"outcome": "FAIL", "key": KEY.hash()}))
    store_at(NOW + DAY).add_study({"kind": "capacity find", "facts": {"scenario": "shop.py", "plan": "plan"}})
    slices = [Slice("refund", int(NOW.timestamp()) - 600, 300, 0, 10**6, 0, False, "csv")]
    Ledger(place_of("history"), now=lambda: text_of(NOW + DAY)).write("prod", slices)

    assert document() == before


def test_files_have_the_rows(folder: Path) -> None:
    for name in ("html", "csv", "json", "md"):
        assert loadgen(*AS_OF, "-o", f"board.{name}").exit_code == 0

    rows = list(csv.DictReader(io.StringIO((folder / "board.csv").read_text())))
    assert [row["journey"] for row in rows] == ["refund", "checkout", "search"]
    assert rows[1]["share_of_requests"] == str(600 / 900)
    page = (folder / "board.html").read_text()
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "<svg" in page
    assert "| refund |" in (folder / "board.md").read_text()
    assert json.loads((folder / "board.json").read_text()) == document()


def test_several_files_are_written_at_once(folder: Path) -> None:
    done = loadgen(*AS_OF, "-o", "a.html", "-o", "b.csv", "-o", "a.html")

    assert done.stderr == "wrote a.html, b.csv\n"
    assert (folder / "a.html").read_bytes().startswith(b"<!doctype html>")
    assert (folder / "b.csv").read_text().startswith("journey,")
    wrong = loadgen(*AS_OF, "-o", "c.html", "-o", "c.doc", "-o", "missing/d.md")
    assert wrong.exit_code == 2
    assert "unknown kind of file c.doc" in wrong.output
    assert "no folder missing" in wrong.output
    assert not (folder / "c.html").exists()


def test_each_value_of_the_page_has_the_heading_of_its_column_for_the_cards_of_a_telephone(folder: Path) -> None:
    loadgen(*AS_OF, "-o", "board.html")
    page = (folder / "board.html").read_text()

    assert '<td class="text" data-name="owner">shop@shop.example</td>' in page
    assert '<td class="number" data-name="value">' in page
    assert page.split("<h2>By week</h2>")[1].count("data-name") == 0  # it fits as a table


def test_the_same_inputs_give_the_same_bytes(folder: Path) -> None:
    loadgen(*AS_OF, "-o", "a.html")
    loadgen(*AS_OF, "-o", "b.html")

    assert (folder / "a.html").read_bytes() == (folder / "b.html").read_bytes()


def test_a_team_has_only_its_journeys(folder: Path) -> None:
    found = document("--team", "payments")

    assert [row["journey"] for row in found["journeys"]] == ["checkout"]
    assert found["journeys"][0]["share_of_requests"] == 1.0
    wrong = loadgen(*AS_OF, "--team", "payment")
    assert wrong.exit_code == 2
    assert 'did you mean "payments"?' in wrong.output


def test_endpoints_of_the_log_without_a_journey_are_named(folder: Path) -> None:
    (folder / "traffic.json").write_text(json.dumps(TRAFFIC))
    (folder / "api.json").write_text('{"openapi": "3.1.0", "paths": {"/checkout": {"post": {}}, "/old": {"get": {}}}}')

    found = document("--traffic", "traffic.json", "--openapi", "api.json")

    endpoints = [one["says"] for one in found["orphans"] if one["kind"] == "endpoint"]
    assert endpoints == [
        "GET /gifts belongs to no journey (10 requests, 25 % of the log)",
        "GET /old belongs to no journey (no traffic)",
    ]


def test_reviews_of_scenarios_are_marked_as_not_checked_and_break_no_rule(folder: Path) -> None:
    before = loadgen(*AS_OF, "--check")
    (folder / "programme.toml").write_text(f"{PROGRAMME}\n[standard]\nreview = true\n")

    after = loadgen(*AS_OF, "--check")

    assert "note: review is left out: reviews of scenarios cannot be checked yet" in after.output
    assert "review is left out" not in before.output
    assert after.exit_code == before.exit_code
    assert document()["standard"]["not_checked"] == ["review"]


def test_entries_of_traces_without_a_journey_are_named_and_are_no_weights(folder: Path) -> None:
    traces = Path(__file__).parents[1] / "data/traces/traced_shop.jsonl"
    (folder / "api.json").write_text('{"openapi": "3.1.0", "paths": {"/browse": {"get": {}}, "/old": {"get": {}}}}')

    found = document("--traces", str(traces), "--openapi", "api.json")
    without = document()

    assert [one["says"] for one in found["orphans"] if one["kind"] == "endpoint"] == [
        "GET /basket belongs to no journey (in 8 traces)",
        "GET /browse belongs to no journey (in 8 traces)",
        "GET /old belongs to no journey (no traffic)",
    ]
    assert found["journeys"] == without["journeys"]
    missing = loadgen(*AS_OF, "--traces", "none.jsonl")
    assert missing.exit_code == 2
    assert "none.jsonl: no such file or folder" in missing.output


def test_explain_has_the_arithmetic(folder: Path) -> None:
    found = loadgen(*AS_OF, "--explain").output

    assert "checkout: covered; 24000 / 36000 requests = 0.6667, 0.9600 of value" in found
    assert "missing gate: no verdict of the gate" in found
    assert "gate G-1 PASS, 2026-07-25T12:00:00Z" in found


def test_all_wrong_inputs_come_at_once(folder: Path) -> None:
    (folder / "programme.toml").write_text("[standard]\nruns = 0.5\nownr = true\n[decide]\nruns = 0\n")
    (folder / "OWNERS").write_bytes(b"")
    (folder / "slos/refund.yaml").write_text("kind: SLO\n")

    found = loadgen(
        *("--as-of", "monday", "-o", "board.pdf", "--format", "xml"),
        *("--owners", "OWNERS", "--traffic", "none.json", "--openapi", "slos/refund.yaml"),
    )

    assert found.exit_code == 2
    for part in (
        "programme.toml:2",
        "programme.toml:3",
        "programme.toml:5",
        'invalid time "monday"',
        "unknown kind of file board.pdf",
        "--format xml is unknown",
        "OWNERS has no owners",
        "none.json: cannot be read",
        "slos/refund.yaml is not an OpenAPI document",
        "slos/refund.yaml:1",
    ):
        assert part in found.output, part


def test_texts_from_outside_are_harmless(folder: Path) -> None:
    evil = "x\\u001b[2J\\n<script>|[x](http://evil)"
    (folder / "programme.toml").write_text(
        f'[journeys."{evil}"]\nteam = "x"\n[[standard.exceptions]]\njourney = "{evil}"\nrule = "gate"\n'
        f'because = "{evil}"\nby = "{evil}"\nuntil = 2026-12-31\n'
    )
    store_at(NOW).note(Event("verdict", text_of(NOW), "ci", (), details={"outcome": "\x1b[2J", "key": KEY.hash()}))

    for options in ((), ("--check",), ("--explain",), ("--format", "json"), ("-o", "b.html"), ("-o", "b.md")):
        assert "\x1b[2J" not in loadgen(*AS_OF, *options).output
    assert "<script>" not in (folder / "b.html").read_text()
    assert "<script>" not in (folder / "b.md").read_text()
