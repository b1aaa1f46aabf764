"""A plan: which journeys, under which loads, against which targets, from which regions, with which objectives.

A `Plan` is what the scenario builds; it holds functions and never raises. Its
declarative part, which travels, is `spec.py`'s; its loads are `lanes.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from copy import copy
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from loadgen.clients import Connections, Http, Timeouts, Trace
from loadgen.dsl.executors.base import Executor
from loadgen.dsl.graphs.graph import Graph
from loadgen.dsl.journey import Journey
from loadgen.dsl.metric import Metric
from loadgen.dsl.plans.arguments import (
    Wrong,
    by_name,
    client_wrong,
    did_you_mean,
    is_url,
    max_users_wrong,
    once_wrong,
    read_connections,
    read_duration,
    read_http,
    read_labels,
    read_tags,
    read_text,
    read_time_limit,
    read_trace,
    read_weights,
    url_wrong,
)
from loadgen.dsl.plans.loads import (
    MAX_LOADS,
    Lane,
    Load,
    is_executor,
    lane_of,
    names_wrong,
    read_mix,
    rows_used,
    scaled,
    seed_of_load,
    stretched,
)
from loadgen.dsl.plans.slo import Slo
from loadgen.dsl.plans.spec import (
    JourneySpec,
    LaneSpec,
    Overrides,
    PlanSpec,
    TraceSpec,
    highest_sum,
    steered_objectives,
)
from loadgen.dsl.source_location import here
from loadgen.dsl.users.user_factory import Ways
from loadgen.errors import Fault, ProfileError, ScenarioError
from loadgen.measure.objectives.objective import Objective
from loadgen.profiles.profile import OpenProfile, Profile, UserProfile
from loadgen.units import format_duration, parse_duration

if TYPE_CHECKING:
    from loadgen.dsl.users.user import User

__all__ = ["Plan", "rows_needed"]


_PURE_HINT: Final = "chance only of random.Random(seed); no time of day, no environment, no order of a set"
STOCK_NOTE: Final = "client: httpx, the stock one: its work is in the times, and it costs some 40 times the CPU of ours"


class Plan:
    """What is run.

    Args:
        target: "https://shop.example", the base of all paths; or the name of one of `targets`.
        load: `arrivals(...)`, `users(...)` or `iterations(...)`.
        mix: a journey, or {journey: weight}; the weights are relative.
        loads: several `Load(...)`, instead of `load` and `mix`.
        targets: {"api": url, "login": url}, for `user.to("login")`. Paths without another go to the first.
        slos: objectives over the whole run (after the warm-up) or in windows, as in `p(95) < "300ms"`.
        regions: {name: weight}, or names of equal weight. A name is a free label.
        random: the journeys of a mix are drawn for each arrival, instead of taking exact turns.
        max_users: the most users at a time in open loads; what is due then waits, and says so. None: as many as needed.
        warmup: what is due in the load's first "30s" is kept out of series and objectives. "auto": it is found
            after the run, from what was measured.
        max_lateness: an iteration that waited longer for a free user is missed. None: it is started however late.
        drain: how long iterations may take to finish after the load.
        set_up, tear_down: once a run, in one worker, before the start and after the end. The JSON value that set_up
            returns is `user.shared` everywhere.
        seed: of all chance; the same seed makes the same run. None: drawn for each run.
        connections: "kept" by the user's slot, "fresh" in each iteration, or "shared:50", one pool of at most 50
            for all users of a worker.
        connect_timeout, timeout: of a request, to connect and in all.
        ca: a PEM file with certificates to trust beside the usual ones, beside the scenario.
        tags: ["header:x-cache"] splits series by a header of the answers.
        trace: "1%" of the iterations ask to be traced; `Trace(...)` says in which formats.
        http: `Http(...)`: proxy, client certificate, addresses, HTTP/2 and what else requests meet on their way.
        client: "loadgen", or "httpx": the same scenario on the stock httpx client, to check ours by.
        owner, labels: who is asked about it, and whatever else a house wants to know; in the manifest.
    """

    def __init__(
        self,
        target: str | None = None,
        load: Executor | None = None,
        mix: Journey[Any] | Mapping[Journey[Any], float] | None = None,
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
        tags: Iterable[str] = (),
        trace: Trace | str | None = None,
        http: Http | None = None,
        client: str = "loadgen",
        owner: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.origin = here()
        self.name = "plan"
        """The name of the variable that holds it; the loader fills it in."""
        self.doc = ""
        self.params: dict[str, Any] = {}
        self.metrics: tuple[Metric, ...] = ()
        self.secrets: tuple[str, ...] = ()
        """Of the scenario, like `params`; the loader fills them in."""
        self.lines: dict[str, int] = {}
        """Where each argument is written; the loader fills it in, so that faults name the very line."""
        self.overrides = Overrides()
        self.warnings: tuple[Fault, ...] = ()
        """What a person should know of and that does not stop the run."""
        self._wrong: list[Wrong] = []
        self._overridden: list[Fault] = []
        self.load, self.random = load, bool(random)
        self.loads: tuple[Load, ...] = ()
        self.journeys: tuple[Journey[Any], ...] = ()
        """All of all loads, each once."""
        self.weights: tuple[float, ...] = ()
        """Of `mix`; of several loads, the journeys' weights in the first."""
        self.targets: dict[str, str] = {}
        """By name; a single one has the name ""."""
        self.target: Any = ""
        """The base of paths without another; a URL, unless it is among the faults."""
        self.target_name = ""
        self._read_loads(load, mix, loads)
        self._read_targets(target, targets)
        self._read_slos(slos)
        self.regions: dict[str, float] = read_weights("regions", "region", by_name(regions), self._wrong)
        self.max_users = max_users
        self.warmup_is_found = warmup == "auto"
        """The warm-up is found after the run; `warmup_ns` is 0 then."""
        self.warmup_ns = (0 if self.warmup_is_found else read_duration("warmup", warmup, self._wrong)) or 0
        self.max_lateness_ns = read_duration("max_lateness", max_lateness, self._wrong)
        self.drain_ns = read_duration("drain", drain, self._wrong) or 0
        self.connect_timeout_ns = read_time_limit("connect_timeout", connect_timeout, 10, self._wrong)
        self.timeout_ns = read_time_limit("timeout", timeout, 60, self._wrong)
        self.set_up, self.tear_down = set_up, tear_down
        self.seed = seed
        self.connections = read_connections(connections, self._wrong)
        self.tags = read_tags(tags, self._wrong)
        """Names of response headers, in lower case."""
        self.trace = read_trace(trace, self._wrong)
        self.http = read_http(http, self.folder, self._wrong)
        self.client = client
        self.owner = read_text("owner", owner, self._wrong)
        self.labels = read_labels(labels, self._wrong)
        self.ca: Path | None = None
        if ca is not None:
            self._read_ca(ca)

    # -- what it is ---------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """The scenario's: what it names by a relative path is looked for in it."""
        return Path(self.origin.file).parent

    @property
    def certificates(self) -> tuple[Path, ...]:
        """Files with certificates, and no keys, that travel with the scenario."""
        client = self.http.certificate_in(self.folder)
        return tuple(path for path in (self.ca, client) if path is not None)

    @property
    def executors(self) -> tuple[Executor, ...]:
        """Of its loads, as the scenario says them, in order; what is none is among the faults."""
        return tuple(one for one in [*(one.load for one in self.loads), self.load] if isinstance(one, Executor))

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """Its loads with the overrides, in order.

        Raises:
            ScenarioError: a load has faults, or the overrides do not fit.
        """
        lanes = self._written()
        if self.overrides.peak is not None:
            lanes = scaled(lanes, self.overrides.peak, self.overrides.peak_of)
        if self.overrides.duration_s is not None:
            lanes = stretched(lanes, _override_ns(self.overrides.duration_s))
        return lanes

    @property
    def said(self) -> tuple[tuple[Slo, tuple[Journey[Any], ...]], ...]:
        """All objectives of the scenario with the journeys that each may be about: its own, then those of its loads."""
        own = tuple((slo, self.journeys) for slo in self.slos)
        try:
            lanes = self.lanes
        except ScenarioError:
            return own
        followed = [(slo, lane.journeys) for lane, one in zip(lanes, self.executors, strict=True) for slo in one.slos]
        return (*own, *followed)

    @property
    def watched(self) -> tuple[Objective, ...]:
        """What agents count by due interval: its objectives, then those that its loads are steered by, load by load."""
        slos = [slo.objective for slo in self.slos if slo.objective is not None]
        return (*slos, *steered_objectives(lane.steering for lane in self.lanes))

    @property
    def profile(self) -> Profile:
        """The (first) load with the overrides.

        Raises:
            ScenarioError: the load has faults, or the overrides do not fit it.
        """
        return self.lanes[0].profile

    @property
    def duration_ns(self) -> int | None:
        """Until the last load ends; None where the target decides. Raises what `lanes` raises."""
        ends_ns = [lane.end_ns for lane in self.lanes]
        known = [end_ns for end_ns in ends_ns if end_ns is not None]
        return max(known) if len(known) == len(ends_ns) else None

    def ways(self) -> Ways:
        """How its people reach what is tested."""
        return Ways(
            self.targets,
            self.target_name,
            Timeouts(connect_ns=self.connect_timeout_ns, total_ns=self.timeout_ns),
            self.connections,
            self.tags,
            self.trace,
            http=self.http,
            client="httpx" if self.client == "httpx" else "loadgen",
        )

    def row_offset(self, lane: int, journey: Journey[Any]) -> int:
        """Which row of its feed is the first that a journey takes in a lane: as many as the lanes before take.

        So no row of a unique feed is used twice where lanes share it. Lanes before that take rows without a
        known end count with one for each of their users; of a unique feed they are a fault.

        Raises:
            ScenarioError: a load has faults.
        """
        if journey.feed is None:
            return 0
        return sum(_rows_counted(before, journey) for before in self.lanes[:lane])

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything that is wrong with it, its loads and its objectives; not its journeys' own faults."""
        found = [self._fault(wrong) for wrong in (*self._wrong, *self._find_wrong())]
        found += [fault for slo in self.slos for fault in slo.faults]
        found += self._scopes_wrong()
        found += [fault for one in self.loads for fault in one.faults]
        if self.load is not None and is_executor(self.load):
            found += self.load.faults
        found += self._executors_wrong()
        found += self._windows_wrong()
        found += self._rows_wrong()
        if not is_url(self.target) and self.overrides.target is not None:
            found.append(Fault("--target", 0, *url_wrong(self.target)))
        return tuple(sorted({*found, *self._overridden, *self._overrides_wrong()}))

    def with_overrides(self, overrides: Overrides) -> Plan:
        """The plan with what the command line changes; what does not fit it is among the faults."""
        plan = copy(self)
        plan.overrides = overrides
        plan.seed = overrides.seed if self.seed is None else self.seed
        plan._overridden, plan.warnings, plan.targets = [], self.warnings, dict(self.targets)
        plan.labels = self.labels | overrides.labels
        plan._aim(overrides)
        if not plan.http.verify:
            plan._warn("http", "http: verify=False: any certificate will do, also one of somebody in between")
        if overrides.resolve:
            plan.http = self.http.with_resolve(overrides.resolve)
            plan._overridden += [Fault("--resolve", 0, *wrong) for wrong in plan.http.wrongs(self.folder)]
        if overrides.regions:
            plan.regions = plan._chosen_regions(overrides.regions)
            gone = set(self.regions) - set(plan.regions)
            those = [slo for slo in plan.slos if slo.objective is not None and slo.objective.region in gone]
            plan._leave_out(those, "its region takes no part in this run")
        if overrides.duration_s is not None:  # a quick try has no room for a window that the whole run has room for
            faulty = self._windows_too_long()
            those = [slo for slo in plan._windows_too_long() if slo not in faulty]
            plan._leave_out(those, "its window is longer than --duration")
        return plan

    def check_digests(self, expected: Sequence[str]) -> None:
        """Hold what its loads come to in this process against what they came to where the run was ordered.

        expected: of each load; empty where there is nothing to compare.

        Raises:
            ScenarioError: an executor is no pure function, so agents would not have the same times.
        """
        faults: list[Fault] = []
        origins = [one.origin for one in self.executors]
        for lane, origin, ordered in zip(self.lanes, origins, expected, strict=False):
            digest = lane.profile.digest
            if not ordered or digest == ordered:
                continue
            here_n, there_n = (int(text.partition(":")[0] or 0) for text in (digest, ordered))
            gave = "other times than" if here_n == there_n else f"{here_n:,} of them on this agent and {there_n:,}"
            named = f"load {lane.name}: " if lane.name else ""
            message = f"{named}its executor gave {gave} where the run was ordered: it is no pure function of the seed"
            faults.append(origin.fault(message, _PURE_HINT))
        if faults:
            raise ScenarioError(faults)

    def spec(self) -> PlanSpec:
        """
        Raises:
            ScenarioError: the plan has faults.
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
            slos=tuple(slo.objective for slo in self.slos if slo.objective is not None),
            regions={name: weight for name, weight in self.regions.items() if weight > 0},
            duration_ns=self.duration_ns,
            total_arrivals=_total(lanes),
            peak=float(profile.peak) if len(lanes) == 1 else highest_sum(alike),
            max_users=sum(n for n in most if n is not None) if None not in most else None,
            max_lateness_ns=self.max_lateness_ns,
            warmup_ns=self.warmup_ns,
            drain_ns=self.drain_ns,
            connect_timeout_ns=self.connect_timeout_ns,
            timeout_ns=self.timeout_ns,
            seed=self.seed,
            has_set_up=self.set_up is not None,
            has_tear_down=self.tear_down is not None,
            params=self.params,
            lanes=tuple(_lane_spec(lane) for lane in lanes),
            targets=self.targets,
            connections=str(self.connections),
            tags=self.tags,
            trace=None
            if self.trace is None
            else TraceSpec(sample=self.trace.sample, formats=self.trace.formats, link=self.trace.link),
            warmup_is_found=self.warmup_is_found,
            random=self.random,
            metrics=tuple(metric.spec for metric in self.metrics),
            secrets=self.secrets,
            environment=self.overrides.env,
            owner=self.owner,
            labels=self.labels,
            http=self.http.as_json(self.folder),
            client=self.client,
            notes=(*self.http.notes(), *([STOCK_NOTE] if self.client == "httpx" else [])),
        )

    def __repr__(self) -> str:
        return f"<plan {self.name} at {self.origin}>"

    # -- reading the arguments ------------------------------------------------------------------

    def _written(self) -> tuple[Lane, ...]:
        """The loads as the scenario says them."""
        faults = [fault for one in self.loads for fault in one.faults]
        if faults or not (self.loads or is_executor(self.load)):
            raise ScenarioError(faults or [self.origin.fault("no load")])
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
        """0 where none is given: of a run one always is."""
        return self.seed if isinstance(self.seed, int) else 0

    def _read_loads(self, load: object, mix: object, loads: object) -> None:
        given = list(loads) if isinstance(loads, Iterable) and not isinstance(loads, str | Mapping) else [loads]
        for i, one in enumerate(given):
            if not isinstance(one, Load):
                hint = 'write loads=[Load(browse, arrivals("50/s").hold("1m"))]'
                self._wrong.append(Wrong(f"loads[{i}]", f"loads: {one!r} is no Load", hint))
        self.loads = tuple(one for one in given if isinstance(one, Load))
        if not given:
            self.journeys, self.weights = read_mix(mix, self._wrong)
            if load is None or not is_executor(load):
                message = "load: nothing says how much load" if load is None else f"load: {load!r} is no load"
                self._wrong.append(Wrong("load", message, 'write arrivals("50/s").hold("1m")'))
            return
        if load is not None or mix is not None:
            message = "loads: a plan has either load and mix, or loads"
            self._wrong.append(Wrong("loads", message, "put load and mix into a Load(mix, load) of loads"))
        self.load = None
        self.journeys = tuple(dict.fromkeys(journey for one in self.loads for journey in one.journeys))
        if self.loads:
            first = dict(zip(self.loads[0].journeys, self.loads[0].weights, strict=True))
            self.weights = tuple(first.get(journey, 0.0) for journey in self.journeys)
        own = {wrong.message for one in self.loads for wrong in names_wrong("loads", one.journeys)}
        self._wrong += [wrong for wrong in names_wrong("loads", self.journeys) if wrong.message not in own]
        names = [one.name for one in self.loads if one.name]
        for twice in sorted({name for name in names if names.count(name) > 1}):
            self._wrong.append(
                Wrong(
                    "loads", f'loads: two loads are named "{twice}"', "their rows could not be told apart: rename one"
                )
            )
        if len(self.loads) > MAX_LOADS:
            message = f"loads: {len(self.loads):,} loads are more than {MAX_LOADS}"
            self._wrong.append(Wrong("loads", message, "one load with .steps() or .ramp() says many levels"))

    def _read_targets(self, target: object, targets: object) -> None:
        """A name among `targets`, or a URL beside them, or alone."""
        named: dict[str, str] = {}
        if targets is not None and (not isinstance(targets, Mapping) or not targets):
            self._wrong.append(Wrong("targets", f"targets: {targets!r}", 'write {"api": "https://api.example"}'))
        for name, url in targets.items() if isinstance(targets, Mapping) else ():
            message, hint = url_wrong(url)
            if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
                hint = "letters, digits, _, - and ."
                self._wrong.append(Wrong("targets", f"targets: {name!r} is no name of a target", hint))
            elif message:
                self._wrong.append(Wrong("targets", f'targets: "{name}": {message.removeprefix("target: ")}', hint))
            else:
                named[name] = url
        if isinstance(target, str) and target in named:
            self.target_name, self.target, self.targets = target, named[target], named
        elif target is None and isinstance(targets, Mapping) and targets:
            self.target_name = next(iter(named), "")
            self.target, self.targets = named.get(self.target_name), named
        elif named and isinstance(target, str) and "://" not in target:
            there = did_you_mean(target, named)
            self._wrong.append(Wrong("target", f'target: there is no "{target}" in targets', there))
            self.target, self.targets = next(iter(named.values())), named
        else:
            self.target, self.targets = target, {"": target if isinstance(target, str) else ""} | named

    def _read_slos(self, slos: object) -> None:
        given = list(slos) if isinstance(slos, Iterable) and not isinstance(slos, str) else [slos]
        for i, one in enumerate(given):
            if not isinstance(one, Slo):
                hint = 'write p(95) < "300ms" or error_ratio() < "0.1%"'
                self._wrong.append(Wrong(f"slos[{i}]", f"slos: {one!r} is no objective", hint))
        self.slos: tuple[Slo, ...] = tuple(one for one in given if isinstance(one, Slo))

    def _read_ca(self, ca: object) -> None:
        if not isinstance(ca, str | Path):
            self._wrong.append(Wrong("ca", f"ca: {ca!r} is no path of a file", 'write ca="ca.pem"'))
            return
        self.ca = self.folder / ca
        if not self.ca.is_file():
            self._wrong.append(Wrong("ca", f"ca: no file {ca}", f"it is looked for in {self.ca.parent}"))

    # -- what is wrong ----------------------------------------------------------------------------

    def _fault(self, wrong: Wrong) -> Fault:
        if wrong.origin is not None:
            return wrong.origin.fault(wrong.message, wrong.hint)
        whole = self.lines.get(wrong.argument.partition("[")[0], self.origin.line)
        return Fault(self.origin.file, self.lines.get(wrong.argument, whole), wrong.message, wrong.hint)

    def _find_wrong(self) -> Iterator[Wrong]:
        if self.overrides.target is None and not is_url(self.target) and not self._are_targets_wrong():
            message, hint = url_wrong(self.target)
            yield Wrong("target", message, hint)
        yield from max_users_wrong(self.max_users)
        if self.seed is not None and (isinstance(self.seed, bool) or not isinstance(self.seed, int)):
            yield Wrong("seed", f"seed: {self.seed!r} is no whole number", "write seed=7; None draws one for each run")
        for argument, fn in (("set_up", self.set_up), ("tear_down", self.tear_down)):
            if fn is not None:
                yield from once_wrong(argument, fn)
        yield from self._warmup_wrong()
        yield from client_wrong(self.client, self.connections, self.http)

    def _executors_wrong(self) -> Iterator[Fault]:
        """What comes out only when they are asked for what is to be driven: an author's code, a file."""
        for one in self.executors:
            if not one.faults:
                try:
                    one.lower(self._lowering_seed)
                except ScenarioError as error:
                    yield from error.faults

    def _are_targets_wrong(self) -> bool:
        return any(wrong.argument == "targets" for wrong in self._wrong)

    def _known_duration_ns(self) -> int | None:
        """None also where the loads have faults, which are told elsewhere."""
        try:
            return self.duration_ns
        except ScenarioError:
            return None

    def _warmup_wrong(self) -> Iterator[Wrong]:
        duration_ns = self._known_duration_ns()
        if duration_ns is not None and self.warmup_ns >= duration_ns:
            yield Wrong(
                "warmup",
                f"warmup: {format_duration(self.warmup_ns)} is not shorter than the load, "
                f"{format_duration(duration_ns)}: nothing would be left to measure",
                "a shorter warm-up, or a longer load",
            )

    def _windows_wrong(self) -> Iterator[Fault]:
        """Windows that no part of the run is long enough for."""
        for slo in self._windows_too_long():
            assert slo.objective is not None
            after = " after the warm-up" if self.warmup_ns else ""
            measured_ns = (self._known_duration_ns() or 0) - self.warmup_ns
            yield slo.origin.fault(
                f"{slo.objective.text}: the window is longer than the load{after}, {format_duration(measured_ns)}",
                "a shorter window, or a longer load",
            )

    def _windows_too_long(self) -> tuple[Slo, ...]:
        duration_ns = self._known_duration_ns()
        if duration_ns is None or self.warmup_ns >= duration_ns:
            return ()
        measured_ns = duration_ns - self.warmup_ns
        return tuple(slo for slo in self.slos if slo.objective is not None and slo.objective.window_ns > measured_ns)

    def _rows_wrong(self) -> Iterator[Fault]:
        """A unique feed of which one lane takes rows without a known end, and a later one others."""
        try:
            lanes = self.lanes
        except ScenarioError:
            return
        for later, lane in enumerate(lanes):
            for journey in lane.journeys:
                feed = journey.feed
                if feed is None or not feed.is_unique:
                    continue
                if any(rows_used(before, feed) is None for before in lanes[:later]):
                    message = (
                        f"{journey.name}: it shares a unique feed with a closed load that takes a row each iteration"
                    )
                    yield journey.origin.fault(message, "give one of the loads a feed of its own")

    def _scopes_wrong(self) -> Iterator[Fault]:
        """Objectives on journeys and regions that are not there. Steps are the loader's to check."""
        for slo, those in self.said:
            if slo.objective is None:
                continue
            journeys = [one.name for one in those]
            journey, region = slo.objective.journey, slo.objective.region
            for what, name, there in (("journey", journey, journeys), ("region", region, list(self.regions))):
                if name is not None and name not in there:
                    whose = "plan" if those == self.journeys or what == "region" else "load"
                    message = f'{slo.objective.text}: the {whose} has no {what} "{name}"'
                    yield slo.origin.fault(message, did_you_mean(name, there))

    # -- overrides ----------------------------------------------------------------------------------

    def _chosen_regions(self, wanted: Mapping[str, float | None]) -> dict[str, float]:
        chosen: dict[str, float] = {}
        for name, weight in wanted.items():
            if weight is None and name not in self.regions:
                self._overridden.append(
                    Fault("--regions", 0, f'the plan has no region "{name}"', did_you_mean(name, self.regions))
                )
            elif weight is not None and not (isfinite(weight) and weight >= 0):
                self._overridden.append(Fault("--regions", 0, f"the weight of {name} is {weight:g}", "0 or more"))
            else:
                chosen[name] = self.regions[name] if weight is None else weight
        if not self._overridden and not any(chosen.values()):
            self._overridden.append(Fault("--regions", 0, "all weights are 0", "at least one has to be above 0"))
        return chosen

    def _leave_out(self, those: Iterable[Slo], why: str) -> None:
        """Objectives that could have no data in this run, and so never pass; the person is told."""
        gone = tuple(those)
        self.warnings += tuple(
            slo.origin.fault(f"{slo.objective.text} is left out: {why}") for slo in gone if slo.objective is not None
        )
        self.slos = tuple(slo for slo in self.slos if slo not in gone)

    def _aim(self, overrides: Overrides) -> None:
        """Change the targets. Those of an environment that the plan does not have serve other scenarios."""
        option = f"[env.{overrides.env}]" if overrides.env else "--targets"
        for name, url in overrides.targets.items():
            message, hint = url_wrong(url)
            if message:
                self._overridden.append(Fault(option, 0, message, hint))
            elif name in self.targets:
                self.targets[name] = url
            else:
                self._warn("targets", f'{option} has a target "{name}" that the plan has not')
        kept = [name for name in self.targets if name and name not in overrides.targets]
        if overrides.target is not None:
            self.targets[self.target_name] = overrides.target
            kept = [name for name in kept if name != self.target_name]
        self.target = self.targets.get(self.target_name) or self.target
        if (overrides.targets or overrides.env) and kept:
            for name in kept:
                self._warn("targets", f'{option} has no target "{name}": it stays {self.targets[name]}')

    def _warn(self, argument: str, message: str) -> None:
        self.warnings += (self._fault(Wrong(argument, message)),)

    def _overrides_wrong(self) -> Iterator[Fault]:
        overrides = self.overrides
        try:
            lanes = self._written()
        except ScenarioError:
            return
        option = {"rate": "--rate", "users": "--users"}.get(overrides.peak_of, "peak")
        try:
            if overrides.peak is not None:
                lanes = scaled(lanes, overrides.peak, overrides.peak_of)
        except ProfileError as error:
            yield from (Fault(option, 0, fault.message, fault.hint) for fault in error.faults)
            return
        try:
            if overrides.duration_s is not None:
                stretched(lanes, _override_ns(overrides.duration_s))
        except ProfileError as error:
            yield from (Fault("--duration", 0, fault.message, fault.hint) for fault in error.faults)


def rows_needed(plan: Plan) -> Iterator[tuple[Journey[Any], int]]:
    """How many rows each feed of the plan needs, with the first journey that takes them.

    Journeys that share a feed share its rows, and so do loads. In closed loads a row is a person's, so it takes
    as many as users; where each iteration takes one, at least as many.

    Raises:
        ScenarioError: the load has faults.
    """
    lanes = plan.lanes
    told: set[int] = set()
    for one in plan.journeys:
        if one.feed is not None and id(one.feed) not in told:
            told.add(id(one.feed))
            yield one, one.feed.needs_rows(sum(_rows_counted(lane, one) for lane in lanes))


def _rows_counted(lane: Lane, journey: Journey[Any]) -> int:
    assert journey.feed is not None
    used = rows_used(lane, journey.feed)
    if used is not None:
        return used
    assert isinstance(lane.profile, UserProfile)
    return lane.profile.peak


def _journeys_spec(lanes: Sequence[Lane]) -> tuple[JourneySpec, ...]:
    """All journeys of all lanes; a lane counts by its arrivals, or where they are not known all lanes alike."""
    totals = [None if isinstance(lane.profile, UserProfile) else lane.profile.total() for lane in lanes]
    sizes = [1 if None in totals else total or 0 for total in totals]
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


def _lane_spec(lane: Lane) -> LaneSpec:
    return LaneSpec(
        name=lane.name,
        load=_load_text(lane),
        journeys=_journeys_spec([lane]),
        profile=lane.profile,
        after_ns=lane.after_ns,
        max_users=lane.max_users,
        random=lane.random,
        steering=lane.steering,
    )


def _load_text(lane: Lane) -> str:
    if lane.steering is None:
        return lane.profile.describe()
    return f"{lane.steering.executor}, at most {format_duration(lane.profile.duration_ns or 0)}"


def _total(lanes: Iterable[Lane]) -> int | None:
    """Iterations that will be due; None where a lane is closed."""
    totals = [None if isinstance(lane.profile, UserProfile) else lane.profile.total() for lane in lanes]
    return None if None in totals else sum(total or 0 for total in totals)


def _override_ns(duration_s: float) -> int:
    try:
        return parse_duration(duration_s)
    except ValueError as error:
        raise ProfileError(str(error)) from None


def _visits(one: Journey[Any]) -> dict[str, float]:
    return one.visits if isinstance(one, Graph) and not one.faults else {}


def _data_name(one: Journey[Any]) -> str | None:
    if one.feed is None:
        return None
    return one.feed.path.name if one.feed.path is not None else "rows"
