"""Each rule of repair, alone and switched off; and what every repaired tree has in common."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from loadgen.traces import repair
from loadgen.traces.model import RULES, Rule, Span, Trace, Tree
from loadgen.traces.repair import FOLDED, Refused, repaired
from tests.support.made_spans import own_times, span, trace


def without(*rules: Rule) -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES if rule not in rules)


def made(*spans: Span, ours: tuple[str, ...] = (), rules: tuple[Rule, ...] = RULES) -> Tree:
    result = repaired(trace(*spans), ours, rules=rules)
    assert isinstance(result, Tree), result
    return result


def refused(*spans: Span, rules: tuple[Rule, ...] = RULES) -> Refused:
    result = repaired(trace(*spans), rules=rules)
    assert isinstance(result, Refused)
    return result


def test_a_sound_trace_stays_as_it_is() -> None:
    root, child = span("A", 0, 100), span("B", 10, 50, "A")
    result = made(root, child)
    assert result.root is root
    assert result.spans == {"A": root, "B": child}
    assert result.children == {"A": (child,)}
    assert result.is_complete
    assert (result.outside_ns, result.repaired) == (0, {})


def test_a_trace_without_spans_is_refused() -> None:
    assert refused() == Refused("a" * 32, "the trace has no spans")


def test_of_the_same_span_twice_the_longer_one_stays() -> None:
    spans = span("A", 0, 100), span("B", 10, 20, "A"), span("B", 10, 60, "A"), span("B", 10, None, "A")
    result = made(*spans)
    assert result.spans["B"].end_ns == 60
    assert result.repaired == {"same span twice": 2}


def test_without_this_rule_both_stay() -> None:
    result = made(span("A", 0, 100), span("B", 10, 20, "A"), span("B", 30, 60, "A"), rules=without("same span twice"))
    assert sorted(one.end_ns or 0 for one in result.spans.values()) == [20, 60, 100]
    assert result.repaired == {}


def test_an_id_that_client_and_server_share_is_split_and_the_server_keeps_the_children() -> None:
    # Zipkin: the server continues the client's span under the same id.
    spans = (
        span("A", 0, 100, service="shop", kind="server"),
        span("B", 10, 90, "A", service="shop", kind="client"),
        span("B", 20, 80, "A", service="stock", kind="server"),
        span("C", 30, 70, "B", service="stock"),
        span("D", 11, 12, "B", service="shop"),
    )
    result = made(*spans)
    assert result.repaired == {"shared id split": 1}
    assert own_times(result) == {"shop: do": 20 + 20, "stock: do": 20 + 40}
    assert [one.parent for one in result.spans.values() if one.id == "C"] == ["B.server"]
    assert [one.parent for one in result.spans.values() if one.id == "D"] == ["B"]


def test_without_this_rule_the_longer_of_the_two_stays() -> None:
    result = made(
        span("A", 0, 100), span("A", 5, 90, kind="server"), span("A", 0, 100, kind="client"),
        rules=without("shared id split"),
    )  # fmt: skip
    assert list(result.spans) == ["A"]
    assert result.repaired == {"same span twice": 2}


def test_the_root_is_the_span_whose_parent_is_our_span_and_it_is_no_orphan() -> None:
    result = made(span("A", 50, 100, "ours", kind="server"), span("P", 0, 30), ours=("ours",))
    assert result.root.id == "A"
    assert result.repaired == {"orphan": 1, "incomplete": 1}
    assert result.outside_ns == 30


def test_the_root_may_share_our_span_id_as_with_b3() -> None:
    assert made(span("ours", 50, 100, kind="server"), span("P", 0, 1), ours=("ours",)).root.id == "ours"


def test_without_our_span_the_root_is_the_earliest_without_a_parent() -> None:
    result = made(span("A", 50, 150), span("B", 40, 140), span("C", 0, 3, "lost"), ours=("ours",))
    assert result.root.id == "B"
    assert result.outside_ns == 3 + 100


def test_our_own_exported_spans_are_not_in_the_tree_and_not_orphans() -> None:
    spans = (
        span("journey", 0, 500, service="loadgen"),
        span("first", 0, 100, "journey", service="loadgen", kind="client"),
        span("second", 200, 300, "journey", service="loadgen", kind="client"),
        span("A", 210, 290, "second", kind="server"),
        span("B", 10, 90, "first", kind="server"),
    )
    result = made(*spans, ours=("second",))
    assert list(result.spans) == ["A"]
    assert result.repaired == {}
    assert result.is_complete


def test_spans_of_our_other_requests_in_the_trace_are_no_orphans() -> None:
    spans = span("A", 10, 90, "first", kind="server"), span("B", 210, 290, "second", kind="server")
    result = repaired(trace(*spans), ("second",), others=("first",))
    assert isinstance(result, Tree)
    assert (list(result.spans), result.repaired) == (["B"], {})


def test_several_answers_to_our_requests_stand_below_one_root() -> None:
    spans = span("B", 50, 90, "two", kind="server"), span("A", 10, 30, "one", kind="server"), span("C", 12, 20, "A")
    result = made(*spans, ours=("one", "two"))
    assert result.root.name == repair.OUR_ROOT
    assert own_times(result) == {"loadgen: requests": 20, "A: do": 12, "C: do": 8, "B: do": 40}
    assert result.path_of(result.spans["C"]) == ("loadgen: requests", "A: do", "C: do")


def test_orphans_stay_outside_with_the_time_that_their_union_covers() -> None:
    result = made(span("A", 0, 1000), span("B", 10, 50, "lost"), span("C", 40, 60, "lost"), span("D", 12, 13, "B"))
    assert list(result.spans) == ["A"]
    assert (result.outside_ns, result.repaired, result.is_complete) == (50, {"orphan": 2}, True)


def test_without_this_rule_the_root_adopts_orphans() -> None:
    result = made(span("A", 0, 1000), span("B", 10, 50, "lost"), span("D", 12, 13, "B"), rules=without("orphan"))
    assert own_times(result) == {"A: do": 960, "B: do": 39, "D: do": 1}
    assert result.repaired == {}


@pytest.mark.parametrize(("end", "is_complete"), [(110, True), (111, False)])
def test_extra_roots_above_a_tenth_of_the_root_make_a_trace_incomplete(end: int, is_complete: bool) -> None:
    spans = span("A", 0, 1000), span("B", 10, end, "lost")
    assert made(*spans).is_complete == is_complete
    assert made(*spans, rules=without("incomplete")).is_complete


def test_a_trace_that_the_source_cut_is_incomplete() -> None:
    result = repaired(trace(span("A", 0, 1000), is_cut=True))
    assert isinstance(result, Tree)
    assert not result.is_complete
    assert result.repaired == {"incomplete": 1}


def test_a_span_without_an_end_is_left_out_and_its_children_are_adopted() -> None:
    spans = span("A", 0, 100), span("B", 10, None, "A"), span("C", 20, None, "B"), span("D", 30, 40, "C")
    result = made(*spans)
    assert [one.id for one in result.children["A"]] == ["D"]
    assert result.spans["D"].parent == "A"
    assert result.repaired == {"no end": 2}
    assert refused(*spans, rules=without("no end")).reason == "a span has no end"


def test_children_of_a_root_without_an_end_answer_our_request() -> None:
    result = made(span("A", 0, None, "ours"), span("B", 10, 40, "A"), span("C", 50, 90, "A"), ours=("ours",))
    assert own_times(result) == {"loadgen: requests": 10, "B: do": 30, "C: do": 40}


def test_a_trace_in_which_no_span_has_an_end_is_refused() -> None:
    assert refused(span("A", 0, None)).reason == "no span of the trace has an end"


@pytest.mark.parametrize(
    ("begin", "end", "reason"), [(50, 40, "a span ends before it starts"), (-5, 40, "a span starts before 1970")]
)
def test_impossible_times_refuse_the_trace(begin: int, end: int, reason: str) -> None:
    spans = span("A", 0, 100), span("B", begin, end, "A"), span("C", 10, 20, "B")
    assert refused(*spans) == Refused("a" * 32, reason, "impossible times")
    assert own_times(made(*spans, rules=without("impossible times"))) == {"A: do": 90, "C: do": 10}


def test_a_cycle_refuses_the_trace() -> None:
    spans = span("A", 0, 100), span("B", 10, 20, "C"), span("C", 10, 20, "B")
    assert refused(*spans) == Refused("a" * 32, "the parents of spans form a cycle", "cycle")
    assert list(made(*spans, rules=without("cycle")).spans) == ["A"]


@pytest.mark.parametrize("rules", [RULES, without("cycle")])
def test_a_span_that_is_its_own_parent_refuses_a_trace_without_a_root(rules: tuple[Rule, ...]) -> None:
    assert refused(span("A", 0, 100, "A"), rules=rules).rule == "cycle"


def test_a_cycle_of_spans_without_an_end_is_a_cycle() -> None:
    assert refused(span("A", 0, None, "B"), span("B", 0, None, "A"), span("C", 0, 5, "A")).rule == "cycle"


def test_a_child_is_cut_at_its_parent() -> None:
    spans = span("A", 10, 100), span("B", 0, 120, "A"), span("C", 20, 110, "B")
    result = made(*spans)
    assert [(one.start_ns, one.end_ns) for one in result.spans.values()] == [(10, 100), (10, 100), (20, 100)]
    assert result.repaired == {"cut at parent": 2}
    uncut = made(*spans, rules=without("cut at parent"))
    assert uncut.spans["B"].end_ns == 120
    assert sum(own_times(uncut).values()) == 90


@pytest.mark.parametrize(
    "child",
    [
        span("B", 10, 50, "A", kind="producer"),
        span("B", 10, 50, "A", kind="consumer"),
        span("B", 10, 50, "A", links=("A",)),
        span("B", 101, 150, "A"),
    ],
)
def test_nobody_waits_for_messages_links_and_what_begins_after_its_parent(child: Span) -> None:
    result = made(span("A", 0, 100), child, span("C", child.start_ns, child.start_ns + 1, "B"))
    assert own_times(result) == {"A: do": 100}
    assert result.repaired == {"not waited for": 1}
    again = made(span("A", 0, 100), child, rules=without("not waited for"))
    assert set(again.spans) == {"A", "B"}


@pytest.mark.parametrize("other", [span("B", 10, 500, "lost", kind="consumer"), span("B", 10, 500, links=("A",))])
def test_what_only_follows_the_trace_is_no_orphan(other: Span) -> None:
    result = made(span("A", 0, 100), other)
    assert (result.repaired, result.is_complete) == ({"not waited for": 1}, True)


def test_many_spans_of_one_name_are_folded_to_the_time_that_they_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "MOST_OF_ONE_NAME", 3)
    calls = [span(f"B{at}", at * 10, at * 10 + 12, "A", service="db") for at in range(4)]
    later = [span("B9", 80, 90, "A", service="db"), span("C", 3, 5, "B0", service="io"), span("D", 91, 95, "A")]
    result = made(span("A", 0, 100), *calls, *later)
    folded = result.children["A"]
    assert [(one.start_ns, one.end_ns, one.attributes.get(FOLDED)) for one in folded] == [
        (0, 42, 4),
        (80, 90, 1),
        (91, 95, None),
    ]
    assert own_times(result) == {"A: do": 44, "db: do": 50, "io: do": 2, "D: do": 4}
    assert result.repaired == {"folded": 5}
    assert len(made(span("A", 0, 100), *calls, *later, rules=without("folded")).spans) == 8


def test_ten_thousand_spans_deep_is_no_problem() -> None:
    spans = [span(str(at), at, 10**9 - at, str(at - 1) if at else "", service="s") for at in range(10_000)]
    random.Random(1).shuffle(spans)
    result = made(*spans)
    assert len(result.spans) == 10_000
    assert sum(own_times(result).values()) == 10**9


def test_a_chain_of_parents_without_an_end_is_no_problem() -> None:
    spans = [span(str(at), at, None, str(at - 1) if at else "") for at in range(2_000)]
    assert made(*spans, span("last", 5, 9, "1999")).root.id == "last"


@st.composite
def any_spans(draw: st.DrawFn) -> list[Span]:
    """Draw spans as bad as a source may return: lost parents, cycles, the same id twice, no end, any times."""
    ids = st.sampled_from(["1", "2", "3", "4", "5", "6"])
    return [
        span(
            draw(ids),
            draw(st.integers(-1, 60)),
            draw(st.one_of(st.none(), st.integers(0, 80))),
            draw(st.one_of(st.just(""), ids, st.just("ours"), st.just("lost"))),
            service=draw(st.sampled_from(["s", "t"])),
            kind=draw(st.sampled_from(["internal", "client", "server", "consumer"])),
            instance=draw(st.sampled_from(["", "i"])),
            links=draw(st.sampled_from([(), (), ("1",)])),
        )
        for _ in range(draw(st.integers(0, 10)))
    ]


@given(any_spans(), st.sets(st.sampled_from(RULES)), st.randoms(use_true_random=False))
def test_any_spans_give_a_sound_tree_or_a_reason_whatever_their_order(
    spans: list[Span], rules: set[Rule], chance: random.Random
) -> None:
    result = repaired(Trace("t", tuple(spans)), ("ours",), rules=rules)
    shuffled = spans.copy()
    chance.shuffle(shuffled)
    again = repaired(Trace("t", tuple(shuffled)), ("ours",), rules=rules)
    if isinstance(result, Refused):
        assert isinstance(again, Refused)
        return
    assert isinstance(again, Tree)
    assert again.spans == result.spans
    assert again.repaired == result.repaired
    assert set(result.repaired) <= rules
    assert result.spans[result.root.id] is result.root
    inside = {result.root.id}
    for parent, children in result.children.items():
        for child in children:
            assert child.parent == parent
            assert result.spans[child.id] is child
            inside.add(child.id)
            above = result.spans[parent]
            if "cut at parent" in rules:
                assert above.start_ns <= child.start_ns <= (child.end_ns or 0) <= (above.end_ns or 0)
    assert inside == set(result.spans)
    sum_ns = sum(own_times(result).values())
    assert sum_ns == (result.root.end_ns or 0) - result.root.start_ns


@given(any_spans())
def test_to_repair_a_tree_again_changes_nothing(spans: list[Span]) -> None:
    result = repaired(Trace("t", tuple(spans)))
    if isinstance(result, Tree):
        root = replace(result.root, parent="")
        again = repaired(Trace("t", (root, *list(result.spans.values())[1:])))
        assert isinstance(again, Tree)
        assert set(again.spans) == set(result.spans)
        assert own_times(again) == own_times(result)
