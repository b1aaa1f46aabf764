"""Composites: the weighted mean of the attainments of an SLO's parts, each of which is judged by itself, too."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadgen.analysis.attainment.attain import Attainment, Judgement
from loadgen.analysis.attainment.slices import CountedBy
from loadgen.programme.composites.attained import composite_state, composite_states
from loadgen.programme.composites.composite import Composite, Part
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice
from loadgen.programme.openslo.read import read_text
from loadgen.programme.openslo.readers import losses_for
from loadgen.programme.openslo.write import as_openslo, openslo_losses
from loadgen.programme.prometheus_rules import prometheus_losses
from loadgen.programme.promises.objectives import Objective, Query, RatioIndicator, RollingWindow
from loadgen.programme.promises.slo_set import Reading
from loadgen.programme.sloth.write import sloth_losses
from loadgen.programme.status import PromiseState, Word
from loadgen.programme.weekly.build_page import build_page
from loadgen.programme.weekly.gather import Gathered
from loadgen_controller import cli

RATIO = (
    "indicator: {spec: {ratioMetric: {counter: true, good: {metricSource: {type: Prometheus, spec: {query: a_total}}},"
    " total: {metricSource: {type: Prometheus, spec: {query: b_total}}}}}}"
)
THRESHOLD = (
    "op: lt, value: 0.3, indicator: {spec: {thresholdMetric: {metricSource: {type: Prometheus, spec: {query: p}}}}}"
)


def file(*parts: str, method: str = "Occurrences", more: str = "") -> str:
    head = (
        "apiVersion: openslo/v1\nkind: SLO\nmetadata: {name: shop, annotations: {loadgen.dev/owner: maria}}\nspec:\n"
        f"  service: shop\n  budgetingMethod: {method}\n  timeWindow: [{{duration: 4w, isRolling: true}}]\n{more}"
        "  objectives:\n"
    )
    return head + "".join(f"    - {{{part}}}\n" for part in parts)


def read(*parts: str, method: str = "Occurrences", more: str = "") -> Reading:
    return read_text(file(*parts, method=method, more=more), "shop.yaml")


SEARCH = f"displayName: Search, target: 0.995, {RATIO}"
CHECKOUT = f"displayName: Checkout, target: 0.999, {RATIO}"
WEIGHTED = (f"{SEARCH}, compositeWeight: 1", f"{CHECKOUT}, compositeWeight: 3")


def test_objectives_with_their_own_indicators_are_a_composite_of_equal_weights() -> None:
    slos = read(SEARCH, CHECKOUT).check()

    assert slos.composites == (Composite("shop", (Part("shop-search"), Part("shop-checkout"))),)
    assert slos.composites[0].shares == (Fraction(1, 2), Fraction(1, 2))
    assert [one.name for one in slos.objectives] == ["shop-checkout", "shop-search"]


def test_weights_are_shares_of_their_sum_and_so_is_the_target() -> None:
    slos = read(*WEIGHTED).check()
    (composite,) = slos.composites
    members = composite.members({one.name: one for one in slos.objectives})

    assert composite.shares == (Fraction(1, 4), Fraction(3, 4))
    assert members is not None
    assert composite.target(members) == Fraction("0.998")


def test_two_targets_for_one_indicator_are_no_composite() -> None:
    assert not read("target: 0.9", "target: 0.99", more=f"  {RATIO}\n").check().composites


@pytest.mark.parametrize(
    ("parts", "method", "line", "says"),
    [
        ((SEARCH, f"{CHECKOUT}, compositeWeight: 0"), "Occurrences", 10, "compositeWeight 0 must be above 0"),
        ((SEARCH, f"{CHECKOUT}, compositeWeight: heavy"), "Occurrences", 10, "is not a decimal number"),
        (
            (f"{SEARCH}, compositeWeight: 2", f"target: 0.99, {THRESHOLD}"),
            "Occurrences",
            10,
            'composite "shop": objectives[1] has a thresholdMetric, and objectives[0] has a ratioMetric',
        ),
        (
            (
                f"{SEARCH}, compositeWeight: 2, timeSliceTarget: 0.9, timeSliceWindow: 5m",
                f"{CHECKOUT}, timeSliceTarget: 0.9, timeSliceWindow: 1m",
            ),
            "Timeslices",
            10,
            "has slices of 1m, and",
        ),
        (
            (f"{SEARCH}, compositeWeight: 2", f"{CHECKOUT}, budgetingMethod: Timeslices"),
            "Occurrences",
            10,
            'budgetingMethod "Timeslices", but the SLO has Occurrences',
        ),
    ],
)
def test_parts_of_mixed_kinds_and_wrong_weights_are_refused_with_file_and_line(
    parts: tuple[str, ...], method: str, line: int, says: str
) -> None:
    (fault,) = read(*parts, method=method).faults
    assert (fault.file, fault.line) == ("shop.yaml", line)
    assert says in fault.message


def test_mixed_parts_without_weights_are_read_as_before_with_a_note() -> None:
    reading = read(SEARCH, f"displayName: Wait, target: 0.99, {THRESHOLD}")

    assert not reading.check().composites
    assert any('"shop" is not judged as a composite' in note.message for note in reading.notes)


def test_a_weight_of_a_single_objective_is_a_note() -> None:
    reading = read(f"{SEARCH}, compositeWeight: 2")
    assert not reading.check().composites
    assert any("has no effect on a single objective" in note.message for note in reading.notes)


@pytest.mark.parametrize("parts", [WEIGHTED, (SEARCH, CHECKOUT), (f"target: 0.9, {RATIO}",) * 12])
def test_a_composite_is_one_slo_in_an_export_and_read_back_equal(parts: tuple[str, ...]) -> None:
    slos = read(*parts).check()
    text = as_openslo(slos)

    assert text.count("kind: SLO") == 1
    assert text.count("compositeWeight") == len(parts)
    again = read_text(text, "export.yaml").check()
    assert again == slos
    assert as_openslo(again) == text
    assert not [loss for loss in openslo_losses(slos) if "composite" in str(loss)]


def test_parts_that_one_slo_cannot_hold_are_written_by_themselves_with_a_loss() -> None:
    slos = read(*WEIGHTED).check()
    moved = replace(slos, objectives=(replace(slos.objectives[0], service="other"), slos.objectives[1]))

    assert as_openslo(moved).count("kind: SLO") == 2
    assert any("each part is written as an SLO of its own" in str(loss) for loss in openslo_losses(moved))


def test_files_without_composites_name_them_as_lost() -> None:
    slos = read(*WEIGHTED).check()
    for losses in (sloth_losses(slos), prometheus_losses(slos), losses_for("dash0", slos)):
        assert any(one.objective == "shop" and "composite" in one.field for one in losses)


# -- attainment -----------------------------------------------------------------------------------


def state(
    name: str, good: float, of: float, target: str = "0.99", *, unseen: float = 0.0, word: Word = "kept", end: int = 100
) -> PromiseState:
    """A part with counts. unseen: requests that are missing, as good in the upper bound and bad in the lower one."""
    objective = Objective(
        name, "shop", Decimal(target), RollingWindow(28 * 86_400), RatioIndicator(Query(), Query()), owner="maria"
    )
    if not of:
        return PromiseState(objective, word)
    observed = Attainment(CountedBy.OCCURRENCES, good, of, 0, False)
    lower, upper = good / (of + unseen), (good + unseen) / (of + unseen)
    judgement = Judgement(word, observed, lower, upper, 0.0, None, None, ())  # type: ignore[arg-type]
    return PromiseState(objective, word, "", 0, end, judgement)


def composite(*weights: str) -> Composite:
    return Composite("shop", tuple(Part(f"p{n}", Decimal(weight)) for n, weight in enumerate(weights)))


def test_the_largest_service_does_not_hide_the_smallest() -> None:
    large, small = state("p0", 1_000_000, 1_000_000), state("p1", 50, 100, word="not kept")

    found = composite_state(composite("1", "1"), (large, small))

    assert found.ratio == Fraction(3, 4)  # pooled events would read 99.995 %
    assert found.word == "not kept"
    assert found.says == "not kept: 75.0 % against 99 %: 1/2 · 100.0 % of p0 + 1/2 · 50.0 % of p1"


def test_weights_multiply_the_ratios() -> None:
    found = composite_state(composite("3", "1"), (state("p0", 999, 1000, "0.999"), state("p1", 980, 1000, "0.95")))

    assert found.ratio == pytest.approx(0.75 * 0.999 + 0.25 * 0.98)
    assert found.target == Fraction("0.98675")
    assert (found.word, found.attainment) == ("kept", "99.42 %")


def test_a_composite_can_be_kept_although_a_part_is_not() -> None:
    parts = state("p0", 1000, 1000, "0.99"), state("p1", 985, 1000, "0.99", word="not kept")
    assert composite_state(composite("1", "1"), parts).word == "kept"


def test_missing_data_of_a_part_become_bounds_of_the_composite() -> None:
    parts = state("p0", 990, 1000), state("p1", 980, 1000, unseen=1000, word="undecided")

    found = composite_state(composite("1", "3"), parts)

    assert found.lower == pytest.approx(0.25 * 0.99 + 0.75 * 0.49)
    assert found.upper == pytest.approx(0.25 * 0.99 + 0.75 * 0.99)
    assert found.word == "undecided"
    assert "at least 61.5 %, at most 99.0 %" in found.says


def test_parts_that_just_reach_their_targets_keep_the_composite() -> None:
    for weights in (("1", "1", "1"), ("0.1", "0.2", "0.7"), ("3", "7", "11")):
        parts = tuple(state(f"p{n}", 990, 1000, "0.99") for n in range(3))
        assert composite_state(composite(*weights), parts).word == "kept"


def test_a_part_without_data_or_traffic_leaves_the_composite_without_an_attainment() -> None:
    for word in ("no data", "no traffic"):
        found = composite_state(composite("1", "1"), (state("p0", 9, 10), state("p1", 0, 0, word=word)))
        assert (found.word, found.ratio, found.why) == (word, None, f"p1 has {word}")


def test_parts_that_end_at_different_times_are_named() -> None:
    found = composite_state(composite("1", "1"), (state("p0", 9, 10, end=0), state("p1", 9, 10, end=300)))
    assert found.note == "its parts end at 1970-01-01 00:00 UTC and 1970-01-01 00:05 UTC"


def test_a_composite_of_which_a_part_is_not_read_is_left_out() -> None:
    assert not list(composite_states([composite("1", "1")], [state("p0", 9, 10)]))


# -- where it is shown ----------------------------------------------------------------------------


def test_status_shows_the_composite_below_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slos").mkdir()
    (tmp_path / "slos" / "shop.yaml").write_text(file(*WEIGHTED))
    at = int(datetime(2026, 7, 20, tzinfo=UTC).timestamp())
    parts = (("shop-search", 990), ("shop-checkout", 1000))
    slices = [Slice(name, at + 300 * n, 300, good, 1000) for name, good in parts for n in range(12)]
    Ledger.open(str(tmp_path / "history")).write("prod", slices)

    def run(*more: str) -> str:
        given = ["slo", "status", "--as-of", "2099-01-01T00:00Z", *more]
        return CliRunner().invoke(cli.app, given, env={"COLUMNS": "400"}).stdout

    assert "composite shop: no data: shop-search has no data, shop-checkout has no data" in run()
    found = json.loads(run("--format", "json"))["composites"]
    assert [(one["composite"], one["state"], one["target"]) for one in found] == [("shop", "no data", 0.998)]
    assert found[0]["parts"] == [{"slo": "shop-search", "share": 0.25}, {"slo": "shop-checkout", "share": 0.75}]


def test_check_shows_the_sum_and_the_target(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(file(*WEIGHTED))
    done = CliRunner().invoke(cli.app, ["slo", "check", str(path)], env={"COLUMNS": "400"})
    assert "composite shop: 1/4 of shop-search + 3/4 of shop-checkout; target 99.8 %" in done.stdout


def test_the_weekly_page_has_the_composite_with_the_evidence_of_each_part(gathered: Gathered) -> None:
    names = [one.objective.name for one in gathered.promises if one.state.judgement is not None][:2]
    both = Composite("journey", tuple(Part(name) for name in names))

    page = build_page(replace(gathered, composites=(both,)))

    (section,) = (one for one in page.sections if one.title == "Composites")
    (said,) = section.items
    assert said.text.startswith("journey: ")
    assert all("1/2 · " in said.text and name in said.text for name in names)
    rows = {row.slo: row for row in page.rows}
    assert {id_ for name in names for id_ in rows[name].kept.evidence} < set(said.evidence)
    assert set(said.evidence) <= {one.id for one in page.evidence}
    assert "Composites" not in [one.title for one in build_page(gathered).sections]
