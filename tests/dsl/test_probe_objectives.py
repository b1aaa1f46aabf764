"""Objectives on probes in a plan: how they are written, and errors at their line before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadgen import Load, Plan, User, arrivals, hold, journey, metrics_page, probe
from loadgen.dsl.plans.loadgen_toml import read_settings
from loadgen.dsl.plans.objectives.slo_expression import Slo
from loadgen.dsl.plans.probe import resolve_probe_objectives
from loadgen.errors import ScenarioError
from loadgen.probes.settings import ProbeSpec, probe_of, wrongs_of


@journey
async def home(user: User) -> None:
    await user.http.get("/")


def spec(name: str, **given: Any) -> ProbeSpec:
    found, wrong = probe_of(name, given)
    assert found is not None, wrong
    return found


DSN = "host=127.0.0.1 dbname=shop user=perf"
PROBES = (
    spec("vllm", url="http://127.0.0.1:1/metrics", preset="vllm", metrics=["custom_total"]),
    spec("shop.db", kind="postgres", dsn=DSN),
    spec("node", kind="prometheus", url="http://127.0.0.1:1", preset="node", expressions={"hits": "sum(x)"}),
    spec("cluster", kind="prometheus", url="http://127.0.0.1:1", selectors=['{job="shop"}']),
    spec("far", kind="postgres", dsn=DSN, at="apart"),
)


@pytest.mark.parametrize(
    ("slo", "probe_name", "row", "statistic"),
    [
        (probe("vllm.waiting") < 20, "vllm", "waiting", "every"),
        (probe("vllm.Requests  waiting").max() < 20, "vllm", "waiting", "maximum"),
        (probe("shop.db.connections") < "80%", "shop.db", "connections", "every"),
        (probe("shop.db.replication_lag").mean() < "500ms", "shop.db", "replication_lag", "mean"),
        (probe("node.cpu busy", window="30s", abort=True) < "90%", "node", "cpu", "mean"),
        (probe("node.cpu[instance=a:9100]") < "90%", "node", "cpu[instance=a:9100]", "every"),
        (probe("node.hits") > 3, "node", "expression hits", "every"),
        (probe("vllm.custom") < 3, "vllm", "custom", "every"),
        (probe("vllm.ttft").p(99) < "1s", "vllm", "ttft", "percentile"),
        (probe("cluster.anything_at_all") < 3, "cluster", "anything_at_all", "every"),
    ],
)
def test_a_name_is_the_probe_and_the_key_or_title_of_its_row(
    slo: Slo, probe_name: str, row: str, statistic: str
) -> None:
    ((found,), faults) = resolve_probe_objectives([slo], PROBES)
    assert not faults
    assert found.probe is not None
    assert (found.probe.probe, found.probe.row, found.probe.statistic) == (probe_name, row, statistic)


@pytest.mark.parametrize(
    ("slo", "message", "hint"),
    [
        (probe("vlm.waiting") < 20, 'the run has no probe "vlm"', 'did you mean "vllm"?'),
        (probe("vllm.wating") < 20, 'probe "vllm" has no row "wating"', 'did you mean "waiting"?'),
        (probe("shop.db.connections") < 80, "is in %, and the limit has no unit", 'write "80%"'),
        (probe("shop.db.active") < "80%", "is not in %: the probe does not know its limit", "write a number"),
        (probe("vllm.ttft") < "1s", "is a histogram, which has only percentiles", 'write probe("vllm.ttft").p(95)'),
        (probe("vllm.waiting").p(95) < 3, "is not a histogram, so it has no percentiles", "write .max() or .mean()"),
        (probe("far.connections") < "80%", "is read apart, so its samples come after", 'write at = "controller"'),
    ],
)
def test_a_wrong_name_or_unit_is_an_error_at_its_line(slo: Slo, message: str, hint: str) -> None:
    _, (fault,) = resolve_probe_objectives([slo], PROBES)
    assert message in fault.message
    assert hint in fault.hint
    assert fault.file == __file__


def messages(slo: Slo) -> str:
    return " | ".join(fault.message for fault in slo.faults)


def test_all_errors_of_one_objective_are_found_at_once() -> None:
    assert messages(probe("vllm", window="0.1s").mean().max() < "x").count(" | ") == 3
    assert "not the name of a probe" in messages(probe("waiting") < 3)
    assert "must use < or >" in messages(probe("vllm.waiting") <= 3)  # type: ignore[operator]
    assert "percentiles are given in percent" in messages(probe("vllm.ttft").p(0.95) < "1s")
    assert "decided only at its end" in messages(probe("vllm.waiting", abort=True).mean() < 3)
    assert "breaks each window" in messages(probe("vllm.waiting", window="9s").max() < 3)
    assert messages(probe("vllm.waiting", abort=True) < 3) == ""
    with pytest.raises(ScenarioError, match="neither true nor false"):
        bool(probe("vllm.waiting") < 3)


def plan(**more: Any) -> Plan:
    given: dict[str, Any] = {} if "loads" in more else {"load": arrivals("5/s").hold("20s"), "mix": home}
    return Plan(target="http://127.0.0.1:1", **given, **more)


def test_a_plan_keeps_them_apart_from_the_objectives_that_agents_count() -> None:
    made = plan(slos=[probe("vllm.waiting") < 20])
    assert made.faults == ()
    assert made.watched == ()
    assert [one.text for one in made.spec().probe_slos] == ['probe("vllm.waiting") < 20']


LOAD = arrivals("5/s").hold("20s")
WAITING = probe("vllm.waiting") < 3
FOLLOWS = hold(WAITING, start="1/s", upto="9/s", duration="20s")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"slos": [probe("vllm.waiting")]}, "has no limit"),
        ({"slos": [probe("vllm.waiting", window="1m") < 3]}, "the window is longer than the load"),
        ({"loads": [Load(home, LOAD, name="a", slos=[WAITING])]}, "probes see all loads together"),
        ({"loads": [Load(home, FOLLOWS)]}, "a load cannot follow a probe"),
    ],
)
def test_where_an_objective_on_a_probe_does_not_fit_is_an_error(given: dict[str, Any], message: str) -> None:
    assert message in " | ".join(fault.message for fault in plan(**given).faults)


def test_without_probes_its_objectives_are_left_out_with_a_warning() -> None:
    made = plan(slos=[probe("vllm.waiting") < 20], probes=[metrics_page("http://127.0.0.1:1/m", preset="vllm")])
    (warning,) = made.leave_out_probes()
    assert warning.message == 'probe("vllm.waiting") < 20 is left out: this run reads no probes'
    assert (made.spec().probe_slos, made.spec().probes) == ((), ())


def test_stop_when_is_checked_where_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "loadgen.toml").write_text(
        """
[probes.vllm]
url = "http://127.0.0.1:1/metrics"
preset = "vllm"
stop_when = "wating >= 3 for"

[probes.shopdb]
kind = "postgres"
dsn = "host=127.0.0.1 dbname=shop user=perf"
stop_when = "conections > 95% for 30s"

[probes.apart]
kind = "postgres"
dsn = "host=127.0.0.1 dbname=shop user=perf"
at = "apart"
stop_when = "connections > 95"
"""
    )
    with pytest.raises(ScenarioError) as caught:
        read_settings(tmp_path / "loadgen.toml")
    found = {(fault.line, fault.message): fault.hint for fault in caught.value.faults}
    assert found[5, "probes.vllm: stop_when: unknown operator >="] == "write < or >"
    assert (5, "probes.vllm: stop_when: a limit is missing after >=") not in found
    assert (5, "probes.vllm: stop_when: a time is missing after for") in found
    near = found[10, 'probes.shopdb: stop_when: the probe has no row "conections"']
    assert near == 'did you mean "connections"?'
    assert (16, "probes.apart: stop_when: the controller cannot watch a probe that is read apart") in found


def test_stop_when_of_a_plan_and_of_a_client_is_checked_too() -> None:
    made = plan(probes=[metrics_page("http://127.0.0.1:1/m", preset="vllm", stop_when="ttft p95 > 2 for 5s")])
    assert "is a time, and the limit has no unit" in made.faults[0].message
    right = spec("vllm", url="http://127.0.0.1:1/m", preset="vllm", stop_when="waiting > 20 for 5s")
    assert list(wrongs_of(right)) == []
    sent = msgspec.structs.replace(right, stop_when="waitin > 20")
    assert list(wrongs_of(sent)) == ['stop_when: the probe has no row "waitin"']
