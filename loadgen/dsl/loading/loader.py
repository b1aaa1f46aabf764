"""Loads a scenario file: returns its plans and journeys, or raises with all errors at once, each with file and line.

    scenario = load(Path("scenarios/checkout.py"), "plan", Overrides(target="http://127.0.0.1:8080"))

The file is run statement by statement (loadgen/dsl/loading/module_runner.py). Then come
the checks that need the whole scenario: data files, steps named by objectives, enough
rows for the load, and files that must be sent to the agents.

The modules of the last loaded scenario stay importable until the next load, because
journeys may import within functions. Loading runs user code, so only the command line
and the workers do it, never a controller service.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from loadgen.dsl.data.feed import Feed, open_feed
from loadgen.dsl.data.named_files import NamedFile, data_files_named
from loadgen.dsl.distributions import Distribution
from loadgen.dsl.graphs.nodes_and_edges import Node
from loadgen.dsl.journey import Journey
from loadgen.dsl.loading.answer_time_check import drain_misfits
from loadgen.dsl.loading.import_local_modules import Siblings
from loadgen.dsl.loading.load_fit_check import (
    RendezvousCall,
    number_faults,
    rendezvous_calls,
    rendezvous_misfits,
    wait_misfits,
)
from loadgen.dsl.loading.module_runner import run_statements
from loadgen.dsl.loading.objective_name_check import missing_names
from loadgen.dsl.loading.other_tools import hint_of_file
from loadgen.dsl.loading.source_analysis import Source, read_source
from loadgen.dsl.loading.static_checks import mistakes
from loadgen.dsl.loading.tag_check import id_warnings, tag_faults
from loadgen.dsl.loading.uses.libraries_in_c import libraries_in_c
from loadgen.dsl.loading.uses.module_names import wrong_names
from loadgen.dsl.loading.uses.plan_needs import unmet_needs
from loadgen.dsl.loading.uses.rows_and_states import attribute_misuses
from loadgen.dsl.metric import Declared, Metric, metrics_declared
from loadgen.dsl.payload import ScenarioBlob, ScenarioFile, bodies_made
from loadgen.dsl.plans import plan_loads
from loadgen.dsl.plans.objectives.promise_file import PromiseFile
from loadgen.dsl.plans.objectives.window_size import small_windows
from loadgen.dsl.plans.param import Params, params_given
from loadgen.dsl.plans.plan import Plan, rows_needed
from loadgen.dsl.plans.plan_check import limits_never_reached, metrics_wrong
from loadgen.dsl.plans.plan_loads import names_wrong
from loadgen.dsl.plans.spec import Overrides
from loadgen.dsl.prompts.prompt import Prompt, Zipf
from loadgen.dsl.secret import AskedSecrets, missing_secrets, name_is_good, secrets_asked
from loadgen.dsl.source_location import Origin
from loadgen.dsl.tag import Tag, tags_declared
from loadgen.engine.load.share import whole_weights
from loadgen.errors import Fault, ScenarioError
from loadgen.similar_names import did_you_mean
from loadgen.units import quantity

__all__ = ["Scenario", "load", "split_plan"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario without errors, and the plan of it that will run.

    journeys: all journeys of the file, whether a plan uses them or not.
    plan: the chosen plan with overrides applied; `plans` are as written.
    files: all files needed to load the scenario on another machine, all in the folder of `path` or below.
    metrics: the scenario's own metrics, in the order of their declarations.
    secrets: the names of all secrets that the scenario uses.
    replaced: files that agents get with this content instead of their own, such as parsed promises.
    """

    path: Path
    plans: dict[str, Plan]
    journeys: tuple[Journey[Any], ...]
    plan: Plan
    files: frozenset[Path]
    warnings: tuple[Fault, ...] = ()
    metrics: tuple[Metric, ...] = ()
    secrets: tuple[str, ...] = ()
    replaced: Mapping[Path, bytes] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.path.parent


def split_plan(text: str) -> tuple[Path, str | None]:
    """Return the file and the plan's name from a text such as "checkout.py:spike".

    The name is None if the text has none.
    """
    file, colon, plan = text.rpartition(":")
    if colon and plan.isidentifier() and not Path(text).exists():
        return Path(file), plan
    return Path(text), None


def load(
    path: Path | str,
    plan_name: str | None = None,
    overrides: Overrides | None = None,
    *,
    check_secrets: bool = False,
) -> Scenario:
    """Read, run and check a scenario file, and return its plans and journeys with the chosen plan.

    Args:
        path: the scenario's Python file.
        plan_name: the variable that holds the plan. None: the one named `plan`, or the only one.
        overrides: changes from the command line, applied to the chosen plan.
        check_secrets: report secrets that are not set on this machine; for a run that starts here.

    Raises:
        ScenarioError: with all errors in the scenario, its plans, data and overrides.
    """
    with warnings.catch_warnings():
        # The checks report such a call with its line and what to write.
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        return _load(Path(path), plan_name, overrides or Overrides(), check_secrets=check_secrets)


def _load(path: Path, plan_name: str | None, overrides: Overrides, *, check_secrets: bool) -> Scenario:
    source = _read(path)
    siblings = Siblings(source)
    given = overrides.env_params | overrides.params
    with (
        params_given(given, overrides.params) as params,
        metrics_declared() as metrics,
        secrets_asked() as secrets,
        bodies_made() as bodies,
        tags_declared() as tags,
        data_files_named() as named,
    ):
        before = frozenset(sys.modules)
        module, broken = run_statements(source, siblings)
        imported = frozenset(sys.modules) - before
    loaded = _Loaded(source, siblings, module, params, metrics, secrets)
    loaded.is_broken = bool(broken or siblings.faults)
    loaded.faults += broken
    loaded.take_bodies(bodies)
    loaded.take_data(named)
    loaded.tags = tuple(tags)
    in_c = libraries_in_c(siblings.sources.values(), imported)
    for one in loaded.plans.values():
        one.libraries_in_c = in_c
    plan = loaded.choose(plan_name, overrides, is_broken=bool(loaded.faults))
    if check_secrets:
        loaded.check_secrets()
    loaded.check(plan)
    if loaded.faults:
        raise ScenarioError(map(_shown, loaded.faults))
    assert plan is not None
    return Scenario(
        source.path,
        loaded.plans,
        loaded.journeys,
        plan,
        frozenset(loaded.files),
        tuple(sorted(set(map(_shown, (*loaded.warnings, *plan.warnings))))),
        loaded.metrics,
        tuple(loaded.secrets),
        loaded.replaced,
    )


# -- reading --------------------------------------------------------------------------------------


def _read(path: Path) -> Source:
    where = str(path)
    if path.parts and path.parts[0] in ("http:", "https:"):  # a path has one slash where the URL had two
        where = where.replace(":/", "://", 1)
        hint = f"give a Python file; `loadgen run {where}` runs a load on one URL"
        raise ScenarioError([Fault(where, 0, "is a URL, not a scenario file", hint)])
    if (path / "manifest.json").is_file():
        hint = f"give a Python file; `loadgen runs rerun {where}` repeats this run"
        raise ScenarioError([Fault(where, 0, "is the folder of a run, not a scenario file", hint)])
    if path.is_dir():
        there = [p.name for p in sorted(path.glob("*.py"))]
        raise ScenarioError(
            [
                Fault(
                    where,
                    0,
                    "is a folder, not a scenario file",
                    did_you_mean("", there) or "give the path of a Python file",
                )
            ]
        )
    if not path.is_file():
        try:
            there = [p.name for p in path.parent.iterdir() if p.suffix == ".py"]
        except OSError:
            there = []
        raise ScenarioError(
            [Fault(where, 0, "no such file", did_you_mean(path.name, sorted(there)) or "correct the path")]
        )
    if path.suffix != ".py":
        hint = hint_of_file(path.suffix) or "give a scenario file whose name ends in .py"
        raise ScenarioError([Fault(where, 0, "is not a Python file", hint)])
    try:
        return read_source(path.absolute())
    except ScenarioError as error:
        raise ScenarioError(map(_shown, error.faults)) from None


# -- checking -------------------------------------------------------------------------------------


class _Loaded:
    """A loaded scenario module while it is checked; collects its errors and warnings."""

    def __init__(
        self,
        source: Source,
        siblings: Siblings,
        module: ModuleType,
        params: Params,
        metrics: Declared,
        secrets: AskedSecrets,
    ) -> None:
        self.source, self.siblings, self.module, self.params = source, siblings, module, params
        self.is_broken = False
        """True if a statement of the files failed, so names are missing that later code uses."""
        self.faults: list[Fault] = [*siblings.faults, *params.faults, *metrics.faults, *secrets.faults]
        self.metrics = tuple(metrics.metrics.values())
        self.secrets = dict(sorted({**self._secrets_written(), **secrets.origins}.items()))
        """Name -> the place that uses the secret."""
        self.warnings: list[Fault] = list(siblings.warnings)
        self.plans: dict[str, Plan] = {}
        self.files = siblings.files()
        self.replaced: dict[Path, bytes] = {}
        self.tags: tuple[Tag, ...] = ()
        journeys: dict[int, Journey[Any]] = {}
        for name, value in vars(module).items():
            if isinstance(value, Journey):
                journeys[id(value)] = value
            elif isinstance(value, Distribution | Node | Prompt | Zipf):
                self.faults += value.faults
            elif isinstance(value, Plan) and all(value is not plan for plan in self.plans.values()):
                self.plans[name] = value
                value.name, value.params = name, params.values
                value.metrics, value.secrets = self.metrics, tuple(self.secrets)
                value.doc = (module.__doc__ or "").partition("\n")[0]
                if value.origin.file == str(source.path):
                    value.lines = source.argument_lines(value.origin.line)
        for plan in self.plans.values():
            journeys.update({id(one): one for one in plan.journeys})
        self.journeys = tuple(journeys.values())

    def choose(self, name: str | None, overrides: Overrides, *, is_broken: bool) -> Plan | None:
        """Return the chosen plan with the overrides applied; None and an error if it cannot be found.

        Args:
            name: the plan's name; None: the plan named `plan`, or the only one.
            is_broken: the file has errors already, which may be why the plan is missing; then no error is added.
        """
        where = str(self.source.path)
        names = ", ".join(self.plans)
        plan: Plan | None = None
        if name is not None:
            plan = self.plans.get(name)
            if plan is None and not is_broken:
                hint = did_you_mean(name, self.plans) or f"define it: {name} = Plan(target=..., load=..., mix=...)"
                self.faults.append(Fault(where, 0, f'no plan named "{name}"', hint))
        elif "plan" in self.plans or len(self.plans) == 1:
            plan = self.plans.get("plan") or next(iter(self.plans.values()))
        elif self.plans:
            hint = f"choose one: {self.source.path.name}:{next(iter(self.plans))}"
            self.faults.append(Fault(where, 0, f"the file has several plans, and none was chosen: {names}", hint))
        elif not is_broken:
            hint = "define one: plan = Plan(target=..., load=..., mix=...)"
            line = self.source.main_line()
            if line:
                hint = "write the plan outside of this block, which does not run when loadgen loads the file"
            self.faults.append(Fault(where, line, "the file has no plan", hint))
        return None if plan is None else plan.with_overrides(overrides)

    def check(self, chosen: Plan | None) -> None:
        """Run all checks of the scenario and add its errors and warnings to this object.

        `chosen` is checked with its overrides, other plans as written.
        """
        targets = {name for plan in self.plans.values() for name in plan.target_names}
        for source in self.siblings.sources.values():
            wrong, doubtful = mistakes(source, targets if self.plans else None)
            self.faults += wrong
            self.warnings += doubtful
        if not self.is_broken:
            namespaces = {self.source.path: vars(self.module), **self.siblings.namespaces()}
            self.faults += attribute_misuses(self.journeys, self.siblings.sources, namespaces)
            if not any(one.faults for one in self.journeys):  # a missing parameter makes names undefined
                self.faults += wrong_names(self.siblings.sources, namespaces)
        self.faults += number_faults(self._rendezvous())
        self._check_names()
        self._check_tags()
        for one in self.journeys:
            self.faults += one.faults
            self.warnings += one.warnings
        feeds = {id(one.feed): one.feed for one in self.journeys if one.feed is not None}
        for feed in feeds.values():
            self._check_feed(feed)
        for name, plan in self.plans.items():
            self._check_plan(chosen if chosen is not None and chosen.name == name else plan)
        if chosen is not None:
            self._check_rows(chosen)
            self._check_waits(chosen)
            self._warn_of_rounded(chosen)
            if not chosen.faults:
                self.warnings += small_windows(chosen.slos, chosen.lanes, chosen.regions)
        for name in sorted(self.params.required - set(self.params.asked)):
            hint = (
                did_you_mean(name, self.params.asked)
                or "declare it in the scenario with param(...), or remove the option"
            )
            self.faults.append(Fault(f"-P {name}={self.params.given[name]}", 0, f'no param "{name}"', hint))

    def _check_names(self) -> None:
        """Add an error for each journey of the file with the name of an earlier one, unless a plan reports it."""
        reported = {wrong.message for plan in self.plans.values() for wrong in names_wrong("mix", plan.journeys)}
        first: dict[str, Journey[Any]] = {}
        for one in sorted(self.journeys, key=lambda one: (one.origin.file, one.origin.line)):
            before = first.setdefault(one.name, one)
            if before is one or any(f'"{one.name}"' in message for message in reported):
                continue
            message = f'two journeys are named "{one.name}": this one and the one in line {before.origin.line}'
            self.faults.append(one.origin.fault(message, 'give one of them @journey(name="...")'))

    def check_secrets(self) -> None:
        self.faults += missing_secrets(self.secrets, self.secrets)

    def _secrets_written(self) -> dict[str, Origin]:
        """Return the secrets named by literal text in the scenario's files, each with its place.

        Calls of `secret` within journeys are found only in this way, because loading does not run journeys.
        """
        return {
            name: Origin(str(path), line)
            for path, source in self.siblings.sources.items()
            for name, line in source.texts_given("secret")
            if name_is_good(name)
        }

    def take_bodies(self, bodies: Iterable[ScenarioFile | ScenarioBlob]) -> None:
        """Add the files that requests send to the files that agents need.

        Each file that is missing, or not in the scenario's folder, adds an error.
        """
        for body in bodies:
            self.faults += body.faults
            if isinstance(body, ScenarioFile) and not body.faults and self._travels(body.path, body.origin):
                self.files.add(body.path)

    def take_data(self, named: Iterable[NamedFile]) -> None:
        """Add data files outside of feeds and loads to the files that agents need, and their errors to the errors."""
        for one in named:
            self.faults += [fault for fault in one.faults if fault not in self.faults]
            if self._travels(one.path, one.origin) and one.path.is_file():
                self.files.add(one.path)
                if isinstance(one, PromiseFile):
                    self.replaced[one.path] = one.packed

    def _check_feed(self, feed: Feed[Any]) -> None:
        try:
            rows = open_feed(feed)
            if rows.unchecked:
                name = feed.path.name if feed.path is not None else "the feed"
                message = f"{name}: the structure of all {len(rows):,} rows was checked, but the types of only some"
                hint = "an invalid row ends its iteration as a script error"
                self.warnings.append(feed.origin.fault(message, hint))
            if rows.skipped:
                message = f"left out {quantity(rows.skipped, 'row')} of the file that cannot be used"
                self.warnings.append(feed.origin.fault(message, 'write short="refuse" to see them'))
        except ScenarioError as error:
            self.faults += error.faults
        if feed.path is not None and self._travels(feed.path, feed.origin):
            self.files.add(feed.path)

    def _travels(self, path: Path, origin: Origin) -> bool:
        """Return True if a file is in the scenario's folder or below.

        Otherwise add an error and return False, because agents receive no other files.
        """
        if path.resolve().is_relative_to(self.source.path.parent.resolve()):
            return True
        self.faults.append(
            origin.fault(
                f"{path.name} is not in the scenario's folder, so agents do not get it",
                f"move it to {_short(self.source.path.parent)}, or to a folder below it",
            )
        )
        return False

    def _check_plan(self, plan: Plan) -> None:
        self.faults += plan.faults
        for one in plan.executors:
            self.files.update(path for path in one.files if path.is_file() and self._travels(path, one.origin))
        for path in (*plan.certificates, *([] if plan.tokenizer is None else [plan.tokenizer])):
            if path.is_file() and self._travels(path, plan.origin):
                self.files.add(path)
        self.faults += metrics_wrong(plan.slos, (metric.spec for metric in self.metrics))
        self.warnings += limits_never_reached(plan.slos)
        wrong, doubtful = missing_names(plan.said, self.siblings.sources, self.journeys)
        self.faults += wrong
        self.warnings += doubtful

    def _check_tags(self) -> None:
        """Add the errors of tags where they are declared, and where journeys set them."""
        faulty = [fault for one in self.tags for fault in one.faults]
        self.faults += faulty
        if self.plans and not faulty:
            specs = [spec for plan in self.plans.values() for spec in plan.tag_specs]
            self.faults += tag_faults(self.siblings.sources.values(), self.tags, specs)
            self.warnings += id_warnings(self.tags)

    # -- waits --------------------------------------------------------------------------------------

    def _rendezvous(self) -> list[RendezvousCall]:
        return [call for source in self.siblings.sources.values() for call in rendezvous_calls(source)]

    def _check_waits(self, plan: Plan) -> None:
        """Report calls that the plan cannot serve, and waits and drains that do not fit its loads."""
        if plan.faults:
            return
        self.faults += unmet_needs(self.siblings.sources.values(), plan)
        for fault, is_warning in rendezvous_misfits(self._rendezvous(), self.journeys, plan):
            (self.warnings if is_warning else self.faults).append(fault)
        self.warnings += wait_misfits(self.siblings.sources.values(), plan)
        self.warnings += drain_misfits(self.siblings.sources.values(), plan)

    # -- rows and weights -------------------------------------------------------------------------

    def _check_rows(self, plan: Plan) -> None:
        if plan.faults:
            return
        self._warn_of_unknown_rows(plan)
        for one, needed in rows_needed(plan):
            assert one.feed is not None
            try:
                there = len(open_feed(one.feed))
            except ScenarioError:
                continue  # already reported
            if there < needed:
                name = one.feed.path.name if one.feed.path is not None else "the feed"
                self.faults.append(
                    one.feed.origin.fault(
                        f"{name} has {there:,} rows, but {one.name} needs {needed:,}, since each row is used only once",
                        'add rows, lower the load, or write .unique(when_out="cycle") to reuse rows',
                    )
                )

    def _warn_of_unknown_rows(self, plan: Plan) -> None:
        """Warn if a closed load takes a unique row per iteration, because the number of iterations is unknown."""
        feeds = {id(one.feed): one.feed for one in plan.journeys if one.feed is not None}
        for feed in feeds.values():
            if not feed.is_unique or feed.when_out != "stop" or feed.faults:
                continue
            if any(plan_loads.rows_used(lane, feed) is None for lane in plan.lanes):
                message = "a closed load takes a unique row per iteration; once all are used, further iterations fail"
                self.warnings.append(feed.origin.fault(message, 'write .unique(when_out="cycle"), or add enough rows'))

    def _warn_of_rounded(self, plan: Plan) -> None:
        for argument, weights in (("mix", plan.weights), ("regions", tuple(plan.regions.values()))):
            try:
                _, is_rounded = whole_weights(weights)
            except ValueError:
                continue  # already reported
            if is_rounded:
                line = plan.lines.get(argument, plan.origin.line)
                message = f"{argument}: the weights are rounded, so shares may differ by up to 0.1 % of the load"
                self.warnings.append(
                    Fault(plan.origin.file, line, message, "use weights in small whole ratios, such as 3 and 1")
                )


def _shown(fault: Fault) -> Fault:
    """Return the same error with its path relative to the working directory, if the file is below it."""
    return Fault(_short(Path(fault.file)), fault.line, fault.message, fault.hint)


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
