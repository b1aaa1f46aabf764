"""`cause.json`, format 1: its keys stay, it is JSON, and unknown figures are null."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from loadgen.traces.causes import AttributeLine, Cause, Causes, FailedCohort, Objective, Pair, PathLine, cause_document
from loadgen.traces.missing import FoundRates

PATH = ("shop: POST /checkout", "stock: reserve")
CAUSE = Cause(
    path=PATH,
    kind="more calls",
    added_ns=190e6,
    added_interval_ns=(180e6, 200e6),
    share=0.67,
    more_calls_ns=171e6,
    slower_calls_ns=19e6,
    slow_calls=41.0,
    fast_calls=1.0,
    without_share_over=0.001,
    without_share_interval=(0.0, 0.002),
    without_percentile_ns=148e6,
    stays_first=0.998,
    n_slow=160,
    n_fast=180,
    attributes=(
        AttributeLine("stock", "service.version", "2.1", 0.96, 0.22, 157, 40, 1e-10, (("stock", "zone", "b"),)),
    ),
    since_s=312.0,
    since_error_s=10.0,
)
CAUSES = Causes(
    objective=Objective("checkout > add to cart", threshold_ns=300_000_000, requests=84_120),
    threshold_ns=300_000_000,
    fast_ns=31_000_000,
    share_over=0.029,
    share_over_interval=(0.026, 0.033),
    percentile_ns=812e6,
    difference_ns=283e6,
    difference_interval_ns=(270e6, float("inf")),
    n_slow=164,
    n_fast=180,
    candidates=(CAUSE, replace(CAUSE, kind="pause", pauses=14, pause_ns=180_000_000)),
    unexplained=(PathLine(("between client and server",), 8.1e6, (7e6, 9e6)),),
    pairs=(Pair((PATH, PATH), 0.0, 100e6),),
    failed=FailedCohort(3, {"timeout": 3}, 1e9, (PathLine(PATH, 1e9, (0.0, 2e9)),)),
    found=FoundRates(360, 344, 171, 164, 189, 180, 0.8),
    repair={"clock moved": 2},
    left_out={"unfit second": 1},
    unique_keys=(("shop", "order"),),
    seed=1,
    resamples=1_000,
    block_s=30.0,
)


def document(causes: Causes) -> Any:
    """The document as a reader of the file gets it."""
    return msgspec.json.decode(msgspec.json.encode(cause_document(causes)))


def test_ranked_lines_have_all_keys_of_format_1() -> None:
    read = document(CAUSES)
    assert read["format"] == 1
    assert {
        "path",
        "added_ns",
        "share",
        "without_share_over",
        "stays_first",
        "n_slow",
        "n_fast",
        "kind",
        "attributes",
        "since_s",
    } <= set(read["ranked"][0])
    assert {"objective", "ranked", "unexplained", "found", "repair"} <= set(read)
    assert {"asked", "slow", "fast"} <= set(read["found"])
    assert read["repair"] == {"clock moved": 2}


def test_path_is_a_list_of_services_with_operations() -> None:
    assert document(CAUSES)["ranked"][0]["path"] == ["shop: POST /checkout", "stock: reserve"]


def test_found_rates_are_shares_of_what_was_asked_for() -> None:
    found = document(CAUSES)["found"]
    assert (found["asked"], round(found["slow"], 2), round(found["fast"], 2)) == (360, 0.96, 0.95)


def test_unknown_end_of_an_interval_is_null() -> None:
    assert document(CAUSES)["difference_interval_ns"] == [270e6, None]


def test_only_pauses_have_a_number_of_pauses() -> None:
    first, second = document(CAUSES)["ranked"]
    assert "pauses" not in first
    assert (second["pauses"], second["pause_ns"]) == (14, 180_000_000)


def test_answer_without_a_ranking_keeps_its_lines_apart_with_the_reason() -> None:
    read = document(replace(CAUSES, not_ranked="only 12 slow traces; a ranking needs 30", is_refused=True))
    assert read["ranked"] == []
    assert read["not_ranked"]["reason"] == "only 12 slow traces; a ranking needs 30"
    assert read["not_ranked"]["is_refused"] is True
    assert read["not_ranked"]["candidates"][0]["path"] == list(PATH)


def test_without_a_list_of_what_was_asked_for_found_is_null() -> None:
    assert document(replace(CAUSES, found=None))["found"] is None
