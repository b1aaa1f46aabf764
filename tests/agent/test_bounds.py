"""What a controller may send: bounds that a sound one never meets, and a broken or stolen one cannot exceed."""

from __future__ import annotations

import logging
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from loadgen.bundle import MAX_BYTES
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.allowlist_check import Limits
from loadgen.profiles.edits import OPEN, PAUSE
from loadgen.profiles.stage import MAX_DURATION_NS, Stage
from loadgen.units import NS_PER_S
from loadgen.wire import messages as m
from loadgen_agent.supervisor.controller_bounds import MAX_AGENTS, Gate, wrong_order
from loadgen_agent.worker.allowlist_check import wrong_change
from tests.support.messages import messages
from tests.support.scenarios import write

ORDER = m.Prepare("r1", 1, "ab" * 32, 10_240, "shop.py", "", b"{}", 7, 1, (1.0, 2.0), NS_PER_S)
NOW_NS = 5_000 * NS_PER_S


def gate() -> Gate:
    return Gate(lambda controller_ns: controller_ns - 1_000 * NS_PER_S, lambda: NOW_NS)


AT = NOW_NS + 1_000 * NS_PER_S
"""Now, on the controller's clock."""


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"interval_ns": 10_000_000},
        {"interval_ns": 60 * NS_PER_S},
        {"bundle_bytes": MAX_BYTES},
        {"scenario": "shops/shop.py"},
        {"weights": (0.0, 0.0)},
        {"weights": (1.0,) * MAX_AGENTS},
        {"digests": ("12:abc",) * 50},
        {"seed": -(2**63)},
        {"control_plane": ("[::1]:5557",) * 1_000},
    ],
)
def test_an_order_within_the_bounds_is_taken(change: dict[str, Any]) -> None:
    assert wrong_order(replace(ORDER, **change)) == ""


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"interval_ns": 0}, "interval of 0 ns"),
        ({"interval_ns": 9_999_999}, "interval"),
        ({"interval_ns": 60 * NS_PER_S + 1}, "interval"),
        ({"bundle_bytes": 0}, "bundle has 0 bytes"),
        ({"bundle_bytes": MAX_BYTES + 1}, "the limit is 268,435,456"),
        ({"bundle_sha256": ""}, "sha256"),
        ({"bundle_sha256": "AB" * 32}, "sha256"),
        ({"bundle_sha256": "../" * 21 + "a"}, "sha256"),
        ({"scenario": ""}, "scenario's path ''"),
        ({"scenario": "/etc/evil.py"}, "scenario's path '/etc/evil.py' is invalid"),
        ({"scenario": "../evil.py"}, "scenario's path"),
        ({"scenario": "a/../../evil.py"}, "scenario's path"),
        ({"scenario": "./shop.py"}, "scenario's path"),
        ({"scenario": "..\\evil.py"}, "scenario's path"),
        ({"scenario": "shop.py\0.txt"}, "scenario's path"),
        ({"scenario": "shop.py\n"}, "scenario's path"),
        ({"scenario": "a" * 2_000}, "scenario's path"),
        ({"plan": "p" * 257}, "plan's name"),
        ({"overrides_json": bytes(524_289)}, "524,289 bytes"),
        ({"allow_json": bytes(524_289)}, "524,289 bytes"),
        ({"statement": bytes(524_289)}, "too long"),
        ({"signature": bytes(257)}, "too long"),
        ({"weights": ()}, "0 weights"),
        ({"weights": (1.0,) * (MAX_AGENTS + 1)}, "100,001 weights"),
        ({"weights": (1.0, 1e308)}, "a weight is invalid"),
        ({"weights": (1.0, -1.0)}, "a weight is invalid"),
        ({"weights": (1.0, nan)}, "a weight is invalid"),
        ({"weights": (1.0, inf)}, "a weight is invalid"),
        ({"index": 2}, "index 2 is invalid"),
        ({"generation": 2**63}, "generation"),
        ({"digests": ("",) * 51}, "digests"),
        ({"digests": ("d" * 257,)}, "digests"),
        ({"control_plane": ("",) * 1_001}, "control plane"),
        ({"control_plane": ("c" * 257,)}, "control plane"),
    ],
)
def test_an_order_beyond_the_bounds_is_refused_with_the_reason(change: dict[str, Any], why: str) -> None:
    assert why in wrong_order(replace(ORDER, **change))


@pytest.mark.parametrize(
    "message",
    [
        ORDER,
        m.Welcome(1, 8.0, "r1"),
        m.StartAt("r1", AT),
        m.StartAt("r1", AT + 599 * NS_PER_S),
        m.StartAt("r1", AT - MAX_DURATION_NS, from_ns=MAX_DURATION_NS),
        m.Adjust("r1", 1, 0, 0, ()),
        m.Adjust("r1", 1, 49, MAX_DURATION_NS, (Stage(0, 1e8, MAX_DURATION_NS),)),
        m.Adjust("r1", 1, 0, 5, (Stage(1.0, 2.0, 3),) * 10_000),
        m.Adjust("r1", 1, 0, 5, (PAUSE,)),
        m.Adjust("r1", 2, 0, 5, (OPEN,)),
        m.Reassign("r1", 1, 2, 0, (0.0, 1e9)),
        m.ReleaseAt("r1", 0, 0, 0, "sale", 5, AT),
        m.Steer("r1", 0, 0, 0, ()),
        m.Stop("r1", "enough", now=True),
        m.Ack("r1", 1, 5),
        m.Bye("r1"),
    ],
)
def test_a_message_within_the_bounds_is_let_through_as_it_is(message: m.Message) -> None:
    assert gate().admit(message) is message


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (replace(ORDER, run_id=""), "run's id"),
        (replace(ORDER, run_id="r" * 101), "run's id"),
        (replace(ORDER, run_id="../r1"), "run's id"),
        (m.Welcome(1, 0.0), "lease of 0 s"),
        (m.Welcome(1, -8.0), "lease"),
        (m.Welcome(1, 1e308), "lease"),
        (m.Welcome(2**63, 8.0), "epoch"),
        (m.StartAt("r1", AT + 601 * NS_PER_S), "T0 is 601 s in the future"),
        (m.StartAt("r1", 2**63 - 1), "in the future"),
        (m.StartAt("r1", -(2**63)), "in the past"),
        (m.StartAt("r1", AT, from_ns=-1), "outside of the load"),
        (m.StartAt("r1", AT, from_ns=MAX_DURATION_NS + 1), "outside of the load"),
        (m.Adjust("r1", 0, 0, 0, ()), "number 0"),
        (m.Adjust("r1", 2**32 - 1, 0, 0, ()), "number"),
        (m.Adjust("r1", 1, 50, 0, ()), "load 50 is unknown"),
        (m.Adjust("r1", 1, 0, -1, ()), "time of -1 ns"),
        (m.Adjust("r1", 1, 0, MAX_DURATION_NS + 1, ()), "ns after T0: it must be 0 to"),
        (m.Adjust("r1", 1, 0, 0, (Stage(1.0, 1.0, 1),) * 10_001), "10,001 stages"),
        (m.Adjust("r1", 1, 0, 0, (Stage(0.0, 1e308, 1),)), "a stage from 0 to 1e+308"),
        (m.Adjust("r1", 1, 0, 0, (Stage(1.0, nan, 1),)), "a stage"),
        (m.Adjust("r1", 1, 0, 0, (Stage(1.0, 1.0, MAX_DURATION_NS),) * 12), "the stages of the change last too long"),
        (m.Reassign("r1", 1, 2, 0, ()), "0 weights"),
        (m.Reassign("r1", 1, 2, 0, (1e308, 1e308)), "a weight is invalid"),
        (m.Reassign("r1", 1, 2, -1, (1.0,)), "time of -1 ns"),
        (m.Reassign("r1", 1, 2, 0, (1.0,) * (MAX_AGENTS + 1)), "100,001 weights"),
        (m.ReleaseAt("r1", 0, 0, 0, "sale", 5, 2**63 - 1), "too far away"),
    ],
)
def test_a_message_beyond_the_bounds_is_ignored_with_a_line_in_the_log(
    message: m.Message, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert gate().admit(message) is None
    assert f"the last was {type(message).__name__}: " in caplog.text
    assert why in caplog.text


@pytest.mark.parametrize("kind", [m.Stop, m.Rejected, m.Nack])
def test_a_message_that_must_be_obeyed_has_its_text_cut_instead(kind: type[Any]) -> None:
    text = "x" * 1_000_000
    message = kind("r1", text) if kind is m.Stop else kind(text)
    admitted = gate().admit(message)
    assert isinstance(admitted, kind)
    assert admitted.reason == "x" * 1_000


def test_a_flood_of_bad_messages_writes_one_line_in_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    stands = gate()
    with caplog.at_level(logging.WARNING):
        for _ in range(1_000):
            stands.admit(m.Welcome(1, 0.0))
    assert stands.ignored == 1_000
    assert len(caplog.records) == 1


@given(messages)
def test_no_message_whatever_its_values_raises_anything(message: m.Message) -> None:
    if isinstance(message, m.Prepare):
        wrong_order(message)
    gate().admit(message)


PLAN = '''
"""Two loads."""

from loadgen import Load, Plan, User, arrivals, journey, users


@journey
async def browse(user: User) -> None:
    await user.http.get("/")


plan = Plan(
    target="http://127.0.0.1:1",
    loads=[
        Load(browse, arrivals("10/s").hold("2s"), name="buyers"),
        Load(browse, users(5).hold("2s"), name="readers"),
    ],
)
'''


def test_a_worker_follows_no_change_that_the_allow_list_does_not_admit(tmp_path: Path) -> None:
    lanes = load(write(tmp_path, PLAN)).plan.lanes
    limits = Limits(max_requests_per_s=50, max_users=20)

    def why(load_: int, to: float, within: Limits = limits) -> str:
        return wrong_change(lanes, within, m.Adjust("r1", 1, load_, 0, (Stage(1.0, to, NS_PER_S),)))

    assert [why(0, 50), why(1, 20), why(0, 1e8, Limits()), why(1, 1e7, Limits())] == [""] * 4
    assert "51 iterations/s are planned" in why(0, 51)
    assert "21 users are planned" in why(1, 21)
    assert "users are too many" in why(1, 1.1e7, Limits())
    assert why(2, 1) == "load 2 is unknown: the plan has 2"
    assert wrong_change(lanes, limits, m.Adjust("r1", 1, 0, 0, ())) == ""
