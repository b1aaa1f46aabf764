"""Trace headers are what the specifications of W3C, B3 and X-Ray say, and each request has one."""

from __future__ import annotations

import re
import time
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.clients.request.tracing import FORMATS, Begun, Names, Trace, Tracer
from loadgen.errors import RequestFailed
from tests.support.badserver import refusing_url
from tests.support.scripted import CLOSE, Received, client_of, ok, rows_of, samples_of, scripted

# https://www.w3.org/TR/trace-context/: lower case, version 00 of four parts; all zeroes are invalid.
W3C = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-(0[01])")
# https://github.com/openzipkin/b3-propagation: {TraceId}-{SpanId}-{SamplingState}.
B3 = re.compile(r"([0-9a-f]{32})-([0-9a-f]{16})-([01])")
# https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html: epoch seconds, then 96 bits.
XRAY = re.compile(r"Root=1-([0-9a-f]{8}-[0-9a-f]{24});Parent=([0-9a-f]{16});Sampled=([01])")


def _tracer(sample: float = 1.0, seed: int = 1, formats: Any = ("w3c",), per: Any = "request") -> Tracer:
    return Tracer(Trace(sample, formats, per=per), Random(seed))


def _parsed(request: Received, name: str = "traceparent") -> tuple[str, str, str]:
    given = [value for key, value in request.headers if key == name]
    assert len(given) == 1, f"{len(given)} of {name}"
    found = {"traceparent": W3C, "b3": B3, "x-amzn-trace-id": XRAY}[name].fullmatch(given[0])
    assert found is not None, given[0]
    return found[1].replace("-", ""), found[2], found[3]


def test_the_patterns_accept_the_examples_of_the_specifications() -> None:
    assert W3C.fullmatch("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    assert not W3C.fullmatch("00-00000000000000000000000000000000-00f067aa0ba902b7-01")
    assert B3.fullmatch("80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1")
    assert XRAY.fullmatch("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1")


async def test_a_request_carries_one_traceparent_whose_id_begins_with_the_time_and_the_reply_has_it() -> None:
    before_s = int(time.time())
    async with scripted(ok()) as server, client_of(server.url, tracer=_tracer()) as client:
        replies = [await client.get("/"), await client.post("/j", json={"a": 1}), await client.put("/", content=b"x")]
        client.headers["X-Own"] = "1"
        replies.append(await client.get("/own"))
        replies.append(await client.get("/own", headers={"X-Call": "1"}))
        seen = [_parsed(request) for request in server.requests]
    assert [trace for trace, _, _ in seen] == [reply.trace for reply in replies]
    assert len({trace for trace, _, _ in seen}) == len({span for _, span, _ in seen}) == 5
    assert all(before_s <= int(trace[:8], 16) <= time.time() for trace, _, _ in seen)
    assert server.requests[1].body == b'{"a":1}'
    assert server.requests[0].headers[0][0] == "host"


OURS = {
    *("traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-amzn-trace-id"),
    *("x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-sampling-priority", "x-datadog-tags"),
    *("uber-trace-id", "x-dynatrace-test"),
}


async def test_without_the_trace_headers_the_bytes_are_the_same_as_without_tracing() -> None:
    async def visit(client: Any) -> None:
        client.headers["X-Own"] = "1"
        await client.get("/a?b=c")
        await client.post("/a", json={"a": [1, 2]}, headers={"X-Call": "1"})
        await client.post("/a", data={"a": "b"}, cookies={"c": "d"})
        await client.request("PURGE", "/a", headers={"Host": "other.example"})

    async with scripted(ok()) as server:
        async with client_of(server.url) as plain:
            await visit(plain)
        bare = [(r.method, r.target, r.headers, r.body) for r in server.requests]
        server.requests.clear()
        async with client_of(server.url, tracer=_tracer(formats=FORMATS)) as traced:
            await visit(traced)
    own = OURS
    assert bare == [
        (r.method, r.target, [pair for pair in r.headers if pair[0] not in own], r.body) for r in server.requests
    ]


async def test_all_formats_name_the_same_trace_span_and_decision() -> None:
    async with scripted(ok()) as server, client_of(server.url, tracer=_tracer(0.5, formats=FORMATS)) as client:
        for _ in range(50):
            await client.get("/")
        decisions = set()
        for request in server.requests:
            w3c, b3, xray = (_parsed(request, name) for name in ("traceparent", "b3", "x-amzn-trace-id"))
            assert w3c[:2] == b3[:2] == xray[:2]
            assert int(w3c[2]) == int(b3[2]) == int(xray[2])
            trace, span, flag = w3c[0], w3c[1], str(int(w3c[2]))
            given = {name: value for name, value in request.headers if name in OURS}
            assert (given["x-b3-traceid"], given["x-b3-spanid"], given["x-b3-sampled"]) == (trace, span, flag)
            assert given["uber-trace-id"] == f"{trace}:{span}:0:{flag}"
            high = re.fullmatch("_dd.p.tid=([0-9a-f]{16})", given["x-datadog-tags"])
            assert high is not None
            assert int(high[1], 16) << 64 | int(given["x-datadog-trace-id"]) == int(trace, 16)
            assert int(given["x-datadog-parent-id"]) == int(span, 16)
            assert given["x-datadog-sampling-priority"] == ("2" if flag == "1" else "0")
            assert given.get("tracestate") == ("ot=th:8" if flag == "1" else None)
            decisions.add(w3c[2])
    assert decisions == {"00", "01"}


async def test_the_hops_of_a_redirect_are_one_trace_with_spans_of_their_own() -> None:
    hops = {
        "/a": ok(b"", "Location: /b", status="307 T"),
        "/b": ok(b"", "Location: /c", status="303 S"),
        "/c": ok(b"c"),
    }
    async with scripted(lambda r: hops[r.target]) as server, client_of(server.url, tracer=_tracer(0.5)) as client:
        for _ in range(20):
            reply = await client.post("/a", json={"a": 1}, follow_redirects=True)
            assert [h.trace for h in reply.history] == [reply.trace] * 2
            seen = [_parsed(request) for request in server.requests[-3:]]
            assert {trace for trace, _, _ in seen} == {reply.trace}
            assert len({span for _, span, _ in seen}) == 3
            assert len({flags for _, _, flags in seen}) == 1
        assert len({_parsed(request)[0] for request in server.requests}) == 20


OWN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("name", ["traceparent", "TraceParent"])
@pytest.mark.parametrize("where", ["user", "call", "redirect"])
async def test_a_header_that_the_scenario_sets_wins(name: str, where: str) -> None:
    def answer(request: Received) -> bytes:
        return ok(b"", "Location: /to", status="302 F") if request.target == "/from" else ok()

    async with scripted(answer) as server, client_of(server.url, tracer=_tracer(formats=FORMATS)) as client:
        if where == "user":
            client.headers[name] = OWN
            reply = await client.get("/")
        else:
            url = "/from" if where == "redirect" else "/"
            reply = await client.get(url, headers={name: OWN}, follow_redirects=True)
        assert reply.trace == "4bf92f3577b34da6a3ce929d0e0e4736"
        for request in server.requests:
            assert [value for key, value in request.headers if key == "traceparent"] == [OWN]
            assert request.header("b3") is None  # two ids in one request would contradict each other
        client.headers.pop(name, None)
        assert (await client.get("/")).trace != reply.trace


async def test_ids_of_the_scenarios_own_are_found_in_each_format_and_nonsense_is_none() -> None:
    given = {
        ("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"): "80f198ee56343ba864fe8b2a57d3eff7",
        ("X-Amzn-Trace-Id", "Self=1-a;Root=1-5759e988-bd862e3fe1be46a994272793"): "5759e988bd862e3fe1be46a994272793",
        ("X-B3-TraceId", "463ac35c9f6413ad48485a3953bb6124"): "463ac35c9f6413ad48485a3953bb6124",
        ("uber-trace-id", "4bf92f3577b34da6:f067aa0ba902b7:0:1"): "00000000000000004bf92f3577b34da6",
        ("x-datadog-trace-id", "5211633023526105414"): f"{5211633023526105414:032x}",
        ("b3", "0"): "",
        ("traceparent", "nonsense"): "",
    }
    async with scripted(ok()) as server, client_of(server.url, tracer=_tracer(formats=FORMATS)) as client:
        for (name, value), trace in given.items():
            assert (await client.get("/", headers={name: value})).trace == trace


async def test_requests_that_fail_have_a_trace_too() -> None:
    with refusing_url() as url:
        async with client_of(url, tracer=_tracer()) as client:
            with pytest.raises(RequestFailed):
                await client.get("/")
            assert re.fullmatch("[0-9a-f]{32}", samples_of(client)[0].trace)
    async with scripted(CLOSE) as server, client_of(server.url, tracer=_tracer()) as client:
        with pytest.raises(RequestFailed):
            await client.get("/")
        assert _parsed(server.requests[0])[0] == samples_of(client)[0].trace


async def test_streams_and_uploads_are_traced() -> None:
    async def pieces() -> Any:
        yield b"a"
        yield b"b"

    async with scripted(ok(b"body")) as server, client_of(server.url, tracer=_tracer()) as client:
        async with client.stream("POST", "/s", content=pieces()) as reply:
            assert await reply.aread() == b"body"
        assert _parsed(server.requests[0])[0] == reply.trace
        assert server.requests[0].body == b"ab"
        assert rows_of(client)[0].outcome == "ok"


async def test_the_requests_of_an_auth_flow_are_traces_of_their_own() -> None:
    def answer(request: Received) -> bytes:
        if request.header("authorization") is None:
            return ok(b"", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"', status="401 U")
        return ok()

    async with scripted(answer) as server, client_of(server.url, tracer=_tracer()) as client:
        reply = await client.get("/", auth=httpx.DigestAuth("user", "secret"))
        first, second = (_parsed(request)[0] for request in server.requests)
        assert reply.trace == second != first


async def test_without_tracing_there_is_no_header_and_no_id() -> None:
    async with scripted(ok()) as server, client_of(server.url) as client:
        assert (await client.get("/")).trace == ""
        assert server.requests[0].header("traceparent") is None


# -- ids and sampling ------------------------------------------------------------------------


def test_a_million_ids_are_a_million_ids_and_the_same_seed_gives_the_same() -> None:
    tracer = _tracer(seed=7)
    drawn = [tracer.lines(Begun())[1][8:] for _ in range(100_000)]
    assert len(set(drawn)) == 100_000
    again = _tracer(seed=7)
    assert drawn[:1000] == [again.lines(Begun())[1][8:] for _ in range(1000)]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999, 1.0])
def test_the_share_that_is_sampled_is_the_plans(share: float) -> None:
    tracer = _tracer(share, seed=3)
    n = 20_000
    sampled = 0
    for _ in range(n):
        lines, trace_id, _, is_sampled = tracer.lines(Begun())
        flag = lines.split(b"\r\n")[0].endswith(b"-01")
        assert flag is is_sampled is tracer.trace.samples(trace_id)
        sampled += flag
    if share in (0, 1):
        assert sampled == share * n
    assert abs(sampled - share * n) <= 5 * (n * share * (1 - share)) ** 0.5


@given(st.floats(0, 1), st.integers(0, 2**56 - 1))
def test_sampling_is_consistent_an_id_sampled_at_a_share_is_sampled_at_every_higher_one(share: float, low: int) -> None:
    trace_id = f"{'6' * 18}{low:014x}"
    if Trace(share).samples(trace_id):
        assert Trace(min(1.0, share * 2)).samples(trace_id)
    assert Trace(1.0).samples(trace_id)
    assert not Trace(0.0).samples(trace_id)


def test_a_clock_that_is_set_back_shows_in_the_next_id(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1480615200.9  # X-Ray's own example: 58406520
    monkeypatch.setattr("loadgen.clients.request.tracing.time", lambda: now_s)
    tracer = _tracer()
    assert tracer.lines(Begun())[1][:8] == "58406520"
    now_s += 0.2
    assert tracer.lines(Begun())[1][:8] == "58406521"
    now_s -= 3
    assert tracer.lines(Begun())[1][:8] == "5840651e"


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("100%", 1), ("0.5", 0.5), (" 0.1 % ", 0.001), ("0", 0)])
def test_a_share_is_read(text: str, share: float) -> None:
    assert Trace.parse(text).sample == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "101%", "2", "-1%", "many", "1%%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="share"):
        Trace.parse(text)


@pytest.mark.parametrize(
    "trace",
    [
        Trace(2),
        Trace(formats=()),
        Trace(formats=("zipkin",)),  # type: ignore[arg-type]
        Trace(formats="w3c"),  # type: ignore[arg-type]
        Trace(formats=("dynatrace-test",)),
        Trace(link="http://x/"),
        Trace(per="user"),  # type: ignore[arg-type]
        Trace(baggage=True),  # type: ignore[arg-type]
        Trace(baggage=("password",)),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_trace_setting_is_refused(trace: Trace) -> None:
    with pytest.raises(ValueError):
        trace.checked()


def test_a_link_leads_to_the_trace() -> None:
    assert Trace(link="https://traces.example/t/{trace_id}?x").url_of("abc") == "https://traces.example/t/abc?x"
    assert Trace().url_of("abc") == ""


# -- what is sampled together ------------------------------------------------------------------


@given(st.floats(0, 1), st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_the_requests_of_an_iteration_have_ids_of_their_own_and_one_decision(share: float, seed: int, n: int) -> None:
    tracer = _tracer(share, seed, per="iteration")
    iteration = Begun()
    made = [tracer.lines(iteration) for _ in range(n)]
    assert len({trace for _, trace, _, _ in made}) == len({span for _, _, span, _ in made}) == n
    assert len({is_sampled for _, _, _, is_sampled in made}) == 1
    assert len({trace[18:24] for _, trace, _, _ in made}) == 1
    for lines, trace, span, is_sampled in made:
        assert tracer.trace.samples(trace) is is_sampled
        assert lines.startswith(f"traceparent: 00-{trace}-{span}-0{int(is_sampled)}".encode())


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**24 - 1))
def test_every_other_sampler_with_a_threshold_of_six_digits_decides_alike_for_an_iteration(
    seed: int, threshold: int
) -> None:
    iteration, tracer = Begun(), _tracer(0.3, seed, per="iteration")
    ids = [tracer.lines(iteration)[1] for _ in range(5)]
    assert len({int(one[18:], 16) >= threshold << 32 for one in ids}) == 1


def test_the_ids_of_an_iteration_also_differ_in_the_low_64_bits_which_some_systems_use_alone() -> None:
    tracer, iteration = _tracer(seed=5, per="iteration"), Begun()
    assert len({tracer.lines(iteration)[1][16:] for _ in range(1_000)}) == 1_000


def test_with_one_trace_for_an_iteration_its_requests_are_spans_of_it() -> None:
    tracer, first, second = _tracer(0.5, per="trace"), Begun(), Begun()
    made = [tracer.lines(first) for _ in range(5)]
    assert len({trace for _, trace, _, _ in made}) == 1
    assert len({span for _, _, span, _ in made}) == 5
    assert tracer.lines(second)[1] != made[0][1]


def test_iterations_are_sampled_at_the_share_whatever_the_number_of_their_requests() -> None:
    """Of 20,000 iterations 5 %: standard deviation 31."""
    tracer = _tracer(0.05, seed=2, per="iteration")
    sampled = 0
    for n in range(20_000):
        iteration = Begun()
        decisions = {tracer.lines(iteration)[3] for _ in range(1 + n % 3)}
        assert len(decisions) == 1
        sampled += decisions.pop()
    assert abs(sampled - 1_000) < 5 * 31


async def test_the_iterations_of_a_user_are_decided_one_by_one() -> None:
    async with scripted(ok()) as server, client_of(server.url, tracer=_tracer(0.5, per="iteration")) as client:
        seen = []
        for n in range(40):
            client.meter.begin("journey", warmup=False, pool_limited=False, n=n)
            for _ in range(3):
                await client.get("/")
            flags = {_parsed(request)[2] for request in server.requests[-3:]}
            assert len(flags) == 1
            seen.append(flags.pop())
    assert set(seen) == {"00", "01"}


@given(st.floats(0, 1))
def test_the_probability_of_a_sample_is_that_of_its_threshold(share: float) -> None:
    trace = Trace(share)
    assert trace.probability == pytest.approx(share, abs=2**-24)
    assert (trace.probability == 0) == (share == 0)
    if share:
        assert trace.probability == 1 - int(trace.threshold, 16) / 2**24
        assert trace.samples("f" * 32)
    assert trace.samples("0" * 32) == (trace.probability == 1)


@pytest.mark.parametrize(
    ("share", "state"), [(1.0, "ot=th:0"), (0.5, "ot=th:8"), (0.25, "ot=th:c"), (0.01, "ot=th:fd70a4")]
)
def test_the_target_learns_the_threshold_of_sampled_traces(share: float, state: str) -> None:
    """The values for 1, 0.5 and 0.25 are those of OpenTelemetry's specification (tracestate-probability-sampling)."""
    tracer = _tracer(share)
    seen = set()
    for _ in range(2_000):
        lines, _, _, is_sampled = tracer.lines(Begun())
        assert (b"tracestate" in lines) is is_sampled
        seen |= {lines.split(b"tracestate: ")[1].decode().strip()} if is_sampled else set()
    assert seen == {state}


# -- names -------------------------------------------------------------------------------------


NAMES = Names("shop", "20261124-170312", "eu-west-1", ("peak",))


def test_baggage_is_sent_only_if_the_plan_asks_for_it() -> None:
    iteration = Begun("check out", "pay, then; leave")
    assert b"baggage" not in Tracer(Trace(1, FORMATS), Random(1), NAMES).lines(iteration)[0]
    tracer = Tracer(Trace(1, baggage=("run", "journey", "region", "load")), Random(1), NAMES)
    (line,) = [one for one in tracer.lines(iteration)[0].split(b"\r\n") if one.startswith(b"baggage")]
    assert line == (
        b"baggage: loadgen.run=20261124-170312,loadgen.journey=check%20out,loadgen.region=eu-west-1,loadgen.load=peak"
    )


def test_requests_are_tagged_for_dynatrace_with_names_that_cannot_break_out_of_the_header() -> None:
    tracer = Tracer(Trace(1, ("w3c", "dynatrace-test")), Random(1), NAMES)
    lines = tracer.lines(Begun("b\u00fcy\r\nX: 1", "pay;VU=7", n=12))[0]
    assert lines.split(b"\r\n")[2:] == [
        b"x-dynatrace-test: VU=12;SI=loadgen;LTN=20261124-170312;LSN=b%C3%BCy%0D%0AX: 1;TSN=pay%3BVU%3D7",
        b"",
    ]


def test_texts_for_any_number_of_places_are_bounded() -> None:
    tracer = Tracer(Trace(1, ("w3c", "dynatrace-test")), Random(1), NAMES)
    for n in range(2_500):
        assert f"TSN=s{n}".encode() in tracer.lines(Begun("j", f"s{n}"))[0]
    assert len(tracer._texts) <= 1_000
