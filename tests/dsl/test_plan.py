"""Plans: what they take, what is wrong with them, and what of them travels as a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import Plan, User, arrivals, error_ratio, feed, iterations, journey, p, secret, users
from loadgen.clients.pool.connection_policy import Connections
from loadgen.clients.request.tracing import Trace
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.plan import rows_needed
from loadgen.dsl.plans.spec import Overrides, PlanSpec, TraceSpec, parse_regions
from loadgen.errors import ScenarioError
from loadgen.units import NS_PER_S
from tests.support.scenarios import browse_with, told

ROWS = feed.rows(["a", "b"]).unique()


@journey
async def browse(user: User) -> None: ...


@journey(data=ROWS)
async def buy(user: User, row: str) -> None: ...


@journey(data=ROWS)
async def give(user: User, row: str) -> None: ...


def make(**changes: Any) -> Plan:
    usual: dict[str, Any] = {
        "target": "https://shop.example",
        "load": arrivals("50/s").hold("10s"),
        "mix": {browse: 3, buy: 1},
        "slos": [p(95) < "300ms", error_ratio() < "1%"],
        "regions": {"us": 0.6, "eu": 0.4},
    }
    return Plan(**(usual | changes))


def messages(plan: Plan) -> list[str]:
    return [fault.message for fault in plan.faults]


def test_a_plan_as_a_value_says_all_that_a_controller_needs() -> None:
    spec = make(warmup="2s", seed=7, max_users=20).spec()
    assert spec.load == "arrivals: hold 50/s for 10s"
    assert [(j.name, j.weight, j.data) for j in spec.journeys] == [("browse", 0.75, None), ("buy", 0.25, "rows")]
    assert (spec.duration_ns, spec.total_arrivals, spec.peak, spec.is_open) == (10 * NS_PER_S, 500, 50, True)
    assert (spec.warmup_ns, spec.seed, spec.max_users, spec.drain_ns) == (2 * NS_PER_S, 7, 20, 30 * NS_PER_S)
    assert [o.text for o in spec.slos] == ["p(95) < 300ms", "error_ratio() < 1%"]


@pytest.mark.parametrize("load", [arrivals("5/s").hold("1s"), users(3).hold("1s"), iterations(9, users=2)])
def test_a_spec_survives_json(load: Any) -> None:
    spec = make(load=load).spec()
    assert msgspec.json.decode(msgspec.json.encode(spec), type=PlanSpec) == spec


def test_a_load_that_by_chance_has_no_arrival_keeps_the_shares_of_its_journeys() -> None:
    plans = (make(load=arrivals("0.02/s").poisson(seed=seed).hold("3s"), slos=[]) for seed in range(1, 9))
    spec = next(spec for spec in (plan.spec() for plan in plans) if not spec.total_arrivals)
    assert [(j.name, j.weight) for j in spec.journeys] == [("browse", 0.75), ("buy", 0.25)]


def test_a_single_journey_is_a_mix_and_regions_may_be_names() -> None:
    spec = make(mix=browse, regions=["us", "eu"]).spec()
    assert [(j.name, j.weight) for j in spec.journeys] == [("browse", 1.0)]
    assert spec.regions == {"us": 1.0, "eu": 1.0}


def test_the_spec_of_a_plan_with_faults_is_refused_with_all_of_them() -> None:
    with pytest.raises(ScenarioError) as raised:
        make(target="", max_users=0).spec()
    assert len(raised.value.faults) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "shop.example"}, "target: 'shop.example' is not an http or https URL"),
        ({"target": "ftp://shop.example"}, "target: 'ftp://shop.example' is not an http or https URL"),
        ({"target": "http://"}, "target: 'http://' is not a URL: it has no valid host and port"),
        ({"target": "http://a b"}, "target: 'http://a b' is not a URL: invalid address 'a b'"),
        (
            {"target": "http://x:99999"},
            "target: 'http://x:99999' is not a URL: invalid port 99999: must be at most 65535",
        ),
        (
            {"target": "http://me:secret@x"},
            "target: the URL contains credentials, which would be stored with the results",
        ),
        (
            {"target": "http://x/?a=b"},
            "target: 'http://x/?a=b' has a query or fragment, but must be the base of all paths",
        ),
        ({"target": None}, "target: None is not a URL"),
        ({"load": "50/s"}, "load: '50/s' is not a load"),
        ({"load": arrivals().ramp(to="-5/s", over="1s")}, "a rate must not be negative, got -5/s; write 0 or more"),
        ({"mix": {}}, "mix: no journey is given"),
        ({"mix": {browse: 0, buy: 0}}, "mix: all weights are 0"),
        ({"mix": {browse: -1, buy: 1}}, "mix: the weight of browse is negative: -1"),
        ({"mix": {browse: "1"}}, "mix: the weight of browse is '1'"),
        ({"mix": {browse: float("nan")}}, "mix: the weight of browse is nan"),
        ({"mix": len}, "mix: len is not a journey"),
        ({"mix": {"browse": 1}}, "mix: 'browse' is not a journey"),
        ({"regions": {}}, "regions: no region is given"),
        ({"regions": {"us": -1, "eu": 1}}, "regions: the weight of us is negative: -1"),
        ({"regions": {3: 1}}, "regions: 3 is not the name of a region"),
        ({"slos": [True]}, "slos: True is not an objective"),
        ({"slos": [p(95, journey="by") < "1s"]}, 'p(95, journey="by") < 1s: the plan has no journey "by"'),
        ({"slos": [p(95, region="uk") < "1s"]}, 'p(95, region="uk") < 1s: the plan has no region "uk"'),
        ({"max_users": 0}, "max_users: 0 is not a whole number of at least 1"),
        ({"max_users": 1.5}, "max_users: 1.5 is not a whole number of at least 1"),
        ({"seed": "x"}, "seed: 'x' is not a whole number"),
        ({"timeout": 0}, "timeout: must be above 0"),
        ({"ca": "none.crt"}, "ca: no file none.crt"),
        ({"set_up": len}, "set_up: len is not an async function"),
        ({"tear_down": buy.fn}, "tear_down: buy must take exactly one argument, the user"),
        (
            {"warmup": "10s"},
            "warmup: 10.0 s is not shorter than the load, 10.0 s, so nothing would be measured",
        ),
    ],
)
def test_one_thing_wrong_is_one_fault(changes: dict[str, Any], message: str) -> None:
    plan = make(**changes)
    assert messages(plan) == [message]
    assert plan.faults[0].file == __file__


def test_text_after_the_bracket_of_an_ipv6_address_is_one_fault_whatever_this_python_calls_it() -> None:
    (only,) = messages(make(target="http://[::1].evil"))
    assert only.startswith("target: 'http://[::1].evil' is not a URL: ")


def test_a_duration_that_is_none_is_a_fault() -> None:
    assert messages(make(drain="soon"))[0].startswith('drain: invalid duration "soon"')


def test_two_journeys_of_one_name_are_a_fault() -> None:
    @journey(name="buy")
    async def other(user: User) -> None: ...

    assert messages(make(mix={buy: 1, other: 1})) == ['mix: two journeys are named "buy"']


arguments = [
    "target",
    "load",
    "mix",
    "slos",
    "regions",
    "max_users",
    "warmup",
    "max_lateness",
    "drain",
    "set_up",
    "seed",
    "loads",
    "targets",
    "connections",
    "tags",
    "trace",
    "owner",
    "labels",
]
nonsense = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers()),
    st.dictionaries(st.one_of(st.text(), st.integers()), st.one_of(st.integers(), st.floats(), st.text())),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(arguments), nonsense))
def test_no_plan_raises(changes: dict[str, Any]) -> None:
    plan = make(**changes)
    if not plan.faults:
        plan.spec()


# -- overrides ----------------------------------------------------------------------------------------


def test_overrides_survive_json_and_nothing_is_no_override() -> None:
    overrides = Overrides(target="http://x", peak=3, peak_of="rate", regions={"a": None, "b": 2}, params={"x": "1"})
    assert Overrides.from_json(overrides.to_json()) == overrides
    assert Overrides.from_json(b"") == Overrides()
    with pytest.raises(ValueError, match="peak"):
        Overrides.from_json(b'{"peak": "fast"}')


def test_peak_and_duration_scale_the_load() -> None:
    plan = make(load=arrivals().ramp(to="10/s", over="10s").hold("10s"))
    profile = plan.with_overrides(Overrides(peak=20, peak_of="rate", duration_s=40)).profile
    assert (profile.peak, profile.duration_ns) == (20, 40 * NS_PER_S)
    assert plan.profile.peak == 10


@pytest.mark.parametrize(
    ("load", "overrides", "message"),
    [
        (arrivals("5/s").hold("1s"), Overrides(peak=3, peak_of="users"), "the load has arrivals"),
        (users(3).hold("1s"), Overrides(peak=3, peak_of="rate"), "the load has users"),
        (iterations(3), Overrides(duration_s=3), "a load of 3 iterations has no duration"),
        (arrivals("5/s").hold("1s"), Overrides(peak=-1), "a load cannot be scaled to a rate of -1"),
        (arrivals("5/s").hold("1s"), Overrides(duration_s=0), "a load cannot last 0 ns"),
        (arrivals("5/s").hold("1s"), Overrides(duration_s=-1), "invalid duration -1"),
        (arrivals("5/s").hold("1s"), Overrides(regions={"uk": None}), 'the plan has no region "uk"'),
        (arrivals("5/s").hold("1s"), Overrides(regions={"uk": -1.0}), "the weight of uk is -1"),
        (arrivals("5/s").hold("1s"), Overrides(regions={"uk": 0.0}), "all weights are 0"),
        (arrivals("5/s").hold("1s"), Overrides(target="x"), "target: 'x' is not an http or https URL"),
    ],
)
def test_an_override_that_does_not_fit_is_a_fault_of_its_option(load: Any, overrides: Overrides, message: str) -> None:
    plan = make(load=load).with_overrides(overrides)
    (fault,) = plan.faults
    assert fault.message.startswith(message)
    assert fault.file.startswith("--") or fault.file == "peak"


def test_regions_are_picked_or_replaced() -> None:
    assert parse_regions("us") == {"us": None}
    assert parse_regions(" a=1 , b = 2.5") == {"a": 1, "b": 2.5}
    assert make().with_overrides(Overrides(regions=parse_regions("eu"))).regions == {"eu": 0.4}
    assert make().with_overrides(Overrides(regions=parse_regions("a=1,b=2"))).regions == {"a": 1, "b": 2}


@pytest.mark.parametrize("text", ["", "a,", "a=x", "a,a", "=1"])
def test_regions_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_regions(text)


# -- rows -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "mix", "needed"),
    [
        (arrivals("50/s").hold("10s"), {browse: 3, buy: 1}, [("buy", 125)]),
        (arrivals("50/s").hold("10s"), {buy: 3, give: 1}, [("buy", 500)]),  # they share the feed, so its rows
        (users(7).hold("1s"), {buy: 1}, [("buy", 7)]),
        (iterations(12, users=3), {browse: 1, buy: 1}, [("buy", 6)]),
        (iterations(12, users=3), {browse: 1}, []),
    ],
)
def test_rows_that_a_plan_needs(load: Any, mix: Any, needed: list[tuple[str, int]]) -> None:
    assert [(one.name, n) for one, n in rows_needed(make(load=load, mix=mix))] == needed


# -- targets, connections, tags, traces ----------------------------------------------------------------

TARGETS = {"api": "https://api.example", "login": "https://login.example"}


def test_a_single_target_has_no_name() -> None:
    plan = make()
    assert (plan.targets, plan.target, plan.target_name) == ({"": "https://shop.example"}, "https://shop.example", "")


@pytest.mark.parametrize(
    ("target", "name", "names"),
    [(None, "api", ["api", "login"]), ("login", "login", ["api", "login"]), ("http://x", "", ["", "api", "login"])],
)
def test_of_several_targets_the_first_or_the_named_one_is_meant(target: Any, name: str, names: list[str]) -> None:
    plan = make(target=target, targets=TARGETS)
    assert (plan.faults, plan.target_name, list(plan.targets)) == ((), name, names)
    assert plan.target == plan.targets[name] == plan.spec().target == plan.ways().url
    assert plan.with_overrides(Overrides(target="http://y")).targets[name] == "http://y"
    assert plan.with_overrides(Overrides(targets={"login": "http://y"})).targets["login"] == "http://y"
    assert plan.targets.get("login") == "https://login.example"


def test_how_people_reach_the_target() -> None:
    plan = make(connections="shared:50", tags=["header:X-Cache", "header:x-cache"], trace="1%", timeout="5s")
    ways = plan.ways()
    assert (ways.connections, ways.tags, ways.timeouts.total_ns) == (
        Connections("shared", 50),
        ("x-cache",),
        5 * NS_PER_S,
    )
    assert ways.trace == Trace(0.01)
    spec = plan.spec()
    traced = TraceSpec(sample=0.01, per="iteration")
    assert (spec.connections, spec.tags, spec.trace) == ("shared:50", ("x-cache",), traced)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=PlanSpec) == spec


def test_a_warm_up_that_is_to_be_found_keeps_nothing_out() -> None:
    spec = make(warmup="auto", owner=" shop team ", labels={"service": "cart"}).spec()
    assert (spec.warmup_is_found, spec.warmup_ns, spec.owner, spec.labels) == (
        True,
        0,
        "shop team",
        {"service": "cart"},
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": None, "targets": {}}, "targets: {}"),
        ({"target": None, "targets": ["http://x"]}, "targets: ['http://x']"),
        ({"target": None, "targets": {"a b": "http://x"}}, "targets: 'a b' is not a valid name of a target"),
        ({"target": None, "targets": {"api": "x"}}, "targets: \"api\": 'x' is not an http or https URL"),
        ({"target": "logn", "targets": TARGETS}, 'target: "logn" not found in targets'),
        ({"connections": "shared"}, "connections: must be"),
        ({"connections": 3}, "connections: 3 is not a connection policy"),
        ({"tags": ["x-cache"]}, "tags: 'x-cache' is not a tag"),
        ({"tags": ["header:x cache"]}, "tags: 'header:x cache' is not a tag"),
        ({"trace": "all"}, "trace: invalid share"),
        ({"trace": 0.1}, "trace: 0.1 is not a trace setting"),
        ({"trace": Trace(sample=2)}, "trace: sample must be a share from 0 to 1"),
        ({"owner": 3}, "owner: 3 is not a text"),
        ({"labels": {"a": 1}}, "labels: 'a': 1 is not a label"),
        ({"labels": 3}, "labels: 3: None is not a label"),
        ({"load": None}, "load: the plan has no load"),
        ({"mix": None}, "mix: None is not a journey"),
        (
            {"slos": [p(95, window="11s") < "1s"]},
            'p(95, window="11s") < 1s: the window is longer than the load, 10.0 s',
        ),
        (
            {"slos": [p(95, window="9s") < "1s"], "warmup": "2s"},
            'p(95, window="9s") < 1s: the window is longer than the load after the warm-up, 8.00 s',
        ),
    ],
)
def test_what_is_wrong_is_told_with_what_to_write(changes: dict[str, Any], message: str) -> None:
    (fault,) = make(**changes).faults
    assert fault.message.startswith(message)
    assert fault.hint


def test_a_quick_try_leaves_out_windows_that_are_longer_and_says_so(tmp_path: Path) -> None:
    slos = '[p(95) < "1s", p(95, window="5s") < "1s"]'
    path = browse_with(tmp_path, slos=slos)
    whole = load(path).plan
    assert len(whole.spec().slos) == 2
    quick = load(path, overrides=Overrides(duration_s=2))
    assert [one.text for one in quick.plan.spec().slos] == ["p(95) < 1s"]
    assert any("is left out: its window is longer than --duration" in str(w) for w in quick.warnings)
    too_long = told(browse_with(tmp_path, slos='[p(95, window="1m") < "1s"]'), overrides=Overrides(duration_s=2))
    assert "the window is longer than the load" in too_long[0]


def test_all_wrong_settings_of_a_trace_are_told_at_once() -> None:
    wrong = Trace(
        sample="0/s",
        formats=("w4c",),  # type: ignore[arg-type]
        link="https://traces.example",
        per="user",  # type: ignore[arg-type]
        baggage=("secret",),  # type: ignore[arg-type]
        boost="200%",
        export="otlp:ftp://a/?token=1",
        export_auth="the token itself",  # type: ignore[arg-type]
        export_header="a b",
    )
    found = [fault.message.removeprefix("trace: ") for fault in make(trace=wrong).faults]
    assert sorted(one.partition(" ")[0].rstrip(":") for one in found) == [
        "baggage", "boost", "export", "export", "export_auth", "export_header", "formats", "link", "per", "sample",
    ]  # fmt: skip
    assert "the token itself" not in " ".join(found)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Trace("20/min"), "sample must be a share from 0 to 1"),
        (Trace(float("nan")), "sample must be a share from 0 to 1"),
        (Trace(True), "sample must be a share from 0 to 1"),
        (Trace("5%", boost="5%"), "boost must be above sample"),
        (Trace("5%", boost=0), "boost must be a share above 0"),
        (Trace(export_auth=secret("otlp-token")), "export_auth: needs export"),
        (Trace(export="https://a"), 'export: must be "otlp:" and a URL'),
    ],
)
def test_a_wrong_rate_boost_or_export_is_told(wrong: Trace, message: str) -> None:
    (fault,) = make(trace=wrong).faults
    assert fault.message.startswith(f"trace: {message}")


def test_a_rate_a_boost_and_an_export_are_in_the_spec_without_the_secret_s_value() -> None:
    trace = Trace("20/s", boost="20%", export="otlp:http://10.0.0.7:4318", export_auth=secret("otlp-token"))
    spec = make(trace=trace).spec().trace
    assert spec is not None
    assert (spec.sample, spec.per_s, spec.boost) == (0.0, 20.0, 0.2)
    assert (spec.export, spec.export_secret) == ("otlp:http://10.0.0.7:4318", "otlp-token")
