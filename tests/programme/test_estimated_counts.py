"""Estimated counts from the source to the pages: settings, the ledger, verdicts, sentences and evidence."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from loadgen.errors import ExitCode, ScenarioError
from loadgen.history.store.store import Store
from loadgen.history.store.write_once_storage import place_of
from loadgen.parquet import about
from loadgen.programme.estimates.sentences import undecided_text
from loadgen.programme.estimates.stated_error import with_stated_error
from loadgen.programme.evidence.recompute import Recomputer
from loadgen.programme.evidence.slices_entry import slices_entry
from loadgen.programme.gathering.promises import promises_of
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.ledger_file import CountErrors
from loadgen.programme.ledger.slices import Slice
from loadgen.programme.pages.weekly_html import weekly_html
from loadgen.programme.promises.objectives import Method, Objective, Query, RatioIndicator, RollingWindow
from loadgen.programme.pulling.pull import Job, Planned, job_of, pulled
from loadgen.programme.pulling.source_settings import Source, read_sources
from loadgen.programme.recommending.facts import Rules
from loadgen.programme.recommending.promise import promise_row
from loadgen.programme.sources.asked import Asked, Pulled
from loadgen.programme.status import PromiseState, state_of
from loadgen.programme.weekly.as_csv import as_csv
from loadgen.programme.weekly.as_json import as_document
from loadgen.programme.weekly.as_markdown import as_markdown
from loadgen.programme.weekly.build_page import build_page
from loadgen.programme.weekly.gather import Gathered
from loadgen.programme.weekly.page_values import WeeklyPage
from loadgen_controller import cli

START = 1_784_505_600
"""2026-07-20, 0 h UTC."""
DAY = 288
PROMISE = Objective(
    "a",
    "shop",
    Decimal("0.99"),
    RollingWindow(86_400),
    RatioIndicator(Query(spec_json='{"query": "all_total"}'), Query(spec_json='{"query": "good_total"}')),
    journey="checkout",
    source="prod",
)


FILE = """apiVersion: openslo/v1
kind: SLO
metadata: {name: a, annotations: {loadgen.dev/source: prod}}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{duration: 1d, isRolling: true}]
  objectives: [{target: 0.99}]
  indicator:
    metadata: {name: ratio}
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {type: Prometheus, spec: {query: good_total}}}
        total: {metricSource: {type: Prometheus, spec: {query: all_total}}}
"""


def made(n: int, good: int = 991, **changes: object) -> Slice:
    fields: dict[str, object] = {"estimated": True, "bounds": (good, good), "kept_ppm": 100_000} | changes
    return Slice("a", START + 300 * n, 300, good, 1000, **fields)  # type: ignore[arg-type]


def state(tmp_path: Path, slices: list[Slice], one: Objective = PROMISE) -> PromiseState:
    ledger = Ledger.open(str(tmp_path))
    ledger.write("prod", slices)
    return state_of(one, ledger.read(START, START + 86_400).by_slo["a"], (), START + 86_400)


# -- settings ---------------------------------------------------------------------------------------


def test_a_source_states_its_sampling_its_error_and_its_resolution(tmp_path: Path) -> None:
    path = tmp_path / "programme.toml"
    path.write_text(
        '[sources.aws]\nkind = "cloudwatch"\nsampled = "12.5 %"\nresolution = "20 %"\n'
        '[sources.till]\nkind = "csv"\nfile = "a.csv"\nerror = "0.2 %"\n'
    )

    found = read_sources(path)

    assert (found["aws"].kept_ppm, found["aws"].resolution, found["aws"].error) == (125_000, 0.2, None)
    assert (found["till"].kept_ppm, found["till"].error) == (1_000_000, 0.002)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('sampled = "0 %"', "sampled: not a part such as 10 %"),
        ('sampled = "120 %"', "sampled: not a part such as 10 %"),
        ("error = 3", "error: not a part such as 0.2 %"),
        ('resolution = "10 %"', "unknown key 'resolution'"),
    ],
)
def test_an_invalid_part_is_named(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "programme.toml"
    path.write_text(f'[sources.till]\nkind = "csv"\nfile = "a.csv"\n{line}\n')

    with pytest.raises(ScenarioError, match=why):
        read_sources(path)


def test_the_stated_error_is_stored_with_each_slice_that_has_counts() -> None:
    whole, fraction = Slice("a", 0, 300, 990, 1000), Slice("a", 300, 300, 990, 1000, estimated=True)
    missing, bracketed = Slice("a", 600, 300, 0, 0, 300), Slice("a", 900, 300, 990, 1000, 0, True, "", (980, 991))
    slices = [whole, fraction, missing, bracketed]

    sampled = with_stated_error(slices, Source("s", "csv", kept_ppm=100_000))
    stated = with_stated_error(slices, Source("s", "csv", error=0.002))

    assert with_stated_error(slices, Source("s", "csv")) == slices
    assert [one.kept_ppm for one in sampled] == [100_000, 100_000, 1_000_000, 100_000]
    assert [one.bounds for one in sampled] == [(990, 990), (990, 990), None, (980, 991)]
    assert [one.bounds for one in stated] == [(988, 992), (988, 992), None, (980, 992)]
    assert [one.estimated for one in stated] == [True, True, False, True]


# -- the ledger -------------------------------------------------------------------------------------


def test_the_ledger_keeps_the_error_of_each_slice(tmp_path: Path) -> None:
    slices = [made(0), made(1, bounds=(980, 995)), made(2, bounds=None), Slice("a", START + 900, 300, 5, 6)]
    ledger = Ledger.open(str(tmp_path))
    ledger.write("prod", slices)

    reading = ledger.read(START, START + 86_400)

    assert reading.slices("a") == slices
    assert ledger.write("prod", slices) == ()
    assert list(reading.by_slo["a"].stated.low) == [991, 980, 0, 5]


def test_a_file_without_errors_has_the_format_that_older_versions_read(tmp_path: Path) -> None:
    ledger = Ledger.open(str(tmp_path))
    ledger.write("exact", [Slice("a", START, 300, 5, 6), Slice("b", START, 300, 5, 6, estimated=True)])
    ledger.write("vague", [made(1)])

    formats = {path.stem: json.loads(about(path.read_bytes())[8:])["format"] for path in tmp_path.rglob("*.parquet")}
    both = ledger.read(START, START + 86_400)

    assert formats == {"exact-1": 1, "vague-1": 2}
    assert [one.kept_ppm for one in both.slices("a")] == [1_000_000, 100_000]
    assert [(one.low, one.high, one.bounds) for one in both.slices("b")] == [(0, 6, None)]


def test_slices_that_were_stored_without_their_error_are_read_again_once_it_is_stated(tmp_path: Path) -> None:
    ledger = Ledger.open(str(tmp_path))
    vague = [replace(made(n, bounds=None), kept_ppm=1_000_000) for n in range(DAY)]
    ledger.write("prod", vague)
    times = (START, START + 86_400, START + 10 * 86_400)

    def unsettled(**stated: object) -> int:
        source = Source("prod", "prometheus", url="http://127.0.0.1:9", **stated)  # type: ignore[arg-type]
        known = ledger.read(START, START + 86_400).by_slo["a"]
        return job_of(PROMISE, {"prod": source}, (), known, times).unsettled

    assert (unsettled(), unsettled(kept_ppm=100_000), unsettled(error=0.01)) == (0, DAY, DAY)
    ledger.write("prod", [made(n, kept_ppm=200_000) for n in range(DAY)])
    assert unsettled(kept_ppm=100_000) == 0  # the share may have changed since


def test_a_pull_names_slices_whose_error_is_unknown(tmp_path: Path) -> None:
    class Fractions:
        def pull(self, asked: Asked) -> Pulled:
            return Pulled((made(0, bounds=None, kept_ppm=10**6), made(1, bounds=(985, 995), kept_ppm=10**6)))

        def close(self) -> None:
            pass

    def notes(**stated: object) -> tuple[str, ...]:
        source = Source("prod", "prometheus", **stated)  # type: ignore[arg-type]
        plan = Planned(START, START + 600, (Job("a", source, (Asked("a", "x", "y", "", START, START + 600, 300),)),))
        ((done,), _) = pulled(plan, Ledger.open(str(tmp_path)), lambda _: Fractions())
        return done.notes

    assert notes() == (
        '1 slice estimated with an unknown error: write sampled = "10 %" or error = "0.2 %" at the source',
    )
    assert notes(error=0.002) == ()


# -- verdicts and sentences -------------------------------------------------------------------------


def test_a_sampled_promise_near_its_target_is_undecided_with_the_part_that_would_settle_it(tmp_path: Path) -> None:
    found = state(tmp_path, [made(n, 991 - (n % 2)) for n in range(DAY)])

    assert found.word == "undecided"
    # 2,736 of 288,000 are bad, 273.6 of the sample: its standard error is 5.7 %, and 1.96 of them are 0.1 % of all.
    assert found.figure == "99.0 % (estimate, 98.9 to 99.2 %)"
    assert undecided_text(found) == "the source samples only 10.0 % of the requests: a sample of 36 % would be enough"


def test_the_part_that_would_settle_a_promise_does_settle_it(tmp_path: Path) -> None:
    words = [
        state(tmp_path / str(kept), [made(n, 991 - (n % 2), kept_ppm=kept) for n in range(DAY)]).word
        for kept in (350_000, 360_000)
    ]

    assert words == ["undecided", "kept"]


def test_bounds_that_contain_the_target_are_named(tmp_path: Path) -> None:
    found = state(tmp_path, [made(n, bounds=(985, 995), kept_ppm=1_000_000) for n in range(DAY)])

    assert found.figure == "99.1 % (estimate, 98.5 to 99.5 %)"
    assert undecided_text(found).startswith("the target lies between the bounds of the interpolated counts")
    assert found.budget_left == (-0.5, 0.5)


def test_an_unknown_error_is_stated_and_leaves_the_promise_undecided(tmp_path: Path) -> None:
    found = state(tmp_path, [made(n, bounds=None, kept_ppm=1_000_000) for n in range(DAY)])

    assert found.figure == "99.1 % (estimate, 0.0 to 100.0 %)"
    assert undecided_text(found).startswith("nothing is known about the error of 288,000 requests")
    assert 'into programme.toml, for example sampled = "10 %" or error = "0.2 %"' in undecided_text(found)


def test_missing_time_and_estimates_are_named_together(tmp_path: Path) -> None:
    found = state(tmp_path, [made(n, bounds=(985, 995), kept_ppm=1_000_000) for n in range(DAY) if n != 100])

    assert undecided_text(found).startswith(
        "5 minutes have no counts; the target lies between the bounds of the interpolated counts"
    )


def test_slices_of_a_promise_add_up_the_errors_of_those_in_the_ledger(tmp_path: Path) -> None:
    one = replace(PROMISE, method=Method.TIMESLICES, slice_s=600, slice_target=Decimal("0.99"))

    # Alone, each second slice of 5 minutes may be bad.
    pair = ((991, (985, 995)), (996, (995, 997)))
    slices = [made(n, pair[n % 2][0], bounds=pair[n % 2][1], kept_ppm=10**6) for n in range(DAY)]

    found = state(tmp_path, slices, one)

    assert found.judgement is not None
    assert (found.judgement.observed.low, found.judgement.observed.high) == (1.0, 1.0)


def test_evidence_has_the_interval_and_that_of_exact_counts_is_unchanged(tmp_path: Path) -> None:
    vague = slices_entry(state(tmp_path / "v", [made(n) for n in range(DAY)]), ["x"], "")
    exact = slices_entry(state(tmp_path / "e", [Slice("a", START + 300 * n, 300, 9, 9) for n in range(DAY)]), ["x"], "")

    assert "(estimate, 98.9 to 99.3 %, by the error of its counts)" in vague.formula
    assert {"low", "high"} <= dict(vague.inputs).keys()
    assert not {"low", "high"} & dict(exact.inputs).keys()


@pytest.mark.parametrize(("changed", "state"), [({}, "same"), ({"low": "0.98"}, "differs")])
def test_the_interval_of_interpolated_counts_is_computed_again(
    tmp_path: Path, changed: dict[str, str], state: str
) -> None:
    found = state_of_interpolated(tmp_path)
    entry = slices_entry(found, ["2026-07-20/prod-1"], "")
    inputs = tuple((dict(entry.inputs) | changed).items())
    place = place_of(str(tmp_path))

    again = Recomputer(place, Store(place)).again(replace(entry, inputs=inputs))

    assert again.state == state, again.says


def state_of_interpolated(tmp_path: Path) -> PromiseState:
    return state(tmp_path, [made(n, bounds=(985, 995), kept_ppm=10**6) for n in range(DAY)])


def test_status_shows_the_interval_what_settles_it_and_exits_with_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slos").mkdir()
    (tmp_path / "slos/a.yaml").write_text(FILE)
    end = int(time.time()) // 300 * 300
    slices = [Slice("a", end - 300 * n, 300, 991, 1000, 0, True, "", (985, 995)) for n in range(1, 2 * DAY)]
    Ledger.open("history").write("prod", slices)

    shown = CliRunner().invoke(cli.app, ["slo", "status", "--explain"], env={"COLUMNS": "400"})
    (one,) = json.loads(CliRunner().invoke(cli.app, ["slo", "status", "--format", "json"]).stdout)["promises"]

    assert shown.exit_code == ExitCode.INCOMPLETE, shown.output
    assert "a: undecided: 99.1 % (estimate, 98.5 to 99.5 %) against 99 %, 1d to" in shown.output
    assert "a counter with a bucket at the threshold would settle it" in shown.output
    assert "error budget left: 10 % (-50 to 50 %)" in shown.output
    assert "estimate, 98.5 to 99.5 %: the bounds of interpolated counts" in shown.output
    assert (one["estimate_low"], one["estimate_high"]) == (0.985, 0.995)
    assert one["undecided_because"].startswith("the target lies between the bounds of the interpolated counts")


def test_a_promise_that_its_estimate_leaves_open_is_no_go_and_no_pull_settles_it(tmp_path: Path) -> None:
    Ledger.open(str(tmp_path)).write("prod", [made(n, bounds=(985, 995), kept_ppm=10**6) for n in range(DAY)])
    now = datetime.fromtimestamp(START + 86_400, UTC)

    facts = promises_of(place_of(str(tmp_path)), [PROMISE], ["checkout"], now)
    row, missing = promise_row("checkout", facts.promises["checkout"], Rules(), "", now)

    assert row.state == "open"
    assert "99.1 % (estimate, 98.5 to 99.5 %) against 99 %" in row.says
    assert "a counter with a bucket at the threshold would settle it" in row.says
    assert [one.command for one in missing] == ["loadgen slo status --explain"]


def test_a_policy_for_the_budget_needs_the_least_that_may_be_left(tmp_path: Path) -> None:
    Ledger.open(str(tmp_path)).write("prod", [made(n, 995, bounds=(992, 996), kept_ppm=10**6) for n in range(DAY)])
    now = datetime.fromtimestamp(START + 86_400, UTC)

    (fact,) = promises_of(place_of(str(tmp_path)), [PROMISE], ["checkout"], now).promises["checkout"]

    assert fact.word == "kept"
    assert fact.left == pytest.approx(0.2)
    assert promise_row("checkout", [fact], Rules(budget_left=0.3), "", now)[0].state == "open"
    assert promise_row("checkout", [fact], Rules(budget_left=0.2), "", now)[0].state == "go"


# -- the weekly page --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def estimated(gathered: Gathered) -> WeeklyPage:
    """The page of a week in which the counts of one journey are interpolated, with bounds that contain its target."""
    (one,) = (one for one in gathered.promises if one.journey == "cart")
    assert one.counts is not None
    off = one.counts.total // 50
    errors = CountErrors(
        np.maximum(one.counts.good - off, 0),
        np.minimum(one.counts.good + off, one.counts.total),
        np.full(len(one.counts), 10**6),
    )
    counts = replace(one.counts, estimated=one.counts.total > 0, errors=errors)
    changed = replace(one, counts=counts, state=state_of(one.objective, counts, (), gathered.at))
    return build_page(replace(gathered, promises=(changed,), settings=gathered.settings))


def test_a_page_shows_the_interval_of_an_estimate_and_what_would_settle_it(estimated: WeeklyPage) -> None:
    (row,) = estimated.rows
    texts = [one.text for section in estimated.sections for one in section.items]

    assert row.kept.text.startswith("undecided, 99.")
    assert "(estimate, 9" in row.kept.text
    assert row.kept.low is not None
    assert row.kept.high is not None
    assert row.kept.low < float(row.kept.value or 0) < row.kept.high
    assert row.budget_left.low is not None
    assert row.budget_left.tone == "open"
    assert any("a counter with a bucket at the threshold would settle it" in text for text in texts)
    assert any("each is shown with the interval of its error" in text for text in texts)
    assert "the error of estimated counts is too large" in estimated.sentences[0].text


def test_the_interval_is_in_each_format(estimated: WeeklyPage) -> None:
    (row,) = estimated.rows
    shown = row.kept.text.split("(", 1)[1].split(")")[0]

    assert shown.startswith("estimate, ")
    assert shown in as_markdown(estimated).decode()
    assert shown in as_csv(estimated).decode()
    assert shown in weekly_html(estimated).decode()
    (document,) = as_document(estimated)["rows"]
    assert document["cells"]["kept"]["low"] == row.kept.low
    assert document["cells"]["kept"]["evidence"]
