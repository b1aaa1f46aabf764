"""Objectives on requests to AI models: what comparing builds, and each error at its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

import loadgen
from loadgen import Plan, User, arrivals, goodput, journey, maximum, mean, minimum, p, search, throughput, total
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.dsl.plans.objectives.window_size import small_windows
from loadgen.engine.recording.stream_series import goodputs_of
from loadgen.errors import ScenarioError
from loadgen.measure.objectives.objective import Objective
from loadgen.measure.objectives.terms import GOODPUT_LIMITS
from loadgen.units import NS_PER_MS


@journey
async def ask(user: User) -> None: ...


def objective(slo: Slo) -> Objective:
    assert slo.faults == ()
    assert slo.objective is not None
    return slo.objective


@pytest.mark.parametrize(
    ("slo", "text", "kind"),
    [
        (p(95, metric="ttft") < "500ms", 'p(95, metric="ttft") < 500ms', "request"),
        (p(99, step="turn 1", metric="itl") < "80ms", 'p(99, step="turn 1", metric="itl") < 80ms', "request"),
        (
            maximum(metric="stall", window="1m", abort=True) < "5s",
            'maximum(metric="stall", window="1m", abort=True) < 5s',
            "request",
        ),
        (minimum(request="chat", metric="ttfo") > "1ms", 'minimum(request="chat", metric="ttfo") > 1ms', "request"),
        (mean(metric="output_tokens", window="1m") > 100, 'mean(metric="output_tokens", window="1m") > 100', "request"),
        (throughput("output_tokens") > "2000/s", 'throughput("output_tokens") > 2000/s', "request"),
        (total("prompt_tokens", journey=ask) < 1e6, 'total("prompt_tokens", journey="ask") < 1e+06', "request"),
        (
            goodput(ttft="500ms", tpot="50ms", journey=ask, window="1m", abort=True) > "95%",
            'goodput(ttft="500ms", tpot="50ms", journey="ask", window="1m", abort=True) > 95%',
            "goodput",
        ),
        (goodput(e2e="1s") > 0.9, 'goodput(e2e="1s") > 90%', "goodput"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_an_objective_reads_as_it_was_written(slo: Slo, text: str, kind: str) -> None:
    found = objective(slo)
    assert found.text == text
    assert found.kind_of_series == kind
    assert not found.is_plain
    assert msgspec.json.decode(msgspec.json.encode(found), type=Objective) == found


def test_limits_of_goodput_are_the_same_whatever_their_order_and_unit() -> None:
    (one,) = goodputs_of(
        [
            objective(goodput(tpot="50ms", ttft="0.5s") > "95%"),
            objective(goodput(ttft="500ms", tpot="50ms", window="1m") > "90%"),
            objective(p(95) < "1s"),
        ]
    )
    assert one.text == "ttft<=500ms,tpot<=50ms"
    assert dict(one.limits) == {"ttft": 500 * NS_PER_MS, "tpot": 50 * NS_PER_MS}


def test_each_limit_that_agents_count_is_an_argument() -> None:
    for name in GOODPUT_LIMITS:
        given: dict[str, Any] = {name: "1s"}
        assert objective(goodput(**given) > "95%").limits == ((name, 1_000 * NS_PER_MS),)


def test_a_verdict_names_the_metrics_that_decide_it() -> None:
    assert objective(goodput(ttft="1s", e2e="9s") > "95%").judged_metrics == ("ttft", "e2e")
    assert objective(p(95, metric="itl") < "1s").judged_metrics == ("itl",)
    assert objective(throughput("output_tokens") > "1/s").judged_metrics == ()


P: Any = p
MEAN: Any = mean
GOODPUT: Any = goodput
THROUGHPUT: Any = throughput


@pytest.mark.parametrize(
    ("build", "message", "hint"),
    [
        (lambda: GOODPUT() > "95%", "no limit is given", 'goodput(ttft="500ms"'),
        (lambda: GOODPUT(tfft="1s") > "95%", "goodput(tfft=...): unknown metric", 'did you mean "ttft"?'),
        (lambda: GOODPUT(latency="1s") > "95%", "goodput(latency=...): unknown metric", "limit one of ttft,"),
        (lambda: GOODPUT(ttft="1s") < "95%", "must use >, because it is a share of good requests", '> "95%"'),
        (lambda: GOODPUT(ttft="1s") <= "95%", "must use >", '> "95%"'),
        (lambda: GOODPUT(ttft="1s") >= "95%", "must use >", '> "95%"'),
        (lambda: GOODPUT(ttft="1s") > "101%", "must be from 0 to 100 %", '> "95%"'),
        (lambda: GOODPUT(ttft="1s") > 95, "must be from 0 to 100 %", '> "95%"'),
        (lambda: GOODPUT(ttft="1s") > "-1%", "invalid ratio", '> "95%"'),
        (lambda: GOODPUT(ttft="1s") > "100%", "must be below 100 %, since no share is above it", '> "95%"'),
        (lambda: GOODPUT(ttft="1s") > "300ms", "invalid ratio", '> "95%"'),
        (lambda: GOODPUT(ttft=500) > "95%", "goodput(ttft=500): the limit has no unit", 'goodput(ttft="500ms")'),
        (lambda: GOODPUT(ttft="fast") > "95%", 'invalid duration "fast"', 'goodput(ttft="500ms")'),
        (lambda: GOODPUT(ttft="0s") > "95%", "must be above 0", 'goodput(ttft="500ms")'),
        (lambda: GOODPUT(ttft="1s", abort=True) > "95%", "abort=True) without a window", "window="),
        (lambda: GOODPUT(ttft="1s", step=3) > "95%", "a step must be a non-empty text", 'step="..."'),
        (lambda: P(95, metric="tftt") < "1s", "unknown metric", 'did you mean "ttft"?'),
        (lambda: P(95, metric="output_tokens") < "1s", "have a mean, a throughput and a total", "mean(metric="),
        (lambda: MEAN(metric="output_tokens") > "1s", "the unit of another metric", "> 100"),
        (lambda: MEAN(metric="ttft") < 100, "the limit has no unit", '"300ms"'),
        (lambda: THROUGHPUT("output_token") > "1/s", "unknown count", 'did you mean "output_tokens"?'),
        (lambda: THROUGHPUT("output_tokens") > 20, "the limit has no unit", '"20/s"'),
    ],
)
def test_an_invalid_objective_is_an_error_at_its_line(build: Any, message: str, hint: str) -> None:
    slo = build()
    assert slo.objective is None
    assert message in slo.faults[0].message
    assert hint in slo.faults[0].hint
    assert Path(slo.faults[0].file).name == Path(__file__).name


def test_all_errors_of_a_goodput_are_reported_at_once() -> None:
    slo = GOODPUT(ttft=3, tpto="1s", region="", abort=True) < "95%"
    assert [fault.message.partition(":")[0] for fault in slo.faults] == [
        "goodput(region='')",
        "goodput(abort=True) without a window",
        "goodput(ttft=3)",
        "goodput(tpto=...)",
        "goodput() < '95%'",
    ]


def test_a_goodput_is_neither_true_nor_false() -> None:
    with pytest.raises(ScenarioError, match="neither true nor false"):
        bool(goodput(ttft="1s"))


def test_loads_follow_goodput_and_percentiles_of_streams_without_tags_or_load() -> None:
    good = search(goodput(ttft="500ms") > "95%", upto="64/s")
    assert good.faults == ()
    (aim,) = good.aims
    assert (aim.text, aim.limit_s) == ('goodput(ttft="500ms") > 95%', None)
    assert aim.allowed == pytest.approx(0.05)
    assert good.window_s(10.0) == search(p(95) < "500ms", upto="64/s").window_s(10.0)  # a queue needs as long to show
    assert search(p(95, metric="ttft") < "500ms", upto="64/s").faults == ()
    assert search(goodput(ttft="500ms", load="day") > "95%", upto="64/s").faults
    for slo in (
        p(95, metric="ttft", load="day") < "500ms",
        p(95, metric="ttft", tags={"tier": "gold"}) < "500ms",
        p(95, metric="ttft") > "500ms",
        mean(metric="ttft") < "500ms",
        maximum(metric="stall") < "5s",
        mean(metric="output_tokens") > 10,
    ):
        (fault,) = search(slo, upto="64/s").faults
        assert "and percentiles of stream times and goodputs without load= and tags=" in fault.message
        assert fault.hint == 'write p(95, metric="ttft") < "500ms" or goodput(ttft="500ms") > "95%"'


def test_goodput_is_public() -> None:
    assert loadgen.goodput is goodput
    assert "goodput" in loadgen.__all__


def test_a_plan_reports_all_errors_of_its_objectives(tmp_path: Path) -> None:
    path = tmp_path / "plan.py"
    path.write_text(
        "from loadgen import *\n"
        "@journey\n"
        "async def ask(user: User) -> None:\n"
        "    await user.llm.chat('hi')\n"
        "plan = Plan(target='http://127.0.0.1:1', mix=ask, load=arrivals('1/s').hold('1s'), llm=Llm(), slos=[\n"
        "    goodput() > '95%',\n"
        "    goodput(tfft='1s') > '95%',\n"
        "    goodput(ttft='1s', journey='aks') > '95%',\n"
        "    p(95, metric='tpot', step='turn') < '1s',\n"
        "])\n"
    )
    with pytest.raises(ScenarioError) as failed:
        load(path)
    assert [(fault.line, fault.message.partition(":")[0]) for fault in failed.value.faults] == [
        (6, "goodput()"),
        (7, "goodput(tfft=...)"),
        (8, 'goodput(ttft="1s", journey="aks") > 95%'),
        (9, 'p(95, step="turn", metric="tpot") < 1s'),
    ]


def test_windows_of_requests_to_models_get_no_warning_of_their_size() -> None:
    plan = Plan(
        target="http://127.0.0.1:1",
        mix=ask,
        load=arrivals("1/s").hold("10m"),
        slos=[p(99, metric="ttft", window="10s") < "1s", goodput(ttft="1s", window="10s") > "99%"],
    )
    assert list(small_windows(plan.slos, plan.lanes, {})) == []
