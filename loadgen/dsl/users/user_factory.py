"""Creates users with the clients, connections and seeds that a plan defines.

Each worker has one `UserFactory`. A run, a rehearsal and a trial use the same code; only
their networks and clocks differ.
"""

from __future__ import annotations

import asyncio
import ssl as _ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from http.cookiejar import CookieJar
from random import Random
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from loadgen.clients.browser.browsers import Browsers
from loadgen.clients.browser.host_rules import places_of
from loadgen.clients.browser.page_visit import PageName, PageSettings, PageVisit
from loadgen.clients.browser.reachable import launch_for
from loadgen.clients.caching import CachingHttpClient
from loadgen.clients.grpc_schema.reflected import Reflected
from loadgen.clients.http import HttpClient
from loadgen.clients.httpx_api.rows import HttpxRows
from loadgen.clients.httpx_api.stock import StockHttpClient, StockPool
from loadgen.clients.httpx_api.user_clients import UserClients
from loadgen.clients.llm.client import LlmClient
from loadgen.clients.llm.model_facts import ModelFacts, found_out
from loadgen.clients.llm.settings import Llm
from loadgen.clients.llm.worker import LlmWorker
from loadgen.clients.net.network import Network, RawNetwork, TcpNetwork
from loadgen.clients.net.proxy_requests import Forward
from loadgen.clients.net.settings import Http
from loadgen.clients.pool.connection_policy import Connections
from loadgen.clients.pool.pool import ConnectionPool, Origin, SharedPool
from loadgen.clients.pool.pool_for_plan import pool_for
from loadgen.clients.protocol.phased import PhasedMeter
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.request.rate_cap import Cap, capped
from loadgen.clients.request.request_head_cache import origin_of_url
from loadgen.clients.request.traced_meter import with_traces
from loadgen.clients.request.tracing import Names, Trace, Tracer
from loadgen.clients.span_export.sender import SpanSender
from loadgen.clients.tcp_udp.links import Links
from loadgen.clients.tcp_udp.place import Place
from loadgen.dsl.prompts.calibrate_by_server import calibrate
from loadgen.dsl.prompts.tokenizer_words import exact_words
from loadgen.dsl.users.leveled_life import LeveledLife, LevelTags
from loadgen.dsl.users.library_clients import OwnerMeter, WorkerClients
from loadgen.dsl.users.llm_place import LlmPlace
from loadgen.dsl.users.other_targets import NO_HTTP_URL, NoHttpNetwork, http_targets, target_named
from loadgen.dsl.users.user import NO_LOAD, User, UserLoad, UserWith, utc_now
from loadgen.dsl.users.user_runner import BoundJourney, JourneyLife
from loadgen.engine.health.stream_reads import StreamReads
from loadgen.engine.load.rendezvous import Points
from loadgen.engine.recording.first_byte_meter import with_first_byte
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.stream_meter import with_streams
from loadgen.engine.recording.user_meter import Meter
from loadgen.engine.tracing.share import AdaptiveShare
from loadgen.errors import UsageError
from loadgen.measure.deltas.series_key import Tags
from loadgen.target_url import LINK_SCHEMES, TargetUrl, http_url_of_grpc, is_grpc, is_http

if TYPE_CHECKING:
    from loadgen.clients.browser.chromium import StorageState
    from loadgen.clients.pool.http3_pool import Http3Worker

__all__ = ["UserFactory", "Ways"]


@dataclass(frozen=True, slots=True)
class Ways:
    """How users reach the targets of a plan.

    targets: base URLs by name; a single target has the name "".
    target: the name of the target of `user.http`; None: the first.
    tags: response headers, in lower case, by which series are split.
    llm: how AI models are asked; None: the plan asks none.
    browsers: the most pages in browsers at the same time on each worker; 0: no user has one.
    has_phases, has_ttfb: an objective limits a phase of requests, or the time to their first byte, so it is recorded.
    """

    targets: Mapping[str, str]
    target: str | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    connections: Connections = field(default_factory=Connections)
    tags: tuple[str, ...] = ()
    trace: Trace | None = None
    follow_redirects: bool = False
    http: Http = field(default_factory=Http)
    client: Literal["loadgen", "httpx"] = "loadgen"
    """"httpx" selects the stock httpx client, for comparison."""
    has_phases: bool = False
    has_ttfb: bool = False
    llm: Llm | None = None
    browsers: int = 0

    @property
    def main_url(self) -> str:
        """Return the URL of the plan's main target, or of the first one."""
        return self.targets[self.target] if self.target is not None else next(iter(self.targets.values()))

    @property
    def url(self) -> str:
        """Return the base URL of `user.http`: the main target, or the first one of HTTP if the main one is not HTTP."""
        main = self.main_url
        return main if is_http(main) else next(iter(http_targets(self.targets).values()), NO_HTTP_URL)


class UserFactory:
    """Creates the users of one worker. With shared connections, create it within a running loop.

    Args:
        shared: the JSON value that the plan's set-up returned.
        sleep, wait, clock, now: the sources of time, as in `User`.
        points: the rendez-vous of this worker; None: no rendez-vous waits.
        cap: the limit of requests/s for all users of this worker together.
        reads: counts the reads of streams; None: nothing counts them.
        has_stamps: the kernel times the reads of streams, because `network` has its clock.
        names: of the run, for headers of plans with tracing.
        adaptive: the share of sampled traces, if it changes. export: receives our own spans; None: nobody does.
        worker_clients: the libraries' clients that all users of the worker share; None: those of this object's users.
            Who drives the users closes them.
        raw: opens the connections of `user.tcp` and `user.udp`; None: `network` does, if it can.
        raw_tls: makes the TLS context of `tcps://` targets, which offers no HTTP; None: it is that of HTTP.
        http2_tls: makes the TLS context of `grpcs://` targets, which offers HTTP/2; None: it is that of HTTP.
    """

    user_class: type[UserWith[Any]] = UserWith
    meter_class: type[Meter] = Meter
    """The classes of users and meters. A subclass of People may replace them to observe more than is recorded."""

    def __init__(
        self,
        ways: Ways,
        network: Network,
        ssl: _ssl.SSLContext | None,
        *,
        seed: int,
        shared: Any = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        wait: Callable[[float], Awaitable[None]] | None = None,
        clock: Callable[[], int] = perf_counter_ns,
        now: Callable[[], datetime] = utc_now,
        points: Points | None = None,
        cap: Cap | None = None,
        reads: StreamReads | None = None,
        has_stamps: bool = False,
        names: Names = Names(),  # noqa: B008  # frozen
        adaptive: AdaptiveShare | None = None,
        export: SpanSender | None = None,
        worker_clients: WorkerClients | None = None,
        reflected: Reflected | None = None,
        raw: RawNetwork | None = None,
        raw_tls: Callable[[], _ssl.SSLContext] | None = None,
        http2_tls: Callable[[], _ssl.SSLContext] | None = None,
    ) -> None:
        self.ways = ways
        self._raw = network if raw is None and isinstance(network, RawNetwork) else raw
        self._make_raw_tls = raw_tls
        self._raw_tls: _ssl.SSLContext | None = None
        self._make_http2_tls, self._grpc_network = http2_tls, network
        self._http2_tls: _ssl.SSLContext | None = None
        self._has_http = ways.url != NO_HTTP_URL
        self.worker_clients = worker_clients or WorkerClients()
        self.worker_clients.owner = self.worker_clients.owner or self._client_owner
        self.reflected = reflected or Reflected()
        self.grpc_targets: set[str] = set()
        self._reads, self._has_stamps = reads, has_stamps
        self.shared = shared
        self._network: Network = network if self._has_http else NoHttpNetwork()
        self._ssl, self._seed = ssl, seed
        self._sleep, self._wait, self._clock, self._now = sleep, wait, clock, now
        self._points = points
        self._url = ways.url
        # Not seeded by the run, because then all its workers would create the same trace ids.
        self._tracer: Tracer | None = None
        if ways.trace is not None:
            self._tracer = Tracer(ways.trace, Random(), names, _adaptive_of(ways.trace, adaptive))  # noqa: S311
        self._forward = Forward.of(ways.http)
        self._other_origins = self._origins_of_targets() if self.preconnects else ()
        self._pages: PageSettings | None = None
        """What visits to pages share; None: there was none."""
        self._shared_pool: ConnectionPool | None = None
        self._http3 = _http3_of(ways, network, ssl)
        self._max_body_bytes = ways.http.max_body_bytes
        self._has_phases = ways.http.phases or ways.has_phases
        if self._has_phases:
            self.meter_class = PhasedMeter
        if ways.has_ttfb:
            self.meter_class = with_first_byte(self.meter_class)
        self.model = None if ways.llm is None else ModelFacts(ways.llm)
        """The known facts about the AI model; the set-up adds more."""
        tokenizer = None if ways.llm is None else ways.llm.loaded_tokenizer()
        self._llm_worker = LlmWorker(tokenizer)
        self._words: np.ndarray | None = None
        """The words of prompts for the model's tokenizer; None: those of the shipped list."""
        if ways.llm is not None:
            self.meter_class = with_streams(self.meter_class, tokenizer)
            self._words = None if tokenizer is None else exact_words(tokenizer)
        if ways.trace is not None:
            self.meter_class = with_traces(self.meter_class, ways.trace, export, self._tracer)
        if cap is not None:
            self.meter_class = capped(self.meter_class, cap)
        if ways.connections.policy == "shared":
            self._shared_pool = self._pool()

    @property
    def preconnects(self) -> bool:
        """Whether connections are opened ahead of demand: each user slot keeps its own, and the plan allows it."""
        ways = self.ways
        is_ours = ways.connections.policy == "kept" and ways.client == "loadgen"
        return ways.http.preconnect and is_ours and self._has_http

    def _origins_of_targets(self) -> tuple[Origin, ...]:
        """Return where the plan's targets are, besides that of `user.http`. Targets on the same server count once."""
        main = origin_of_url(self._url, "", self._forward)
        targets = http_targets(self.ways.targets).items()
        others = dict.fromkeys(origin_of_url(url, name, self._forward) for name, url in targets if url != self._url)
        return tuple(one for one in others if one is not main)

    def user(self, recorder: Recorder, load: int = 0, *, tags: Tags = ()) -> User:
        """Create and return a user that runs no iterations, as for set-up and tear-down of a plan.

        load: the index of the plan's load that the user belongs to; `tags` are those of the load.
        """
        return self._user(recorder, load, tags, self._pool(), None)

    def life(
        self,
        recorder: Recorder,
        journeys: Sequence[BoundJourney],
        *,
        fresh: bool,
        report: Callable[[str], None],
        load: int = 0,
        tags: Tags = (),
        facts: UserLoad = NO_LOAD,
        levels: LevelTags | None = None,
    ) -> JourneyLife:
        """Create a user and return its `JourneyLife`, the object that runs its iterations.

        Args:
            journeys: the journeys that the user may run.
            fresh, report: as in `JourneyLife`.
            load: the index of the plan's load that the user belongs to; `tags` are those of the load, `facts` what
                journeys see of it.
            levels: by which the iterations of the load are split; None: it has no levels.
        """
        pool = self._pool()
        user = self._user(recorder, load, tags, pool, self._points, facts)
        close_idle = pool.close_idle if self.ways.connections.policy == "fresh" else None
        kind = JourneyLife if levels is None else LeveledLife
        life = kind(
            user, journeys, fresh=fresh, report=report, load=load, close_idle=close_idle, origins=self._other_origins
        )
        if levels is not None and isinstance(life, LeveledLife):
            life.level_tags = levels
        return life

    def close(self) -> None:
        """Close the connections that all users share. A user's own connections are closed with the user."""
        if self._shared_pool is not None:
            self._shared_pool.close()

    async def find_model(self, user: User) -> dict[str, Any]:
        """Find out about the AI model of the plan, remember it, and return what other workers need to know.

        Raises:
            UsageError, RequestFailed: as `found_out`.
        """
        assert self.model is not None
        client = user.llm
        self.model = await found_out(self.model, client, client.http, calibrate)
        return self.model.as_json()

    # -- further clients of a user (`Openers`) ----------------------------------------------------

    def open_client(self, user: User, target: str) -> HttpClient:
        """Create and return a user's HTTP client for the target of this name.

        Raises:
            UsageError: the plan has no target of that name.
        """
        url = str(target_named(self.ways.targets, target, self._url))
        if not is_http(url):
            raise UsageError(
                f'user.to("{target}"): {url} is not an HTTP target',
                hint=f'write user.grpc_channel("{target}")'
                if is_grpc(url)
                else f'write user.tcp("{target}", frame=lines()), user.udp("{target}"), or user.target("{target}")',
            )
        # Rows of other targets carry the target's name, since `/x` of two targets must not share a row.
        return self._client(user._meter, user.http.pool, url, "" if url == self._url else target)

    def open_grpc(self, user: User, target: str) -> HttpClient:
        """Return the HTTP client of a user for gRPC calls to the target of this name; of "" the plan's main target.

        A gRPC target gets a client over a pool of its own, which always uses HTTP/2. Others share that of `user.http`.

        Raises:
            UsageError: the plan has no target of that name.
        """
        url = str(self.target_url(target))
        if not is_grpc(url):
            return user.to(target) if target else user.http
        scheme = url.partition("://")[0].lower()
        pools = user.http.pool.beside
        if scheme not in pools:
            pools[scheme] = self._grpc_pool(scheme)
        # As of HTTP: calls to other targets carry the target's name.
        name = "" if url == self.ways.main_url else target
        return self._client(user._meter, pools[scheme], http_url_of_grpc(url), name)

    def _grpc_pool(self, scheme: str) -> ConnectionPool:
        """Return a pool for the targets of a gRPC scheme. Without TLS, nothing is negotiated."""
        if self._http2_tls is None and scheme == "grpcs":
            self._http2_tls = self._ssl if self._make_http2_tls is None else self._make_http2_tls()
        return pool_for(
            self.ways.connections,
            self._grpc_network,
            self._http2_tls,
            http2=True if scheme == "grpcs" else "prior",
            limit_bytes=self._max_body_bytes,
            has_phases=self._has_phases,
        )

    def target_url(self, target: str) -> TargetUrl:
        """Return the URL of the target of this name; of "" that of the plan's main target.

        Raises:
            UsageError: the plan has no target of that name.
        """
        return target_named(self.ways.targets, target, self.ways.main_url)

    def links(self, user: User) -> Links:
        """Return the object that opens the TCP connections and UDP sockets of one user."""

        def place(target: str, word: str) -> Place:
            url = self.target_url(target)
            if url.scheme in LINK_SCHEMES and self.ways.http.uds is not None:
                raise UsageError(
                    f"{url}: Http(uds=...) sends everything to a UNIX socket, and TCP and UDP cannot be sent there",
                    hint="leave out uds=, or the target",
                )
            if self._raw is None:
                raise UsageError("this user has only user.http", hint="create users with `UserFactory(raw=...)`")
            return Place(target, url, user._meter, self._raw, self.ways.timeouts, self._tls_of_links)

        return Links(place)

    def _tls_of_links(self) -> _ssl.SSLContext:
        if self._raw_tls is None:
            made = self._ssl if self._make_raw_tls is None else self._make_raw_tls()
            if made is None:
                raise UsageError("tcps://: this user has no TLS context", hint="create users with ssl=")
            self._raw_tls = made
        return self._raw_tls

    def open_llm(self, user: User) -> LlmClient:
        """Create and return a user's client of the AI model.

        Raises:
            UsageError: the plan has no model.
        """
        if self.model is None:
            raise UsageError("the plan has no model", hint='add it to the plan: llm=Llm(model="qwen3-8b")')
        settings = self.model.settings
        http = user.http if settings.target is None else self.open_client(user, settings.target)
        return LlmClient(http, settings, LlmPlace(user, self.model.tokens_per_word), self._llm_worker, self._reads)

    def httpx_clients(self, user: User) -> UserClients:
        """Return the object that makes the httpx clients of one user, over the user's connections."""
        ways = self.ways
        return UserClients(
            user._meter,
            user.http.pool,
            self._url,
            http_targets(ways.targets),
            ways.timeouts,
            tags=ways.tags,
            tracer=self._tracer,
            forward=self._forward,
            follow_redirects=ways.follow_redirects,
        )

    def open_browser(
        self,
        user: User,
        url: str,
        name: PageName,
        storage: StorageState | None = None,
        jar: CookieJar | None = None,
    ) -> PageVisit:
        """Return the visit of a user to pages in a browser.

        Raises:
            UsageError: the plan has no browsers.
        """
        ways = self.ways
        if not ways.browsers:
            raise UsageError("the plan has no browsers", hint="add Plan(browsers=2): pages at the same time a worker")
        browsers = self.worker_clients.browsers
        if browsers is None:
            browsers = self.worker_clients.browsers = Browsers(ways.browsers)
        if self._pages is None:
            allow = self._network.guard.allow if isinstance(self._network, TcpNetwork) else None
            places = places_of(ways.targets.values(), allow)
            self._pages = PageSettings(
                self._url,
                ways.timeouts.total_ns,
                ways.http.verify,
                frozenset(places),
                partial(launch_for, self._network, places),
                self._tracer,
            )
        return PageVisit(browsers, user._meter, self._pages, url, name, storage, jar)

    # -- the parts of a user ----------------------------------------------------------------------

    def _pool(self) -> ConnectionPool:
        ways = self.ways
        if ways.client == "httpx":
            if self._shared_pool is not None:
                return self._shared_pool
            return StockPool(self._network, self._ssl, ways.connections.limit or None)
        return pool_for(
            ways.connections,
            self._network,
            self._ssl,
            self._shared_pool if isinstance(self._shared_pool, SharedPool) else None,
            http2=ways.http.http2,
            http3=self._http3,
            limit_bytes=self._max_body_bytes,
            has_phases=self._has_phases,
            has_stamps=self._has_stamps,
        )

    def _client(self, meter: Meter, pool: ConnectionPool, url: str, target: str = "") -> HttpClient:
        ways = self.ways
        if ways.client == "httpx":
            rows = HttpxRows(meter, url, http_targets(ways.targets), ways.tags, self._tracer, is_judged=True)
            return StockHttpClient(
                meter, pool, url, ways.timeouts, follow_redirects=ways.follow_redirects, target=target, rows=rows
            )
        client = HttpClient if ways.http.cache is None else CachingHttpClient
        return client(
            meter,
            pool,
            url,
            ways.timeouts,
            follow_redirects=ways.follow_redirects,
            tags=ways.tags,
            tracer=self._tracer,
            target=target,
            forward=self._forward,
            retries=ways.http.retries,
        )

    def _client_owner(self) -> User:
        return self._user(Recorder(), 0, (), self._pool(), None, meter_class=OwnerMeter)

    def _user(
        self,
        recorder: Recorder,
        load: int,
        tags: Tags,
        pool: ConnectionPool,
        points: Points | None,
        facts: UserLoad = NO_LOAD,
        meter_class: type[Meter] | None = None,
    ) -> User:
        meter = (meter_class or self.meter_class)(recorder, tags)
        meter.load = load
        pool.report_to(recorder)
        user = self.user_class(
            self._client(meter, pool, self._url),
            meter,
            seed=self._seed,
            shared=self.shared,
            sleep=self._sleep,
            wait=self._wait,
            clock=self._clock,
            now=self._now,
            openers=self,
            points=points,
            load=facts,
            words=self._words,
            worker_clients=self.worker_clients,
        )
        if meter.times_streams:
            meter.waits = LlmPlace(user).waited_ns
        return user


def _http3_of(ways: Ways, network: Network, context: _ssl.SSLContext | None) -> Http3Worker | None:
    """Return what all HTTP/3 connections of the worker share; None for plans without HTTP/3. Trials have none either:
    their network answers over HTTP/1.1.
    """
    if not ways.http.http3 or ways.client == "httpx" or not hasattr(network, "open_quic"):
        return None
    from loadgen.clients.pool.http3_pool import http3_worker  # needs the extra `http3`

    assert context is not None
    return http3_worker(ways.http, context)


def _adaptive_of(trace: Trace, given: AdaptiveShare | None) -> AdaptiveShare | None:
    """Return the share in force of a plan whose share changes; of a trial, which has none, a new one."""
    if given is not None or not trace.is_adaptive:
        return given
    return AdaptiveShare(trace.share, trace.per_s, trace.boost_share)
