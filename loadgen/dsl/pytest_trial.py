"""Runs one journey once on canned replies, for tests of scenarios with pytest.

    trial = await checkout.trial(
        Shopper("a@shop.example", "secret", "sku-1"),
        replies={
            "POST /login": reply(200, json={"token": "t"}),
            "GET /products/{sku}": reply(200, html='<input name="csrf" value="c">'),
            "POST /cart": reply(201),
        },
    )
    assert trial.outcome == "ok"
    assert trial.sent[-1].json() == {"sku": "sku-1", "csrf": "c"}

A trial uses the same code as a run: the same client down to the bytes, the same steps, the
same recording. There is no network; pages of `user.browser` are opened in a real Chromium, which gets the
same replies. Think times, paces and polls take no time: the clock
jumps, and `user.now()` with it. A rendez-vous does not wait, because there are no other
users. Failures of the target become outcomes, but exceptions of the journey's own code
are raised. Problems that a run would report (a leaked task, a call never awaited) are in
`notes`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import wraps
from http.cookiejar import CookieJar
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, TypeVar

from loadgen.clients.browser.browsers import Browsers
from loadgen.clients.browser.canned_pages import CannedPages, launch_without_network
from loadgen.clients.browser.page_visit import PageName, PageSettings, PageVisit
from loadgen.clients.grpc_schema.reflected import Reflected
from loadgen.clients.http import HttpClient
from loadgen.clients.llm.settings import Llm
from loadgen.clients.net.canned_replies import CannedNetwork
from loadgen.clients.tcp_udp.canned_peers import CannedPeers, SentMessage, SilenceIsTimeout, canned_host
from loadgen.clients.tcp_udp.links import Links
from loadgen.clients.tcp_udp.place import Place
from loadgen.dsl.data.descriptor_set import DescriptorSet
from loadgen.dsl.distributions import Distribution
from loadgen.dsl.loading.static_checks import mistakes_of
from loadgen.dsl.metric import Metric
from loadgen.dsl.users.exception_to_outcome import traceback_of, where_of
from loadgen.dsl.users.library_clients import Scope
from loadgen.dsl.users.named_outcomes import Outcomes, outcome_given
from loadgen.dsl.users.user import User, UserWith
from loadgen.dsl.users.user_factory import UserFactory, Ways
from loadgen.dsl.users.user_runner import BoundJourney
from loadgen.dsl.users.worker_tally import WorkerTally
from loadgen.engine.load.user_iterations import Arrival
from loadgen.engine.recording.recorded_series import RequestSeries, StepSeries
from loadgen.engine.recording.recorder import Recorder
from loadgen.errors import IterationEnded, ScenarioError, UsageError
from loadgen.measure.deltas.series_key import SKIPPED
from loadgen.target_url import TargetUrl

if TYPE_CHECKING:
    from loadgen.clients.browser.chromium import StorageState
    from loadgen.clients.grpc_client.channel import GrpcChannel
    from loadgen.clients.grpc_schema.schema import Schema
    from loadgen.clients.net.canned_replies import CannedRequest
    from loadgen.dsl.journey import Journey

T = TypeVar("T")

__all__ = ["Trial", "TrialRequest", "TrialStep", "try_journey"]

_TARGET = "http://trial.example"


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """One request of a trial, as a run would record it."""

    name: str
    """The name in reports: "GET /products/{sku}"."""
    step: str | None
    outcome: str
    response_ns: int


@dataclass(frozen=True, slots=True)
class TrialStep:
    """One finished step of a trial. Nested steps come before the step around them."""

    name: str
    outcome: str
    response_ns: int
    """Response time, without think time."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of a trial.

    outcome: "ok", or how the iteration ended: "expect status", "http 503" ...; `detail` explains it, `where` is the
    place in the scenario ("checkout.py:14 in checkout"), and `traceback` has the scenario's frames.
    requests, steps: as recorded, in the order in which they ended. sent: the requests as sent, with headers and body.
    thought_s: think time of a real user, seconds. checks: name -> (times true, times checked).
    metrics: values of the custom metrics in the journey's module. notes: problems that a run would report.
    """

    outcome: str
    detail: str
    requests: tuple[TrialRequest, ...]
    steps: tuple[TrialStep, ...]
    sent: tuple[CannedRequest, ...]
    thought_s: float
    response_ns: int
    where: str = ""
    traceback: str = ""
    checks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    metrics: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    skipped_cycles: int = 0
    notes: tuple[str, ...] = ()
    messages: tuple[SentMessage, ...] = ()
    """The messages sent over TCP and UDP, in order."""

    @property
    def skipped(self) -> bool:
        """Return True if the journey ended with `user.skip`."""
        return self.outcome == SKIPPED


async def try_journey(
    one: Journey[Any],
    row: Any,
    replies: Mapping[str, Any],
    *,
    seed: int = 0,
    shared: Any = None,
    now: datetime | None = None,
    llm: Llm | None = None,
    clients: Mapping[Any, Callable[[User], Any]] | None = None,
) -> Trial:
    """Run a journey once on canned replies and return what it did. The arguments are those of `Journey.trial`.

    Raises:
        ScenarioError: the journey has errors, also in a branch that this trial would not enter.
        UsageError: a missing or superfluous row, or a request without a canned reply.
        Exception: any exception of the journey's own code.
    """
    own = [fn for fn in (one.set_up_fn, one.tear_down_fn) if fn is not None]
    if faults := (*one.faults, *mistakes_of([*(fn for _, fn in one.parts), *own])):
        raise ScenarioError(faults)
    if (row is None) != (one.feed is None):
        raise UsageError(f"{one.name} {'takes no data' if one.feed is None else 'needs a row'}", hint=_call_hint(one))
    if not isinstance(clients or {}, Mapping) or not all(map(callable, (clients or {}).values())):
        raise UsageError(
            f"clients={clients!r} must map factories to factories", hint="write trial(clients={Cache: FakeCache}, ...)"
        )
    recorder = _Notes()
    peers = CannedPeers(replies)
    network = CannedNetwork(peers.http_part(replies))
    clock = _JumpingClock(now)
    settings = (llm or Llm(model="model")).settled(Path(one.origin.file).parent)
    user_factory = _TrialPeople(network, peers, clock, seed, shared, settings, replies.get("reflection"), clients or {})
    raised: list[BaseException] = []
    bound = BoundJourney(
        one.name,
        _watched(one.fn, raised),
        (lambda n: row) if one.feed is not None else None,
        _watched(one.set_up_fn, raised) if one.set_up_fn is not None else None,
        _watched(one.tear_down_fn, raised) if one.tear_down_fn is not None else None,
        one.state,
        functions=tuple(fn for _, fn in one.parts),
    )
    metrics = _metrics_of(one, recorder)
    notes: list[str] = []
    life = user_factory.life(recorder, [bound], fresh=False, report=notes.append)
    try:
        await life.iterate(Arrival(perf_counter_ns(), 0, 0, False), pool_limited=False)
    finally:
        await life.close()
        await user_factory.close_channels()
        await user_factory.worker_clients.close()
    for error in raised:
        if not isinstance(error, IterationEnded) and outcome_given(error) is None:
            raise error
    ended = next((error for error in raised if isinstance(error, IterationEnded)), None)
    tally = WorkerTally.of(recorder)
    return Trial(
        life.outcome,
        ended.detail if ended is not None else "",
        tuple(recorder.requests),
        tuple(recorder.steps),
        tuple(network.requests),
        clock.thought_ns / 1e9,
        life.ended_ns - life.begun_ns - life.idle_ns if life.begun_ns else 0,
        where_of(ended) if ended is not None else "",
        traceback_of(ended) if ended is not None else "",
        {name: (count.total, count.n) for name, count in tally.checks.items()},
        {metric.name: metric.values[before:] for metric, before in metrics},
        tally.cycles.total if tally.cycles is not None else 0,
        (*notes, *recorder.take_notes()),
        tuple(peers.sent),
    )


class _JumpingClock:
    """A clock whose sleeps take no time but advance it."""

    def __init__(self, begin: datetime | None) -> None:
        self._begin = begin if begin is not None else datetime.now(UTC)
        self._from_ns = perf_counter_ns()
        self.jumped_ns = 0
        self.thought_ns = 0

    async def sleep(self, wait_s: float) -> None:
        self.jumped_ns += round(wait_s * 1e9)
        await asyncio.sleep(0)

    def elapsed_ns(self) -> int:
        return perf_counter_ns() + self.jumped_ns

    def now(self) -> datetime:
        return self._begin + timedelta(microseconds=(self.elapsed_ns() - self._from_ns) / 1000)


class _TrialUser(UserWith[Any]):
    """A user that adds up its think times, and whose gRPC calls get canned answers as well."""

    trial_clock: _JumpingClock
    trial_grpc: Callable[[User, str], GrpcChannel]
    trial_clients: Mapping[Any, Callable[[User], Any]]

    def grpc_channel(self, target: str = "") -> GrpcChannel:
        return type(self).trial_grpc(self, target)

    def client(self, factory: Callable[[User], T], *, scope: Scope = "user", outcomes: Outcomes | None = None) -> T:
        made: T = super().client(self.trial_clients.get(factory, factory), scope=scope, outcomes=outcomes)
        return made

    async def think(self, low: float | str | Distribution, high: float | str | None = None) -> None:
        before_ns = self.trial_clock.jumped_ns
        await super().think(low, high)
        self.trial_clock.thought_ns += self.trial_clock.jumped_ns - before_ns


class _CannedReflection(Reflected):
    """Reflection without a server: `replies={"reflection": SHOP}`, with `SHOP = descriptor_set("shop.binpb")`."""

    def __init__(self, given: Any) -> None:
        super().__init__()
        self._given = given

    async def schema(self, target: str, service: str, ask: Callable[[], Awaitable[Schema]]) -> Schema:
        if not isinstance(self._given, DescriptorSet):
            raise UsageError(
                f"a trial has no server that describes {service}",
                hint='add "reflection": descriptor_set("shop.binpb") to the replies',
            )
        return self._given.schema


class _TrialPeople(UserFactory):
    """Creates the users of trials. Accepts any target name; all targets get the same replies."""

    def __init__(
        self,
        network: CannedNetwork,
        peers: CannedPeers,
        clock: _JumpingClock,
        seed: int,
        shared: Any,
        llm: Llm,
        reflection: Any,
        clients: Mapping[Any, Callable[[User], Any]],
    ) -> None:
        super().__init__(
            Ways({"": _TARGET}, llm=llm),
            network,
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            seed=seed,
            shared=shared,
            sleep=clock.sleep,
            clock=clock.elapsed_ns,
            now=clock.now,
            reflected=_CannedReflection(reflection),
        )
        self._canned, self._peers = network, peers
        self._opened: list[HttpClient] = []
        of_user = {"trial_clock": clock, "trial_grpc": self._grpc_channel, "trial_clients": clients}
        self.user_class = type("User", (_TrialUser,), of_user)

    def open_browser(
        self,
        user: User,
        url: str,
        name: PageName,
        storage: StorageState | None = None,
        jar: CookieJar | None = None,
    ) -> PageVisit:
        browsers = self.worker_clients.browsers
        if browsers is None:
            browsers = self.worker_clients.browsers = Browsers(most=1_000)
        canned = CannedPages(self._canned, _TARGET)
        settings = PageSettings(
            _TARGET, self.ways.timeouts.total_ns, True, canned.places, launch_without_network, canned=canned
        )
        return PageVisit(browsers, user._meter, settings, url, name, storage, jar)

    def open_client(self, user: User, target: str) -> HttpClient:
        return self._client(user._meter, user.http.pool, _url_of(target))

    def _grpc_channel(self, user: User, target: str) -> GrpcChannel:
        from loadgen.clients.grpc_client.canned import CannedGrpc  # imports grpcio, which few trials need
        from loadgen.clients.grpc_client.channel import GrpcChannel
        from loadgen.clients.pool.http2_pool import Http2Pool

        http = self._client(user._meter, Http2Pool(CannedGrpc(self._canned), prior=True), _url_of(target))
        self._opened.append(http)
        return GrpcChannel(http, reflected=self.reflected, target=target)

    async def close_channels(self) -> None:
        """Close the connections of all gRPC channels."""
        for http in self._opened:
            await http.close()

    def target_url(self, target: str) -> TargetUrl:
        return TargetUrl(f"tcp://{canned_host(target)}:7000")

    def links(self, user: User) -> Links:
        def place(target: str, word: str) -> Place:
            url = TargetUrl(f"{word}://{canned_host(target)}:7000")
            return Place(
                target, url, user._meter, self._peers, self.ways.timeouts, self._tls_of_links, SilenceIsTimeout
            )

        return Links(place)


def _url_of(target: str) -> str:
    return f"http://{re.sub(r'[^a-z0-9-]', '-', target.lower())}.trial.example" if target else _TARGET


class _Notes(Recorder):
    """A recorder that also keeps all requests and steps in order."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[TrialRequest] = []
        self.steps: list[TrialStep] = []

    def request(
        self,
        series: RequestSeries,
        asked_ns: int,
        sent_ns: int,
        done_ns: int,
        outcome: str,
        size_bytes: int,
    ) -> bool:
        key = series.key
        self.requests.append(TrialRequest(key.request or "", key.step, outcome, done_ns - asked_ns))
        return super().request(series, asked_ns, sent_ns, done_ns, outcome, size_bytes)

    def step(
        self,
        series: StepSeries,
        response_ns: int,
        duration_ns: int,
        outcome: str,
        censored: bool,
        entered_ns: int = 0,
    ) -> None:
        self.steps.append(TrialStep(series.key.step or "", outcome, response_ns))
        super().step(series, response_ns, duration_ns, outcome, censored, entered_ns)


def _watched(fn: Callable[..., Any], raised: list[BaseException]) -> Callable[..., Any]:
    """Return the function wrapped so that it appends its exceptions to `raised`, and raises them again.

    Without it, only the outcome of an exception would be known after the iteration.
    """

    @wraps(fn)
    async def watched(*args: Any) -> None:
        try:
            await fn(*args)
        except BaseException as error:
            raised.append(error)
            raise

    return watched


def _metrics_of(one: Journey[Any], recorder: Recorder) -> list[tuple[Metric, int]]:
    """Return the custom metrics defined in the journey's modules, each with its present number of values.

    All but trends are reset and bound to `recorder`.
    """
    modules = [getattr(fn, "__globals__", {}) for _, fn in one.parts]
    found = {id(it): it for module in modules for it in module.values() if isinstance(it, Metric)}
    for metric in found.values():
        if metric.kind != "trend":  # a bound trend keeps no values
            metric.bind(recorder)
    return [(metric, len(metric.values) if metric.kind == "trend" else 0) for metric in found.values()]


def _call_hint(one: Journey[Any]) -> str:
    return f"write await {one.name}.trial({'' if one.feed is None else 'row, '}replies={{...}})"
