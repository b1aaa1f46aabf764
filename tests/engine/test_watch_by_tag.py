"""Windows of objectives that select by tags: what still runs decides nothing that a later tag could change."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from loadgen import any_of, none_of, p
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.slo_windows import Watches
from loadgen.engine.recording.tagging import Tagging, TagSpec
from loadgen.measure.deltas.outcomes_by_due_interval import DueCounts
from loadgen.measure.deltas.series_key import OK, SeriesKey, Tags
from loadgen.measure.merging.merge import Merge
from loadgen.measure.objectives.objective import Objective, evaluate
from loadgen.units import NS_PER_MS, NS_PER_S

S, MS = NS_PER_S, NS_PER_MS
T0 = 7_000 * S
TAGS = (TagSpec(name="tenant", values=("gold", "silver")), TagSpec(name="x-cache", header="x-cache", most=20))
GOLD, HIT = (("tenant", "gold"),), (("x-cache", "hit"),)


def objective(slo: Slo) -> Objective:
    assert slo.objective is not None, slo.faults
    return slo.objective


def watching(*slos: Slo, flying: Any = (), **more: Any) -> Watches:
    watches = Watches(
        [objective(slo) for slo in slos], ["shop"], S, "eu", lambda _: iter(flying), lambda: T0, tags=TAGS, **more
    )
    watches.t0_ns = T0
    return watches


def key(kind: Any, tags: Tags = ()) -> SeriesKey:
    return SeriesKey(
        kind,
        "shop",
        "pay" if kind == "step" else None,
        "GET /" if kind == "request" else None,
        OK,
        "response",
        tags=tags,
    )


def test_request_whose_tags_are_known_at_its_call_is_overdue_while_it_runs() -> None:
    watches = watching(p(95, request="GET /", tags={"tenant": "gold"}, window="10s") < "300ms")
    seen = watches.of(key("request", GOLD))
    assert seen is not None
    seen.begun(T0 + 1)
    assert watches.take(T0 + S) == (DueCounts(0, "shop", 0, overdue=1),)
    assert watches.of(key("request", (("tenant", "silver"),))) is None, "others cost nothing"


def test_request_is_undecided_until_the_headers_of_its_response_have_its_tag() -> None:
    hit = p(95, request="GET /", tags={"x-cache": "hit"}, window="10s") < "300ms"
    not_hit = p(95, request="GET /", tags={"x-cache": none_of("hit")}, window="10s") < "300ms"
    watches = watching(hit, not_hit)
    before, after = watches.of(key("request")), watches.of(key("request", HIT))
    assert before is not None
    assert after is not None
    before.begun(T0 + 1)
    before.begun(T0 + 2)
    assert watches.take(T0 + S) == (DueCounts(0, "shop", 0, undecided=2), DueCounts(1, "shop", 0, undecided=2))
    # The headers of the first are there, and its body is still to come.
    before.ended(T0 + 1, 0, "skipped")
    after.begun(T0 + 1)
    assert watches.take(T0 + 2 * S) == (
        DueCounts(0, "shop", 0, overdue=1, undecided=1),
        DueCounts(1, "shop", 0, undecided=1),
    )
    after.ended(T0 + 1, 100 * MS, OK)
    before.ended(T0 + 2, 100 * MS, "reset")  # no response: it has the value (none)
    assert watches.take(T0 + 3 * S) == (DueCounts(0, "shop", 0, good=1), DueCounts(1, "shop", 0, bad=1))


def test_step_and_iteration_are_undecided_as_long_as_the_user_may_get_a_tag() -> None:
    watches = watching(
        p(95, step="pay", tags={"tenant": "gold"}, window="10s") < "300ms",
        p(95, tags={"tenant": any_of("gold", "(none)")}, window="10s") < "300ms",
        flying=[(0, T0, 0)],
    )
    untagged, gold = watches.of(key("step")), watches.of(key("step", GOLD))
    assert untagged is not None
    assert gold is not None
    untagged.begun(T0 + 1)
    gold.begun(T0 + 2)
    assert watches.take(T0 + 2 * S) == (DueCounts(0, "shop", 0, undecided=2), DueCounts(1, "shop", 0, undecided=1))


def test_constant_of_a_load_never_changes_so_its_iterations_are_overdue_while_they_run() -> None:
    slo = p(95, tags={"phase": "spike"}, window="10s") < "300ms"
    flying = [(0, T0, 0), (1, T0, 0)]
    watches = watching(slo, flying=flying, loads=["day", "spike"], constants=[(), (("phase", "spike"),)])
    assert watches.take(T0 + S) == (DueCounts(0, "shop", 0, overdue=1),)


def test_missed_iteration_has_no_tag_of_its_user() -> None:
    watches = watching(
        p(95, tags={"tenant": "gold"}, window="10s") < "300ms",
        p(95, tags={"tenant": "(none)"}, window="10s") < "300ms",
    )
    recorder = Recorder(watches=watches, tagging=Tagging(TAGS))
    recorder.missed(recorder.journey_series("shop"), S, T0 + 1)
    assert recorder.flip(0, S).due == (DueCounts(1, "shop", 0, bad=1),)


CALLS = st.lists(
    st.tuples(
        st.integers(0, 1),  # the agent
        st.integers(0, 5_999),  # ms
        st.integers(0, 5_000),
        st.sampled_from([OK, OK, "reset"]),
        st.sampled_from(["gold", "silver", ""]),
        st.sampled_from(["hit", "miss", ""]),
    ),
    max_size=60,
)
SLOS = (
    p(75, request="GET /", tags={"tenant": "gold"}, window="2s") < "900ms",
    p(75, request="GET /", tags={"x-cache": "hit"}, window="2s") < "900ms",
    p(75, request="GET /", tags={"x-cache": none_of("miss"), "tenant": none_of("silver")}, window="3s") < "900ms",
)


class Agent:
    """An agent whose requests begin, get the headers of their response half-way, and end."""

    def __init__(self, name: str, calls: list[tuple[int, int, int, str, str, str]]) -> None:
        self.name = name
        watches = Watches([objective(slo) for slo in SLOS], ["shop"], S, "eu", None, lambda: T0, tags=TAGS)
        watches.t0_ns = T0
        self.recorder = Recorder(watches=watches, tagging=Tagging(TAGS))
        self.recorder.t0_ns = T0
        place = self.recorder.place("shop", None, warmup=False)
        self.running: dict[int, Any] = {}
        self.edges: list[tuple[int, int, Any]] = []
        for n, (_, at, took, outcome, tenant, cache) in enumerate(calls):
            at_ns = T0 + at * MS + n  # each begins in a ns of its own
            self.edges += [
                (at, 0, lambda n=n, at_ns=at_ns, tenant=tenant: self._begin(n, at_ns, place, tenant)),
                (at + took // 2, 1, lambda n=n, at_ns=at_ns, cache=cache: self._split(n, at_ns, cache)),
                (at + took, 2, lambda n=n, at_ns=at_ns, took=took, outcome=outcome: self._end(n, at_ns, took, outcome)),
            ]
        self.edges.sort(key=lambda edge: edge[:2])

    def _begin(self, n: int, at_ns: int, place: Any, tenant: str) -> None:
        series = place.resolve("GET /")
        series = self.running[n] = series.marked({"tenant": tenant}) if tenant else series
        if series.watch is not None:
            series.watch.begun(at_ns)

    def _split(self, n: int, at_ns: int, cache: str) -> None:
        if cache:
            self.running[n] = self.running[n].split((("x-cache", cache),), at_ns)

    def _end(self, n: int, at_ns: int, took: int, outcome: str) -> None:
        self.recorder.request(self.running.pop(n), at_ns, at_ns, at_ns + took * MS, outcome, 0)

    def delta(self, k: int) -> Any:
        while self.edges and self.edges[0][0] < (k + 1) * 1_000:
            self.edges.pop(0)[2]()
        return replace(self.recorder.flip(k * S, (k + 1) * S), agent=self.name, epoch=1)


@given(CALLS)
def test_window_that_is_broken_while_requests_run_stays_broken_and_the_end_is_the_plain_count(
    calls: list[tuple[int, int, int, str, str, str]],
) -> None:
    merge = Merge(S)
    agents = [Agent(name, [one for one in calls if one[0] == n]) for n, name in enumerate(("a", "b"))]
    broken_before = [0] * len(SLOS)
    for k in range(12):
        for agent in agents:
            merge.accept("eu", agent.delta(k))
        for index, slo in enumerate(SLOS):
            (result,) = evaluate(
                objective(slo), merge, journeys=["shop"], index=index, end_ns=min(k + 1, 6) * S, is_over=False
            )
            assert result.windows_failed >= broken_before[index]
            broken_before[index] = result.windows_failed
    for index, slo in enumerate(SLOS):
        found = merge.due.counts(index, "shop", 0, 6)
        good, bad = Counter[int](), Counter[int]()
        for _, at, took, outcome, tenant, cache in calls:
            tags = tuple((name, value) for name, value in (("tenant", tenant), ("x-cache", cache)) if value)
            if all(selector.matches(tags) for selector in objective(slo).tags):
                (good if outcome == OK and took <= 900 else bad)[at // 1_000] += 1
        assert found[0].tolist() == [good[k] for k in range(6)]
        assert found[1].tolist() == [bad[k] for k in range(6)]
        assert not found[2:].any()


def test_objective_with_tags_and_a_window_is_as_it_was_written() -> None:
    slo = p(99, load="spike", tags={"tenant": any_of("gold", "silver")}, window="1m", abort=True) < "300ms"
    found = objective(slo)
    assert found.text == (
        'p(99, load="spike", tags={"tenant": any_of("gold", "silver")}, window="1m", abort=True) < 300ms'
    )
    assert msgspec.json.decode(msgspec.json.encode(found), type=Objective) == found
