"""How a run stands in its history: the gate's figures, in words, as JSON, drawn; how seldom chance is called more."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from math import inf, isnan

import pytest

from loadgen.history.gate.evaluate_gate import decide
from loadgen.history.gate.gate_result import Begin
from loadgen.history.run_vs_history.page import section
from loadgen.history.run_vs_history.position import ORDER, Standings, standings
from loadgen.history.run_vs_history.text import document_of, sentences
from loadgen.history.store.stored_run import Accepted, Reference
from tests.support.accepted import accepted, history

SHOP = {"checkout": 100.0, "checkout > pay": 40.0, "checkout > pay > POST /pay": 39.0}
GATE = "loadgen gate last"
PAST = history(20, SHOP, sd=0.01)


def new(p95: dict[str, float], **more: object) -> Accepted:
    how = {"run_id": "20261120-120000-shop-ffff", "started_at": "2026-11-20T12:00:00Z"} | more
    return accepted(p95, **how)  # type: ignore[arg-type]


def held(run: Accepted, past: list[Accepted] = PAST, **more: object) -> Standings:
    found = standings(past, run, **more)  # type: ignore[arg-type]
    assert found is not None
    return found


def said(found: Standings) -> str:
    return "\n".join(sentences(found, GATE))


def test_a_slower_name_is_above_and_the_others_cannot_be_told() -> None:
    found = held(new(SHOP | {"checkout > pay": 44.0}))
    (pay,) = (row for row in found.rows if row.name == "checkout > pay" and row.percentile == "p95")
    assert pay.is_clear
    assert 0.06 < pay.effect.low < pay.effect.change < pay.effect.high < 0.14
    first, second, third, last = sentences(found, GATE)
    assert re.fullmatch(
        r"p95 of checkout > pay is (9|10)\.\d % \(95 %: \d+\.\d to 1\d\.\d %\) above 20 accepted runs\.", first
    )
    assert re.match(r"p95 of checkout shows no clear difference from 20 accepted runs: [+-]?\d\.\d % \(95 %: -", second)
    assert third == "p95 of the other name shows no clear difference from the accepted runs."
    assert last == "A single run decides nothing. To judge whether this is a regression: loadgen gate last"


def test_figures_are_the_gates_at_every_percentile() -> None:
    run = new(SHOP | {"checkout": 108.0})
    decision = decide(PAST, [run])
    of_gate = {f"p95 of {one.name}": one for one in decision.compared} | {one.name: one for one in decision.secondary}
    found = held(run)
    assert {f"{row.percentile} of {row.name}" for row in found.rows} == of_gate.keys()
    for row in found.rows:
        one = of_gate[f"{row.percentile} of {row.name}"]
        assert (row.effect.change, row.effect.low, row.effect.high) == (one.change, one.low, one.high)
    assert [row.percentile for row in found.rows] == [name for name in ORDER for _ in SHOP]


def test_a_difference_that_is_clear_only_by_itself_may_be_chance() -> None:
    alone = held(new({"checkout": 102.0}), history(20, {"checkout": 100.0}, sd=0.01))
    assert all(row.is_clear for row in alone.rows)
    many = {"checkout": 100.0} | {f"name {n}": 100.0 for n in range(30)}
    text = said(held(new(many | {"checkout": 102.0}), history(20, many, sd=0.01)))
    first = r"p95 of checkout is \d\.\d % \(95 %: 0\.\d to \d\.\d %\) above 20 accepted runs"
    assert re.match(rf"{first}, which may be chance among this many names\.", text)


def test_a_faster_name_is_below() -> None:
    assert re.search(
        r"p95 of checkout is (9|10)\.\d % \(95 %: [89]\.\d to 1\d\.\d %\) below 20 accepted runs",
        said(held(new(SHOP | {"checkout": 90}))),
    )


def test_a_tail_that_alone_is_longer_has_its_sentence() -> None:
    run = new(SHOP, others={"p99": {"checkout": 220.0}})
    assert re.search(r"^p99 of checkout is 4\d\.\d % .* above", said(held(run)), re.MULTILINE)


def test_where_the_level_changed_only_runs_since_then_count_and_it_says_so() -> None:
    past = [*history(15, SHOP, sd=0.01), *history(10, {n: v * 1.1 for n, v in SHOP.items()}, sd=0.01, first=15, seed=2)]
    text = said(held(new({n: v * 1.1 for n, v in SHOP.items()}), past))
    assert re.search(
        rf"from 10 accepted runs: .*; these runs begin with {past[15].run_id}, where the level changed by \+",
        text,
    )


def test_a_level_that_was_accepted_anew_begins_there() -> None:
    begin = Begin(PAST[12].run_id, "2026-11-02T00:00:00Z", frozenset({"checkout"}))
    found = held(new(SHOP), begins=[begin])
    since = {row.name: row.since for row in found.rows if row.percentile == "p95"}
    assert since == {"checkout": PAST[12].run_id, "checkout > pay": "", "checkout > pay > POST /pay": ""}


def test_a_pinned_release_is_compared_with_too() -> None:
    old = history(3, {n: v * 0.9 for n, v in SHOP.items()}, sd=0.005, seed=3)
    found = held(new(SHOP), references=[(Reference("1.4", ("a",), "2026-10-01T00:00:00Z"), old)])
    assert re.search(r"; compared with 1\.4 it is \+1\d\.\d % \(95 %: ", said(found))
    assert [name for name, _ in found.rows[0].against] == ["1.4"]


def test_only_fit_runs_from_before_it_count_and_the_run_itself_does_not() -> None:
    run = replace(PAST[12], run_id=PAST[12].run_id)
    unfit = [replace(one, validity="invalid") if n == 3 else one for n, one in enumerate(PAST)]
    found = held(run, unfit)
    assert [one.run_id for one in found.history] == [one.run_id for n, one in enumerate(PAST) if n < 12 and n != 3]
    assert standings(PAST, PAST[1]) is None
    assert standings([], run) is None


def test_a_run_that_was_not_fit_is_held_against_nothing_and_says_why() -> None:
    found = held(new(SHOP, result="invalid", validity="invalid", reasons=("generator lag",)))
    (why,) = sentences(found, GATE)
    assert why.startswith("This run cannot be compared with the 20 accepted runs before it: the generator was not fit")
    assert "generator lag" in section(found, GATE)
    assert "<svg" not in section(found, GATE)


def test_names_that_one_side_alone_has_are_named() -> None:
    run = new({"checkout": 100.0, "checkout > pay": 40.0, "refund": 10.0})
    text = said(held(run))
    assert "Missing in this run, but present in most accepted runs: checkout > pay > POST /pay." in text
    assert "New in this run, and in none of the accepted runs: refund." in text


def test_a_percentile_of_which_only_a_bound_is_known_has_no_row() -> None:
    found = held(new(SHOP | {"checkout": inf}))
    assert not [row for row in found.rows if row.name == "checkout"]
    assert found.rows


def test_runs_that_are_all_the_same_and_two_alone_give_finite_figures_or_none() -> None:
    same = [replace(one, figures=PAST[0].figures) for one in PAST]
    for past in (same, PAST[:2]):
        for row in held(new(SHOP), past).rows:
            assert not isnan(row.effect.change)
            assert row.effect.low <= row.effect.change <= row.effect.high


def test_of_runs_in_which_nothing_changed_few_are_called_above_or_below() -> None:
    cried = 0
    for seed in range(60):
        runs = history(21, {f"name {n}": 100.0 for n in range(8)}, sd=0.02, seed=1000 + seed)
        found = held(runs[-1], runs[:-1])
        cried += any(row.is_clear for row in found.rows if row.percentile == "p95")
    assert cried <= 8  # binomial, 60 at 5 %: 8 or fewer in 99.6 of 100


# -- JSON and page --------------------------------------------------------------------------------


def test_json_has_the_sentences_the_figures_and_the_runs() -> None:
    found = held(new(SHOP | {"checkout > pay": 44.0}))
    document = document_of(found, GATE)
    assert document["sentences"] == list(sentences(found, GATE))
    assert document["runs"] == [run.run_id for run in PAST]
    names = document["names"]
    assert isinstance(names, list)
    assert len(names) == 9
    assert {"name", "percentile", "ms", "change", "low", "high", "runs", "is_clear", "since", "against"} <= names[
        0
    ].keys()


def test_each_name_is_drawn_at_each_percentile_with_the_new_run_marked() -> None:
    text = section(held(new(SHOP | {"checkout > pay": 44.0})), GATE)
    assert text.count("<svg") == 9
    assert text.count('class="new"') == 9
    assert text.index("<h3>checkout &gt; pay</h3>") < text.index("<h3>checkout</h3>")
    assert text.count('<span class="slower">+') == 6  # three captions, three rows


def test_names_and_labels_are_no_markup() -> None:
    sharp = '<b onclick="x">&amp;'
    past = history(20, {sharp: 40.0}, sd=0.01, labels={sharp: sharp})
    reference = Reference(sharp, ("a",), "2026-10-01T00:00:00Z")
    run = new({sharp: 48.0}, labels={sharp: sharp})
    text = section(held(run, past, references=[(reference, past[:3])]), f"loadgen gate {sharp}")
    seen = Tags()
    seen.feed(text)
    assert "b" not in seen.names
    assert not {name for name in seen.attributes if name.startswith("on") or name == "style"}


def test_of_many_names_and_runs_a_section_stays_small() -> None:
    past = history(100, {f"checkout > step {n} > GET /a/long/path/of/item/{n}": 100.0 for n in range(60)}, sd=0.02)
    run = new({f"checkout > step {n} > GET /a/long/path/of/item/{n}": 100.0 + n for n in range(60)})
    text = section(held(run, past), GATE)
    assert len(text) < 250_000
    assert text.count("<svg") == 36


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_plots_need_no_more_than_their_markup() -> None:
    assert "http" not in section(held(new(SHOP)), GATE)


@pytest.mark.parametrize("count", [21, 40])
def test_long_histories_are_drawn_whole(count: int) -> None:
    found = held(new(SHOP), history(count, SHOP, sd=0.01))
    (path,) = re.findall(r'class="dots" d="([^"]+)"', section(found, GATE))[:1]
    assert path.count("M") >= count - 2  # but outliers
