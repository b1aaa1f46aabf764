"""A plan: which journeys, under which loads, against which targets, from which regions, with which objectives.

The scenario creates a `Plan`. It holds functions and never raises; `plan_check.py` reads and
checks its arguments. Its serializable part is in `spec.py`, and its loads are in `plan_loads.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from loadgen.clients.llm.settings import Llm
from loadgen.clients.net.settings import Http
from loadgen.clients.pool.connection_policy import Connections
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.request.tracing import Trace
from loadgen.dsl.executors.base import Executor
from loadgen.dsl.graphs.graph import Graph
from loadgen.dsl.journey import Journey, Mix
from loadgen.dsl.metric import Metric
from loadgen.dsl.plans.argument_validation import (
    Wrong,
    browsers_wrong,
    by_name,
    client_wrong,
    http3_wrong,
    is_url,
    links_wrong,
    max_users_wrong,
    once_wrong,
    read_browsers,
    read_connections,
    read_duration,
    read_http,
    read_labels,
    read_llm,
    read_text,
    read_time_limit,
    read_trace,
    read_unchecked,
    read_weights,
    region_names_wrong,
    url_wrong,
)
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.dsl.plans.plan_check import (
    executors_wrong,
    loads_and_tags_wrong,
    loads_chosen,
    override_ns,
    overrides_wrong,
    read_ca,
    read_load_slos,
    read_loads,
    read_slos,
    read_targets,
    regions_chosen,
    rows_wrong,
    scopes_wrong,
    seed_wrong,
    warmup_wrong,
    windows_too_long,
    windows_wrong,
)
from loadgen.dsl.plans.plan_loads import (
    OF_THE_PLAN,
    DrivenLoad,
    Load,
    is_executor,
    lane_of,
    rows_used,
    scaled,
    seed_of_load,
    stretched,
)
from loadgen.dsl.plans.plan_tags import (
    levels_wrong,
    read_tags,
    span_of_level,
    tag_names,
    with_level_tag,
    with_llm_tags,
)
from loadgen.dsl.plans.probe import Probe, read_probes
from loadgen.dsl.plans.spec import (
    JourneySpec,
    LaneSpec,
    Overrides,
    PlanSpec,
    SteeredLoad,
    TraceSpec,
    highest_sum,
    steered_objectives,
)
from loadgen.dsl.source_location import here
from loadgen.dsl.steered.replaced_load import replaced_load
from loadgen.dsl.tag import Tag
from loadgen.dsl.users.user_factory import Ways
from loadgen.engine.recording.tagging import TagSpec
from loadgen.errors import Fault, ScenarioError
from loadgen.measure.convention_metrics import convention_specs
from loadgen.measure.deltas.custom import MetricSpec
from loadgen.measure.objectives.exported_goodput import exported_limits
from loadgen.measure.objectives.objective import Objective
from loadgen.profiles.profile import OpenProfile, Profile, UserProfile
from loadgen.units import format_duration

if TYPE_CHECKING:
    from loadgen.dsl.users.user import User

__all__ = ["Plan", "rows_needed"]


_PURE_HINT: Final = "use random.Random(seed) only; do not use the time of day, the environment or the order of a set"
STOCK_NOTE: Final = (
    "client: stock httpx; times include its own work, and it uses some 40 times the CPU of loadgen's client"
)


class Plan:
    """A load test: journeys, loads, targets and objectives. `loadgen run` runs it.

        plan = Plan(
            target="https://shop.example",
            load=arrivals("50/s").hold("10m"),
            mix={browse: 3, buy: 1},
            slos=[p(95) < "300ms", error_ratio() < "0.1%"],
        )

    Args:
        target: base URL of all paths, "https://shop.example"; or a name in `targets`.
        load: `arrivals(...)`, `users(...)`, `iterations(...)` or another executor.
        mix: one journey, or {journey: weight} with relative weights.
        slos: objectives such as `p(95) < "300ms"`, over the whole run without warm-up, or in windows.
        regions: {name: weight}, or a list of names with equal weights. Agents started with `--region NAME` get its
            share.
        loads: several `Load(...)`, instead of `load` and `mix`.
        targets: {"api": url, "login": url}, for `user.to("login")`. Without `target`, paths go to the first one.
        random: True draws the journey of each arrival at random; False takes exact turns.
        max_users: maximum number of concurrent users of an open load; further due arrivals wait. None: no limit.
        warmup: "30s" excludes iterations due in the first 30 s from series and objectives. "auto" detects the warm-up
            from the measurements after the run.
        max_lateness: an arrival that waits longer than this for a free user is missed. None: it waits without limit.
        drain: how long iterations may continue after the end of the load.
        set_up, tear_down: async functions that take a user. They run once per run in one worker, before and after the
            load. The JSON value that `set_up` returns is `user.shared` of every user.
        seed: seed of all random numbers; the same seed repeats the same run. None: each run draws one.
        connections: "kept" by each user, "fresh" in each iteration, or "shared:50": a pool of at most 50 connections
            for all users of a worker.
        connect_timeout, timeout: limits for connecting, and for a whole request.
        ca: PEM file with certificates to trust in addition to the usual ones, relative to the scenario.
        tags: declared tags (`tag(...)`), by which journeys split series; "header:x-cache" splits them by the value of
            a response header, and "cache" by the answer of caches: hit, miss, stale, bypass or none.
        trace: "1%": the requests of 1 % of all iterations are sampled by the target's tracing; all others send
            trace headers, too, which say that they are not. `Trace(...)` also sets formats and a link.
        http: `Http(...)`: proxy, client certificate, addresses, HTTP/2, retries and other HTTP settings.
        llm: `Llm(model=...)`: the AI model that `user.llm` asks, and how; see docs/llm.md.
        browsers: the most users with a real browser (`user.browser`) at the same time on each worker; 0: none.
        unchecked_libraries: client libraries that may open connections which an allow-list cannot check, because the
            library connects in C: ["confluent_kafka"]. Without their names, a run with an allow-list is refused.
        client: "loadgen", or "httpx" to run the scenario on the stock httpx client for comparison.
        busy_wait: False: workers always sleep until the next start of an open load. True: they turn their event loop
            instead if the start is due within some 50 µs, which makes starts more punctual; see docs/open-loads.md.
        owner: the person or team that is responsible for the plan; stored in the manifest.
        labels: {name: text}, any further information; stored in the manifest.
        probes: `metrics_page(...)`, `prometheus_server(...)`, `postgres_server(...)` and so on: servers of the target's
            side, which the controller reads during the run.

    Errors in arguments do not raise; the loader reports all of them with their lines.
    """

    def __init__(
        self,
        target: str | None = None,
        load: Executor | None = None,
        mix: Journey[Any] | Mix | None = None,
        slos: Iterable[Slo] = (),
        regions: Mapping[str, float] | Sequence[str] = ("local",),
        *,
        loads: Iterable[Load] = (),
        targets: Mapping[str, str] | None = None,
        random: bool = False,
        max_users: int | None = None,
        warmup: str | float | None = None,
        max_lateness: str | float | None = None,
        drain: str | float = "30s",
        set_up: Callable[[User], Coroutine[Any, Any, Any]] | None = None,
        tear_down: Callable[[User], Coroutine[Any, Any, Any]] | None = None,
        seed: int | None = None,
        connections: Connections | str = "kept",
        connect_timeout: str | float = "10s",
        timeout: str | float = "60s",
        ca: str | Path | None = None,
        tags: Iterable[str | Tag] = (),
        trace: Trace | str | None = None,
        http: Http | None = None,
        llm: Llm | None = None,
        browsers: int = 0,
        unchecked_libraries: Iterable[str] = (),
        client: str = "loadgen",
        busy_wait: bool = True,
        owner: str = "",
        labels: Mapping[str, str] | None = None,
        probes: Iterable[Probe] = (),
    ) -> None:
        self.origin = here()
        self.name = "plan"
        """Name of the variable that holds the plan; set by the loader."""
        self.doc = ""
        self.params: dict[str, Any] = {}
        self.metrics: tuple[Metric, ...] = ()
        self.secrets: tuple[str, ...] = ()
        """Names of the scenario's secrets; set by the loader, like `doc`, `params` and `metrics`."""
        self.libraries_in_c: tuple[str, ...] = ()
        """Client libraries of the scenario that connect in C; set by the loader."""
        self.lines: dict[str, int] = {}
        """Line of each argument, for messages; set by the loader."""
        self.overrides = Overrides()
        self.warnings: tuple[Fault, ...] = ()
        """Problems that do not prevent the run, to show before it."""
        self._wrong: list[Wrong] = []
        self._overridden: list[Fault] = []
        self.random = bool(random)
        read = read_loads(load, mix, loads, self._wrong)
        self.load = None if read.is_list else load
        self.loads: tuple[Load, ...] = read.loads
        self.journeys: tuple[Journey[Any], ...] = read.journeys
        """The journeys of all loads, each once."""
        self.weights: tuple[float, ...] = read.weights
        """Of `mix`; with several loads, the journeys' weights in the first one."""
        aimed = read_targets(target, targets, self._wrong)
        self.targets: dict[str, str] = aimed.targets
        """URL by name; a single target has the name ""."""
        named = (name for name in targets if isinstance(name, str)) if isinstance(targets, Mapping) else ()
        self.target_names: frozenset[str] = frozenset((*aimed.targets, *named))
        """All names of targets, also of those whose URL is invalid."""
        self.target: Any = aimed.target
        """The base URL of paths without another target; any object if it is among the errors."""
        self.target_name = aimed.name
        self.slos: tuple[Slo, ...] = (*read_slos(slos, self._wrong), *read_load_slos(self.loads, self._wrong))
        """The plan's objectives, then those of its loads."""
        self.regions: dict[str, float] = read_weights("regions", "region", by_name(regions), self._wrong)
        self._wrong += region_names_wrong(self.regions)
        self.max_users = max_users
        self.warmup_is_found = warmup == "auto"
        """True if the warm-up is detected after the run; `warmup_ns` is then 0."""
        self.warmup_ns = (0 if self.warmup_is_found else read_duration("warmup", warmup, self._wrong)) or 0
        self.busy_wait = busy_wait
        given: object = busy_wait
        if not isinstance(given, bool):
            message = f"busy_wait: invalid value {given!r}"
            self._wrong.append(Wrong("busy_wait", message, "write True or False"))
        self.max_lateness_ns = read_duration("max_lateness", max_lateness, self._wrong)
        self.drain_ns = read_duration("drain", drain, self._wrong) or 0
        self.connect_timeout_ns = read_time_limit("connect_timeout", connect_timeout, 10, self._wrong)
        self.timeout_ns = read_time_limit("timeout", timeout, 60, self._wrong)
        self.set_up, self.tear_down = set_up, tear_down
        self.seed = seed
        self.connections = read_connections(connections, self._wrong)
        split = read_tags(tags, self._wrong)
        self.tags = split.headers
        """Names of response headers, in lower case."""
        self._own_tags = split.specs if llm is None else with_llm_tags(split.specs)
        self.trace = read_trace(trace, self._wrong)
        self.http = read_http(http, self.folder, self._wrong)
        settings = (self.http, *(one.http for one in self.loads if one.http is not None))
        self._wrong += http3_wrong(settings, self.targets)
        self.llm = read_llm(llm, self.targets, self.folder, self._wrong)
        self.browsers = read_browsers(browsers, self._wrong)
        """The most pages in browsers at the same time on each worker."""
        self.unchecked_libraries = read_unchecked(unchecked_libraries, self._wrong)
        self._wrong += browsers_wrong(self.browsers, settings, has_ca=ca is not None)
        self.client = client
        self.owner = read_text("owner", owner, self._wrong)
        self.labels = read_labels(labels, self._wrong)
        self.ca = read_ca(ca, self.folder, self._wrong)
        self.probes = read_probes(probes, self._wrong)
        """The probes of the plan; the command line adds those of `loadgen.toml`."""

    # -- properties ---------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Return the scenario's folder, to which relative paths in the plan refer."""
        return Path(self.origin.file).parent

    @property
    def certificates(self) -> tuple[Path, ...]:
        """Return the certificate files of the plan, which agents receive with the scenario.

        Private keys are not among them.
        """
        settings = (self.http, *(one.http for one in self.loads if one.http is not None))
        found = (self.ca, *(one.certificate_in(self.folder) for one in settings))
        return tuple(dict.fromkeys(path for path in found if path is not None))

    @property
    def tokenizer(self) -> Path | None:
        """Return the file of the model's tokenizer, which agents receive with the scenario; None: no file."""
        return None if self.llm is None or self.llm.tokenizer is None else Path(self.llm.tokenizer)

    @property
    def tag_specs(self) -> tuple[TagSpec, ...]:
        """Return the declared tags in the order of `tags`, response headers among them, then those of `llm` and levels.

        While a load has errors, the tag of levels is missing.
        """
        with suppress(ScenarioError):
            return with_level_tag(self._own_tags, self.lanes)
        return self._own_tags

    @property
    def executors(self) -> tuple[Executor, ...]:
        """Return the executors of all loads as written, in order. Anything that is not an executor is left out."""
        return tuple(one for one in [*(one.load for one in self.loads), self.load] if isinstance(one, Executor))

    @property
    def lanes(self) -> tuple[DrivenLoad, ...]:
        """Return all loads as agents drive them, with the overrides applied, in order.

        Raises:
            ScenarioError: a load has errors, or the overrides do not fit.
        """
        lanes = self._written()
        if self.overrides.peak is not None:
            lanes = scaled(lanes, self.overrides.peak, self.overrides.peak_of)
        if self.overrides.duration_s is not None:
            lanes = stretched(lanes, override_ns(self.overrides.duration_s))
        return lanes

    @property
    def said(self) -> tuple[tuple[Slo, tuple[Journey[Any], ...]], ...]:
        """Return each objective with the journeys that it may name: those of the plan, or those of its load.

        The plan's own objectives come first, then those of loads, then those that steered loads follow.
        """
        of_load = {one.name: one.journeys for one in self.loads if one.name}
        own = tuple(
            (slo, of_load.get(slo.objective.load or "", self.journeys) if slo.objective is not None else self.journeys)
            for slo in self.slos
        )
        try:
            lanes = self.lanes
        except ScenarioError:
            return own
        followed = [(slo, lane.journeys) for lane, one in zip(lanes, self.executors, strict=True) for slo in one.slos]
        return (*own, *followed)

    @property
    def watched(self) -> tuple[Objective, ...]:
        """Return the objectives that agents count per interval: the plan's own, then those of steered loads."""
        return (*self._objectives(self.lanes), *steered_objectives(lane.steering for lane in self.lanes))

    @property
    def profile(self) -> Profile:
        """Return the profile (curve) of the first load, with the overrides applied.

        Raises:
            ScenarioError: the load has errors, or the overrides do not fit it.
        """
        return self.lanes[0].profile

    @property
    def duration_ns(self) -> int | None:
        """Return the time from the start of the run to the end of the last load, in ns.

        Returns None if a load has no known end, because it counts iterations.

        Raises:
            ScenarioError: a load has errors, or the overrides do not fit.
        """
        ends_ns = [lane.end_ns for lane in self.lanes]
        known = [end_ns for end_ns in ends_ns if end_ns is not None]
        return max(known) if len(known) == len(ends_ns) else None

    @property
    def longest_drain_ns(self) -> int:
        """Return how long iterations may continue after the end of all loads, in ns: the longest drain."""
        return max(self.drain_ns, *(one.drain_ns or 0 for one in self.loads), 0)

    def http_of(self, lane: DrivenLoad) -> Http:
        """Return the HTTP settings of a load's users. Where connections go and the clock are always set by the plan."""
        if lane.http is None:
            return self.http
        return replace(lane.http, **{name: getattr(self.http, name) for name in OF_THE_PLAN})

    def ways_of(self, lane: DrivenLoad) -> Ways:
        """Return the settings with which the users of a load connect to the targets."""
        return replace(self.ways(), connections=lane.connections or self.connections, http=self.http_of(lane))

    def ways(self) -> Ways:
        """Return the settings with which users connect to the targets: URLs, time-outs, connections and so on."""
        limited = {slo.objective.metric for slo in self.slos if slo.objective is not None}
        return Ways(
            self.targets,
            self.target_name,
            Timeouts(connect_ns=self.connect_timeout_ns, total_ns=self.timeout_ns),
            self.connections,
            self.tags,
            self.trace,
            http=self.http,
            client="httpx" if self.client == "httpx" else "loadgen",
            has_phases=not limited.isdisjoint(("send", "wait", "receive")),
            has_ttfb="ttfb" in limited,
            llm=self.llm,
            browsers=self.browsers,
        )

    def row_offset(self, lane: int, journey: Journey[Any]) -> int:
        """Return the index of the first feed row for a journey in load number `lane`: the rows of earlier loads.

        So loads that share a unique feed use no row twice. An earlier load without a limit of rows counts with one row
        per user; for a unique feed, this case is an error. The result is 0 for a journey without data.

        Raises:
            ScenarioError: a load has errors.
        """
        if journey.feed is None:
            return 0
        return sum(_rows_counted(before, journey) for before in self.lanes[:lane])

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Return all errors of the plan, its loads, objectives and overrides, sorted.

        Errors of its journeys are not included.
        """
        found = [self._fault(wrong) for wrong in (*self._wrong, *self._arguments_wrong())]
        found += [fault for slo in self.slos for fault in slo.faults]
        found += scopes_wrong(self.said, self.journeys, self.regions)
        found += [fault for one in self.loads for fault in one.faults]
        if self.load is not None and is_executor(self.load):
            found += self.load.faults
        found += executors_wrong(self.executors, self._lowering_seed)
        found += windows_wrong(self.slos, self.warmup_ns, self._spans())
        declared = {spec.name: list(spec.values) for spec in self.tag_specs if spec.values}
        for name, value in (pair for load in self.loads for pair in load.tags):
            if name in declared:
                declared[name].append(value)
        found += loads_and_tags_wrong(self.slos, (one.name for one in self.loads), tag_names(self), declared)
        found += self._lanes_wrong()
        if not is_url(self.target) and self.overrides.target is not None:
            found.append(Fault("--target", 0, *url_wrong(self.target)))
        return tuple(sorted({*found, *self._overridden}))

    def with_overrides(self, overrides: Overrides) -> Plan:
        """Return a copy of this plan with the changes from the command line.

        Changes that do not fit are in its `faults`.
        """
        plan = copy(self)
        plan.overrides = overrides
        plan.seed = overrides.seed if self.seed is None else self.seed
        plan._overridden, plan.warnings, plan.targets = [], self.warnings, dict(self.targets)
        plan.labels = self.labels | overrides.labels
        plan._retarget(overrides)
        if overrides.loads:
            plan._choose_loads(overrides.loads)
        if overrides.steered is not None:
            plan._steer(overrides.steered)
        if not all(one.verify for one in (plan.http, *(one.http for one in plan.loads if one.http is not None))):
            plan._warn(
                "http",
                "http: verify=False accepts any certificate, even that of an attacker on the way; set ca= instead",
            )
        if overrides.resolve:
            plan.http = self.http.with_resolve(overrides.resolve)
            plan._overridden += [Fault("--resolve", 0, *wrong) for wrong in plan.http.wrongs(self.folder)]
        if overrides.regions:
            plan.regions = regions_chosen(overrides.regions, self.regions, plan._overridden)
            gone = set(self.regions) - set(plan.regions)
            those = [slo for slo in plan.slos if slo.objective is not None and slo.objective.region in gone]
            plan._leave_out(those, "its region takes no part in this run")
        if overrides.duration_s is not None:  # a shortened run may be too short for a window of the full run
            faulty = [slo for slo, _ in windows_too_long(self.slos, self.warmup_ns, self._spans())]
            shorter = [slo for slo, _ in windows_too_long(plan.slos, plan.warmup_ns, plan._spans())]
            those = [slo for slo in shorter if slo not in faulty]
            plan._leave_out(those, "its window is longer than --duration")
        return plan

    def leave_out_probes(self) -> tuple[Fault, ...]:
        """Remove all probes and the objectives on them, for a run with `--probes off`.

        Returns:
            A warning for each removed objective.
        """
        before = len(self.warnings)
        self.probes = ()
        self._leave_out([slo for slo in self.slos if slo.probe is not None], "this run reads no probes")
        return self.warnings[before:]

    def check_digests(self, expected: Sequence[str]) -> None:
        """Raise an error if the times of a load differ between this process and the one that ordered the run.

        expected: one digest per load; an empty one is not compared.

        Raises:
            ScenarioError: an executor is not a pure function, so agents would not have the same times.
        """
        faults: list[Fault] = []
        origins = [one.origin for one in self.executors]
        for lane, origin, ordered in zip(self.lanes, origins, expected, strict=False):
            digest = lane.profile.digest
            if not ordered or digest == ordered:
                continue
            here_n, there_n = (int(text.partition(":")[0] or 0) for text in (digest, ordered))
            gave = "other times than" if here_n == there_n else f"{here_n:,} values, but {there_n:,}"
            named = f"load {lane.name}: " if lane.name else ""
            message = (
                f"{named}the executor yields {gave} where the run was ordered: it is not a pure function of the seed"
            )
            faults.append(origin.fault(message, _PURE_HINT))
        if faults:
            raise ScenarioError(faults)

    def _convention_specs(self) -> tuple[MetricSpec, ...]:
        if self.llm is None:
            return ()
        return convention_specs(self.llm.conventions, exported_limits(self.watched, self.llm.conventions))

    def spec(self) -> PlanSpec:
        """Return the plan without code, with the overrides applied, as it is stored and sent to the controller.

        Raises:
            ScenarioError: the plan has errors.
        """
        if self.faults:
            raise ScenarioError(self.faults)
        lanes = self.lanes
        profile = lanes[0].profile
        is_rate = isinstance(profile, OpenProfile)
        alike = [(lane.after_ns, lane.profile) for lane in lanes if isinstance(lane.profile, OpenProfile) is is_rate]
        most = [lane.max_users for lane in lanes]
        return PlanSpec(
            name=self.name,
            scenario=Path(self.origin.file).name,
            doc=self.doc,
            target=self.target,
            load=_load_text(lanes[0]),
            profile=profile,
            journeys=_journeys_spec(lanes),
            slos=self._objectives(lanes),
            regions={name: weight for name, weight in self.regions.items() if weight > 0},
            duration_ns=self.duration_ns,
            total_arrivals=_total(lanes),
            peak=float(profile.peak) if len(lanes) == 1 else highest_sum(alike),
            max_users=sum(n for n in most if n is not None) if None not in most else None,
            max_lateness_ns=self.max_lateness_ns,
            busy_wait=self.busy_wait,
            warmup_ns=self.warmup_ns,
            drain_ns=self.longest_drain_ns,
            connect_timeout_ns=self.connect_timeout_ns,
            timeout_ns=self.timeout_ns,
            seed=self.seed,
            has_set_up=self.set_up is not None or self.llm is not None,
            has_tear_down=self.tear_down is not None,
            params=self.params,
            lanes=tuple(_lane_spec(lane, self.folder) for lane in lanes),
            targets=self.targets,
            connections=str(self.connections),
            tags=self.tags,
            declared_tags=self.tag_specs,
            trace=None if self.trace is None else _trace_spec(self.trace),
            warmup_is_found=self.warmup_is_found,
            random=self.random,
            metrics=(
                *(metric.spec for metric in self.metrics),
                *self._convention_specs(),
            ),
            secrets=self.secrets,
            environment=self.overrides.env,
            owner=self.owner,
            labels=self.labels,
            http=self.http.as_json(self.folder),
            llm=None if self.llm is None else self.llm.as_json(),
            client=self.client,
            probes=self.probes,
            probe_slos=tuple(slo.probe for slo in self.slos if slo.probe is not None),
            libraries_in_c=self.libraries_in_c,
            unchecked_libraries=self.unchecked_libraries,
            notes=(*self.http.notes(), *([STOCK_NOTE] if self.client == "httpx" else [])),
        )

    def __repr__(self) -> str:
        return f"<plan {self.name} at {self.origin}>"

    # -- internals --------------------------------------------------------------------------------

    def _written(self) -> tuple[DrivenLoad, ...]:
        """Return the loads as written in the scenario, without overrides.

        Raises:
            ScenarioError: a load has errors, or there is no load.
        """
        faults = [fault for one in self.loads for fault in one.faults]
        if faults or not (self.loads or is_executor(self.load)):
            raise ScenarioError(
                faults or [self.origin.fault("the plan has no load", 'write load=arrivals("50/s").hold("1m")')]
            )
        seed = self._lowering_seed
        if self.loads:
            return tuple(
                one.lane(seed_of_load(seed, i), self.max_users, random=self.random) for i, one in enumerate(self.loads)
            )
        assert self.load is not None
        lowered = self.load.lower(seed)
        return (lane_of(lowered, "", self.journeys, self.weights, 0, self.max_users, random=self.random),)

    @property
    def _lowering_seed(self) -> int:
        """Return the seed with which executors compute their curves; 0 as long as the plan has none.

        A run always has one.
        """
        return self.seed if isinstance(self.seed, int) else 0

    def _known_duration_ns(self) -> int | None:
        """Return the duration in ns; None if it is unknown, or if the loads have errors (reported elsewhere)."""
        try:
            return self.duration_ns
        except ScenarioError:
            return None

    def _spans(self) -> dict[str, tuple[int, int | None]]:
        """Return begin and end of each named load and, under "", of the plan; {} if the loads have errors."""
        try:
            return {lane.name: (lane.after_ns, lane.end_ns) for lane in self.lanes} | {"": (0, self.duration_ns)}
        except ScenarioError:
            return {}

    def _fault(self, wrong: Wrong) -> Fault:
        """Return the error for an argument, at the argument's line in the scenario.

        If that line is unknown, the error is at the plan's line.
        """
        if wrong.origin is not None:
            return wrong.origin.fault(wrong.message, wrong.hint)
        whole = self.lines.get(wrong.argument.partition("[")[0], self.origin.line)
        return Fault(self.origin.file, self.lines.get(wrong.argument, whole), wrong.message, wrong.hint)

    def _arguments_wrong(self) -> Iterator[Wrong]:
        are_targets_wrong = any(wrong.argument == "targets" for wrong in self._wrong)
        if self.overrides.target is None and not is_url(self.target) and not are_targets_wrong:
            message, hint = url_wrong(self.target)
            yield Wrong("target", message, hint)
        yield from max_users_wrong(self.max_users)
        yield from seed_wrong(self.seed)
        for argument, fn in (("set_up", self.set_up), ("tear_down", self.tear_down)):
            if fn is not None:
                yield from once_wrong(argument, fn)
        yield from warmup_wrong(self.warmup_ns, self._known_duration_ns())
        for load in (None, *self.loads):
            connections = load.connections if load is not None else self.connections
            http = load.http if load is not None else self.http
            yield from client_wrong(self.client, connections or self.connections, http or self.http)
            yield from links_wrong(self.targets, http or self.http)

    def _lanes_wrong(self) -> Iterator[Fault]:
        """Yield the errors that concern several loads together, or overrides.

        Errors of a single load are reported elsewhere.
        """
        with suppress(ScenarioError):
            lanes = self.lanes
            yield from rows_wrong(lanes)
            yield from map(self._fault, levels_wrong(self._own_tags, lanes, is_warmup_found=self.warmup_is_found))
        with suppress(ScenarioError):
            yield from overrides_wrong(self._written(), self.overrides)

    def _objectives(self, lanes: Sequence[DrivenLoad]) -> tuple[Objective, ...]:
        """Return the objectives of the plan. One of a single load gets the begin, end and journeys of this load.

        A throughput at a single level gets the time of this level, because it counts per second.
        """
        of_load = {lane.name: lane for lane in lanes if lane.name}
        found = []
        for objective in (slo.objective for slo in self.slos if slo.objective is not None):
            lane = of_load.get(objective.load or "")
            if lane is not None:
                names = tuple(journey.name for journey in lane.journeys)
                objective = msgspec.structs.replace(
                    objective, begin_ns=lane.after_ns, end_ns=lane.end_ns, journeys=names
                )
            span = span_of_level(objective, lanes)
            if span is not None and objective.kind == "throughput" and not objective.window_ns:
                objective = msgspec.structs.replace(objective, begin_ns=span.settled_ns, end_ns=span.end_ns)
            found.append(objective)
        return tuple(found)

    def _leave_out(self, slos: Iterable[Slo], why: str) -> None:
        """Remove objectives that could never pass because they have no data in this run, and add a warning for each.

        why: the reason, as the end of the warning's sentence.
        """
        gone = tuple(slos)
        self.warnings += tuple(
            slo.origin.fault(f"{slo.text} is left out: {why}", "no change is needed: this run is judged without it")
            for slo in gone
            if slo.text
        )
        self.slos = tuple(slo for slo in self.slos if slo not in gone)

    def _choose_loads(self, names: Sequence[str]) -> None:
        """Keep only the loads of these names, and leave out the objectives that only the others could meet."""
        self.loads = loads_chosen(names, self.loads, self._overridden)
        if self._overridden:
            return
        there = {one.name for one in self.loads}
        self.journeys = tuple(dict.fromkeys(one for load in self.loads for one in load.journeys))
        first = dict(zip(self.loads[0].journeys, self.loads[0].weights, strict=True))
        self.weights = tuple(first.get(journey, 0.0) for journey in self.journeys)
        known = {one.name for one in self.journeys}
        for slo in self.slos:
            objective = slo.objective
            if objective is not None and objective.load is not None and objective.load not in there:
                self._leave_out([slo], "its load takes no part in this run")
            elif objective is not None and objective.journey is not None and objective.journey not in known:
                self._leave_out([slo], "its journey takes no part in this run")

    def _steer(self, steered: SteeredLoad) -> None:
        """Replace the plan's only load by a search or a constant rate, and the plan's objectives by those of this load.

        Objectives that stop the run stay, because they protect the target. A search goes beyond the limits of all
        others on purpose. A constant rate is judged by the objectives of the search.
        """
        if len(self.loads) > 1:
            names = ", ".join(one.name for one in self.loads if one.name)
            hint = "choose one with --load NAME" if names else "name the loads in the scenario: Load(..., name=...)"
            has = f"the plan has {len(self.loads)} loads{f' ({names})' if names else ''}"
            self._overridden.append(Fault("--load", 0, f"{has}, and a search replaces only one", hint))
            return
        present = self.loads[0].load if self.loads else self.load
        if not isinstance(present, Executor):
            return  # reported elsewhere
        try:
            made = replaced_load(steered, present, self._lowering_seed)
        except ScenarioError as error:
            self._overridden += error.faults
            return
        if self.loads:
            only = copy(self.loads[0])
            only.load, only.after_ns = made.load, 0
            self.loads = (only,)
        else:
            self.load = made.load
        guards = tuple(slo for slo in self.slos if slo.faults or (slo.objective is not None and slo.objective.abort))
        self.slos = (*guards, *(made.objectives if steered.word == "constant" else ()))
        self.warmup_is_found = False

    def _retarget(self, overrides: Overrides) -> None:
        """Replace the targets' URLs by those in `overrides`.

        An unknown name adds only a warning, because an environment serves several scenarios.
        """
        option = f"[env.{overrides.env}]" if overrides.env else "--targets"
        for name, url in overrides.targets.items():
            message, hint = url_wrong(url)
            if message:
                self._overridden.append(Fault(option, 0, message, hint))
            elif name in self.targets:
                self.targets[name] = url
            else:
                self._warn(
                    "targets",
                    f'{option} has a target "{name}" that the plan does not have; remove it, or correct the name',
                )
        kept = [name for name in self.targets if name and name not in overrides.targets]
        if overrides.target is not None:
            self.targets[self.target_name] = overrides.target
            kept = [name for name in kept if name != self.target_name]
        self.target = self.targets.get(self.target_name) or self.target
        if (overrides.targets or overrides.env) and kept:
            for name in kept:
                self._warn(
                    "targets",
                    f'{option} has no target "{name}": it stays {self.targets[name]}; add it there to change it',
                )

    def _warn(self, argument: str, message: str) -> None:
        self.warnings += (self._fault(Wrong(argument, message)),)


def rows_needed(plan: Plan) -> Iterator[tuple[Journey[Any], int]]:
    """Yield for each feed of the plan its first journey and the minimum number of rows that the feed must have.

    Journeys and loads that share a feed share its rows. A closed load needs one row per user, or if each iteration
    takes a row, at least that many.

    Raises:
        ScenarioError: a load has errors.
    """
    lanes = plan.lanes
    seen: set[int] = set()
    for one in plan.journeys:
        if one.feed is not None and id(one.feed) not in seen:
            seen.add(id(one.feed))
            yield one, one.feed.needs_rows(sum(_rows_counted(lane, one) for lane in lanes))


def _rows_counted(lane: DrivenLoad, journey: Journey[Any]) -> int:
    assert journey.feed is not None
    used = rows_used(lane, journey.feed)
    if used is not None:
        return used
    assert isinstance(lane.profile, UserProfile)
    return lane.profile.peak


def _journeys_spec(lanes: Sequence[DrivenLoad]) -> tuple[JourneySpec, ...]:
    """Return the journeys of the given loads without their code, each with its share of all iterations.

    A load counts by its number of arrivals; if the number of any load is unknown, or none has any, all count the same.
    """
    totals = [None if isinstance(lane.profile, UserProfile) else lane.profile.total() for lane in lanes]
    sizes = [1 if None in totals or not any(totals) else total or 0 for total in totals]
    weights: dict[Journey[Any], float] = {}
    for lane, size in zip(lanes, sizes, strict=True):
        for journey, weight in zip(lane.journeys, lane.weights, strict=True):
            part = weight / sum(lane.weights) * (size / sum(sizes))
            weights[journey] = weights.get(journey, 0.0) + part
    return tuple(
        JourneySpec(
            name=one.name, weight=weight, data=_data_name(one), visits=_visits(one), is_unique=_uses_rows_up(one)
        )
        for one, weight in weights.items()
    )


def _uses_rows_up(journey: Journey[Any]) -> bool:
    return journey.feed is not None and journey.feed.needs_rows(2) > 1


def _lane_spec(lane: DrivenLoad, folder: Path) -> LaneSpec:
    return LaneSpec(
        name=lane.name,
        load=_load_text(lane),
        journeys=_journeys_spec([lane]),
        profile=lane.profile,
        after_ns=lane.after_ns,
        max_users=lane.max_users,
        random=lane.random,
        steering=lane.steering,
        tags=dict(lane.tags),
        settings=dict(lane.settings),
        drain_ns=lane.drain_ns,
        levels=lane.levels,
        connections="" if lane.connections is None else str(lane.connections),
        http={} if lane.http is None else lane.http.as_json(folder),
    )


def _trace_spec(trace: Trace) -> TraceSpec:
    return TraceSpec(
        sample=trace.share,
        per_s=trace.per_s,
        boost=trace.boost_share,
        export=trace.export,
        export_secret="" if trace.export_auth is None else trace.export_auth.name,
        formats=tuple(trace.formats),
        link=trace.link,
        per=trace.per,
        baggage=tuple(trace.baggage),
        server_timing=trace.server_timing,
    )


def _load_text(lane: DrivenLoad) -> str:
    if lane.steering is None:
        return lane.profile.describe()
    return f"{lane.steering.executor}, at most {format_duration(lane.profile.duration_ns or 0)}"


def _total(lanes: Iterable[DrivenLoad]) -> int | None:
    """Return the total number of iterations of all loads; None if it is unknown, because one of them is closed."""
    totals = [None if isinstance(lane.profile, UserProfile) else lane.profile.total() for lane in lanes]
    return None if None in totals else sum(total or 0 for total in totals)


def _visits(one: Journey[Any]) -> dict[str, float]:
    return one.visits if isinstance(one, Graph) and not one.faults else {}


def _data_name(one: Journey[Any]) -> str | None:
    if one.feed is None:
        return None
    return one.feed.path.name if one.feed.path is not None else "rows"
