"""A plan: which journeys, under which load, against which target, from which regions, with which objectives.

A `Plan` is what the scenario builds; it holds functions and never raises. Its
declarative part, which travels, is `spec.py`'s.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from loadgen.dsl.journey import Journey
from loadgen.dsl.load import Arrivals, Executor, Iterations, Users
from loadgen.dsl.origin import here
from loadgen.dsl.slo import Slo
from loadgen.dsl.spec import JourneySpec, Overrides, PlanSpec
from loadgen.engine.share import RowIndex
from loadgen.errors import Fault, ProfileError, ScenarioError
from loadgen.profile import ArrivalProfile, IterationProfile, Profile, UserProfile
from loadgen.units import NS_PER_S, format_duration, parse_duration

if TYPE_CHECKING:
    from loadgen.dsl.user import User

__all__ = ["Plan", "did_you_mean", "rows_needed"]


@dataclass(frozen=True, slots=True)
class _Wrong:
    """One thing wrong with a plan, and in which of its arguments."""

    argument: str
    message: str
    hint: str = ""


class Plan:
    """What is run.

    Args:
        target: "https://shop.example", the base of all paths.
        load: `arrivals(...)`, `users(...)` or `iterations(...)`.
        mix: a journey, or {journey: weight}; the weights are relative.
        slos: objectives over the whole run (after the warm-up), as in `p(95) < "300ms"`.
        regions: {name: weight}, or names of equal weight. A name is a free label.
        max_users: the most users at a time in open loads; what is due then waits, and says so. None: as many as needed.
        warmup: what is due in the load's first "30s" is kept out of series and objectives.
        max_lateness: an iteration that waited longer for a free user is missed. None: it is started however late.
        drain: how long iterations may take to finish after the load.
        set_up, tear_down: once a run, in one worker, before the start and after the end. The JSON value that set_up
            returns is `user.shared` everywhere.
        seed: of all chance; the same seed makes the same run. None: drawn for each run.
        connect_timeout, timeout: of a request, to connect and in all.
        ca: a PEM file with certificates to trust beside the usual ones, beside the scenario.
    """

    def __init__(
        self,
        target: str,
        load: Executor,
        mix: Journey[Any] | Mapping[Journey[Any], float],
        slos: Iterable[Slo] = (),
        regions: Mapping[str, float] | Sequence[str] = ("local",),
        *,
        max_users: int | None = None,
        warmup: str | float | None = None,
        max_lateness: str | float | None = None,
        drain: str | float = "30s",
        set_up: Callable[[User], Coroutine[Any, Any, Any]] | None = None,
        tear_down: Callable[[User], Coroutine[Any, Any, Any]] | None = None,
        seed: int | None = None,
        connect_timeout: str | float = "10s",
        timeout: str | float = "60s",
        ca: str | Path | None = None,
    ) -> None:
        self.origin = here()
        self.name = "plan"
        """The name of the variable that holds it; the loader fills it in."""
        self.doc = ""
        self.params: dict[str, Any] = {}
        self.lines: dict[str, int] = {}
        """Where each argument is written; the loader fills it in, so that faults name the very line."""
        self.overrides = Overrides()
        self.warnings: tuple[Fault, ...] = ()
        """What a person should know of and that does not stop the run."""
        self._wrong: list[_Wrong] = []
        self._overridden: list[Fault] = []
        self.target = target
        self.load = load
        self.journeys: tuple[Journey[Any], ...]
        self.weights: tuple[float, ...]
        self._read_mix(mix)
        self._read_slos(slos)
        self.regions: dict[str, float] = self._weights("regions", "region", _by_name(regions))
        self.max_users = max_users
        self.warmup_ns = self._duration("warmup", warmup) or 0
        self.max_lateness_ns = self._duration("max_lateness", max_lateness)
        self.drain_ns = self._duration("drain", drain) or 0
        self.connect_timeout_ns = self._time_limit("connect_timeout", connect_timeout, 10)
        self.timeout_ns = self._time_limit("timeout", timeout, 60)
        self.set_up, self.tear_down = set_up, tear_down
        self.seed = seed
        self.ca: Path | None = None
        if ca is not None:
            self._read_ca(ca)

    # -- what it is ---------------------------------------------------------------------------

    @property
    def profile(self) -> Profile:
        """The load with the overrides.

        Raises:
            ScenarioError: the load has faults, or the overrides do not fit it.
        """
        if not _is_load(self.load):
            raise ScenarioError([self.origin.fault("no load")])
        profile: Profile = self.load.profile()
        if self.overrides.peak is not None:
            profile = profile.scaled_to(self.overrides.peak)
        if self.overrides.duration_s is not None:
            profile = _lasting(profile, self.overrides.duration_s)
        return profile

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything that is wrong with it, its load and its objectives; not its journeys' own faults."""
        found = [self._fault(wrong) for wrong in (*self._wrong, *self._find_wrong())]
        found += [fault for slo in self.slos for fault in slo.faults]
        found += self._scopes_wrong()
        if _is_load(self.load):
            found += self.load.faults
        if not _is_url(self.target) and self.overrides.target is not None:
            found.append(Fault("--target", 0, *_url_wrong(self.target)))
        return tuple(sorted({*found, *self._overridden, *self._overrides_wrong()}))

    def with_overrides(self, overrides: Overrides) -> Plan:
        """The plan with what the command line changes; what does not fit it is among the faults."""
        plan = copy(self)
        plan.overrides = overrides
        plan._overridden, plan.warnings = [], self.warnings
        if overrides.target is not None:
            plan.target = overrides.target
        if overrides.regions:
            plan.regions = plan._chosen_regions(overrides.regions)
            plan._leave_out_slos_of(set(self.regions) - set(plan.regions))
        return plan

    def spec(self) -> PlanSpec:
        """
        Raises:
            ScenarioError: the plan has faults.
        """
        if self.faults:
            raise ScenarioError(self.faults)
        profile = self.profile
        whole = sum(self.weights)
        return PlanSpec(
            name=self.name,
            scenario=Path(self.origin.file).name,
            doc=self.doc,
            target=self.target,
            load=profile.describe(),
            profile=profile,
            journeys=tuple(
                JourneySpec(name=j.name, weight=weight / whole, data=_data_name(j))
                for j, weight in zip(self.journeys, self.weights, strict=True)
            ),
            slos=tuple(slo.objective for slo in self.slos if slo.objective is not None),
            regions={name: weight for name, weight in self.regions.items() if weight > 0},
            duration_ns=profile.duration_ns,
            total_arrivals=None if isinstance(profile, UserProfile) else profile.total(),
            peak=float(profile.peak),
            max_users=self.max_users,
            max_lateness_ns=self.max_lateness_ns,
            warmup_ns=self.warmup_ns,
            drain_ns=self.drain_ns,
            connect_timeout_ns=self.connect_timeout_ns,
            timeout_ns=self.timeout_ns,
            seed=self.seed,
            has_set_up=self.set_up is not None,
            has_tear_down=self.tear_down is not None,
            params=self.params,
        )

    def __repr__(self) -> str:
        return f"<plan {self.name} at {self.origin}>"

    # -- reading the arguments ------------------------------------------------------------------

    def _read_mix(self, mix: object) -> None:
        """`journeys` and `weights`, in the order of the mix. A weight of 0 leaves its journey in, without load."""
        given: dict[Journey[Any], Any] = {}
        for one, weight in mix.items() if isinstance(mix, Mapping) else [(mix, 1.0)]:
            if isinstance(one, Journey):
                given[one] = weight
            else:
                name = getattr(one, "__name__", repr(one))
                self._wrong.append(_Wrong("mix", f"mix: {name} is no journey", _no_journey_hint(one, name)))
        if not given and self._wrong:
            self.journeys, self.weights = (), ()
            return
        names = [one.name for one in given]
        for twice in sorted({name for name in names if names.count(name) > 1}):
            self._wrong.append(
                _Wrong("mix", f'mix: two journeys are named "{twice}"', 'give one of them @journey(name="...")')
            )
        self.journeys = tuple(given)
        weights = self._weights("mix", "journey", [(one.name, weight) for one, weight in given.items()])
        self.weights = tuple(weights.get(one.name, 0.0) for one in self.journeys)

    def _read_slos(self, slos: object) -> None:
        given = list(slos) if isinstance(slos, Iterable) and not isinstance(slos, str) else [slos]
        for one in given:
            if not isinstance(one, Slo):
                self._wrong.append(
                    _Wrong("slos", f"slos: {one!r} is no objective", 'write p(95) < "300ms" or error_ratio() < "0.1%"')
                )
        self.slos: tuple[Slo, ...] = tuple(one for one in given if isinstance(one, Slo))

    def _weights(self, argument: str, what: str, pairs: list[tuple[Any, Any]]) -> dict[str, float]:
        """The weights that make sense by name; what does not is noted."""
        good: dict[str, float] = {}
        before = len(self._wrong)
        for name, weight in pairs:
            if not isinstance(name, str) or not name.strip():
                self._wrong.append(_Wrong(argument, f"{argument}: {name!r} is no name of a {what}"))
            elif isinstance(weight, bool) or not isinstance(weight, int | float) or not isfinite(weight):
                self._wrong.append(
                    _Wrong(argument, f"{argument}: the weight of {name} is {weight!r}", "write a number")
                )
            elif weight < 0:
                self._wrong.append(
                    _Wrong(argument, f"{argument}: the weight of {name} is negative: {weight:g}", "0 gives it no load")
                )
            else:
                good[name] = float(weight)
        if len(self._wrong) == before and not any(good.values()):
            message = f"{argument}: all weights are 0" if good else f"{argument}: no {what}"
            self._wrong.append(_Wrong(argument, message, "at least one has to be above 0"))
        return good

    def _duration(self, argument: str, value: object) -> int | None:
        if value is None:
            return None
        try:
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise ValueError(f'{value!r} is no duration; write "30s"')
            return parse_duration(value)
        except (ValueError, OverflowError) as error:
            self._wrong.append(_Wrong(argument, f"{argument}: {error}"))
            return None

    def _time_limit(self, argument: str, value: object, default_s: int) -> int:
        limit_ns = self._duration(argument, value)
        if limit_ns == 0:
            self._wrong.append(_Wrong(argument, f"{argument}: 0 leaves a request no time", f'write "{default_s}s"'))
        return limit_ns or default_s * NS_PER_S

    def _read_ca(self, ca: object) -> None:
        if not isinstance(ca, str | Path):
            self._wrong.append(_Wrong("ca", f"ca: {ca!r} is no path of a file"))
            return
        self.ca = Path(self.origin.file).parent / ca
        if not self.ca.is_file():
            self._wrong.append(_Wrong("ca", f"ca: no file {ca}", f"it is looked for in {self.ca.parent}"))

    # -- what is wrong ----------------------------------------------------------------------------

    def _fault(self, wrong: _Wrong) -> Fault:
        line = self.lines.get(wrong.argument, self.origin.line)
        return Fault(self.origin.file, line, wrong.message, wrong.hint)

    def _find_wrong(self) -> Iterator[_Wrong]:
        if self.overrides.target is None and not _is_url(self.target):
            message, hint = _url_wrong(self.target)
            yield _Wrong("target", message, hint)
        if not _is_load(self.load):
            yield _Wrong("load", f"load: {self.load!r} is no load", 'write arrivals("50/s").hold("1m")')
        if self.max_users is not None and (
            isinstance(self.max_users, bool) or not isinstance(self.max_users, int) or self.max_users < 1
        ):
            yield _Wrong("max_users", f"max_users: {self.max_users!r}", "a whole number, at least 1; None sets no cap")
        if self.seed is not None and (isinstance(self.seed, bool) or not isinstance(self.seed, int)):
            yield _Wrong("seed", f"seed: {self.seed!r} is no whole number")
        for argument, fn in (("set_up", self.set_up), ("tear_down", self.tear_down)):
            if fn is not None:
                yield from _once_wrong(argument, fn)
        yield from self._warmup_wrong()

    def _warmup_wrong(self) -> Iterator[_Wrong]:
        try:
            duration_ns = self.profile.duration_ns
        except ScenarioError:
            return
        if duration_ns is not None and self.warmup_ns >= duration_ns:
            yield _Wrong(
                "warmup",
                f"warmup: {format_duration(self.warmup_ns)} is not shorter than the load, "
                f"{format_duration(duration_ns)}: nothing would be left to measure",
                "a shorter warm-up, or a longer load",
            )

    def _scopes_wrong(self) -> Iterator[Fault]:
        """Objectives on journeys and regions that the plan does not have. Steps are the loader's to check."""
        journeys = [one.name for one in self.journeys]
        for slo in self.slos:
            if slo.objective is None:
                continue
            journey, region = slo.objective.journey, slo.objective.region
            for what, name, there in (("journey", journey, journeys), ("region", region, list(self.regions))):
                if name is not None and name not in there:
                    message = f'{slo.objective.text}: the plan has no {what} "{name}"'
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

    def _leave_out_slos_of(self, regions: set[str]) -> None:
        """An objective on a region that takes no part has no data and could never pass; the person is told."""
        kept = tuple(s for s in self.slos if s.objective is None or s.objective.region not in regions)
        self.warnings += tuple(
            s.origin.fault(f"{s.objective.text} is left out: its region takes no part in this run")
            for s in self.slos
            if s not in kept and s.objective is not None
        )
        self.slos = kept

    def _overrides_wrong(self) -> Iterator[Fault]:
        overrides, load = self.overrides, self.load
        if not _is_load(load) or load.faults:
            return
        option = {"rate": "--rate", "users": "--users"}.get(overrides.peak_of, "peak")
        is_rate = isinstance(load, Arrivals)
        if overrides.peak is not None and overrides.peak_of == ("users" if is_rate else "rate"):
            has = "arrivals, which have a rate" if is_rate else "users, and the rate follows the target"
            hint = "--rate 50/s" if is_rate else "--users 50"
            yield Fault(option, 0, f"the load is said in {has}", hint)
            return
        profile: Profile = load.profile()
        try:
            if overrides.peak is not None:
                profile = profile.scaled_to(overrides.peak)
        except ProfileError as error:
            yield from (Fault(option, 0, fault.message, fault.hint) for fault in error.faults)
        try:
            if overrides.duration_s is not None:
                _lasting(profile, overrides.duration_s)
        except ProfileError as error:
            yield from (Fault("--duration", 0, fault.message, fault.hint) for fault in error.faults)


def rows_needed(plan: Plan) -> Iterator[tuple[Journey[Any], int]]:
    """How many rows each feed of the plan needs, with the first journey that takes them.

    Journeys that share a feed share its rows. In closed loads a row is a person's, so it takes as many as users.

    Raises:
        ScenarioError: the load has faults.
    """
    profile = plan.profile
    for first, one in enumerate(plan.journeys):
        readers = [i for i, other in enumerate(plan.journeys) if other.feed is one.feed]
        if one.feed is None or readers[0] != first:
            continue
        if isinstance(profile, ArrivalProfile | IterationProfile):
            yield one, one.feed.needs_rows(RowIndex(plan.weights, readers).below(profile.total()))
        else:
            yield one, one.feed.needs_rows(profile.peak)


def did_you_mean(name: str, there: Iterable[str]) -> str:
    """A hint: the name that is most like `name`, or all that there are."""
    known = list(there)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    return "there is " + ", ".join(f'"{one}"' for one in known[:10]) if known else ""


def _by_name(regions: object) -> list[tuple[Any, Any]]:
    if isinstance(regions, Mapping):
        return list(regions.items())
    if isinstance(regions, str):
        return [(regions, 1.0)]
    if isinstance(regions, Iterable):
        return [(name, 1.0) for name in regions]
    return [(regions, 1.0)]


def _no_journey_hint(one: object, name: str) -> str:
    if isinstance(one, str):
        return "name the function itself, without quotes"
    return f"decorate it: @journey, above `async def {name}`" if callable(one) else "a function with @journey above it"


def _once_wrong(argument: str, fn: object) -> Iterator[_Wrong]:
    name = getattr(fn, "__name__", repr(fn))
    if not inspect.iscoroutinefunction(fn):
        yield _Wrong(argument, f"{argument}: {name} is no async function", f"write `async def {name}(user: User)`")
        return
    try:
        inspect.signature(fn).bind(None)
    except TypeError:
        yield _Wrong(
            argument, f"{argument}: {name} gets the user and nothing else", f"write `async def {name}(user: User)`"
        )


def _lasting(profile: Profile, duration_s: float) -> Profile:
    try:
        duration_ns = parse_duration(duration_s)
    except ValueError as error:
        raise ProfileError(str(error)) from None
    return profile.lasting(duration_ns)


def _is_load(load: object) -> bool:
    return isinstance(load, Arrivals | Users | Iterations)


def _is_url(target: object) -> bool:
    return not _url_wrong(target)[0]


def _url_wrong(target: object) -> tuple[str, str]:
    """What is wrong with a target, and the hint; ("", "") when it is fine."""
    hint = 'write "https://shop.example" or "http://127.0.0.1:8080"'
    if not isinstance(target, str):
        return f"target: {target!r} is no URL", hint
    try:
        url = urlsplit(target)
        port = url.port
    except ValueError as error:
        return f"target: {target!r} is no URL: {error}", hint
    if url.scheme not in ("http", "https"):
        return (
            f"target: {target!r} is no http or https URL",
            f'write "http://{target}"' if "://" not in target and target else hint,
        )
    if not url.hostname or any(c.isspace() for c in target) or port == 0:
        return f"target: {target!r} is no URL: no host and port", hint
    if url.username is not None or url.password is not None:
        return "target: it holds credentials, which would be kept with the results", "send them in a header"
    if url.query or url.fragment:
        return f"target: {target!r} has a query or fragment; it is the base of all paths", hint
    return "", ""


def _data_name(one: Journey[Any]) -> str | None:
    if one.feed is None:
        return None
    return one.feed.path.name if one.feed.path is not None else "rows"
