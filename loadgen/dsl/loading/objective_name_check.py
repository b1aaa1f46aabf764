"""Checks that a scenario's files have the steps, requests and checks that objectives name, without running the files.

p(95, step="lst") < "300ms"                 no journey of the plan has such a step         error
p(95, request="GET /serach") < "300ms"      no request has such a name                     error
checks("has resluts") > "99%"               no check has such a name                       error
the scenario computes names                 one of them may be the name in the run         warning
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadgen.dsl.journey import Journey
from loadgen.dsl.loading.receivers import VERBS
from loadgen.dsl.loading.source_analysis import Source, StepName, place, short_text
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.errors import Fault
from loadgen.measure.deltas.custom import CHECK
from loadgen.measure.objectives.terms import ALL_CHECKS
from loadgen.similar_names import did_you_mean

__all__ = ["RequestName", "missing_names", "request_names"]

_UNCHECKED = "check this name: computed names are known only in the run, and an objective without data never passes"
"""Hint for an objective whose name may be computed."""


def missing_names(
    said: Iterable[tuple[Slo, Iterable[Journey[Any]]]], sources: Mapping[Path, Source], journeys: Sequence[Journey[Any]]
) -> tuple[list[Fault], list[Fault]]:
    """Return the errors and the warnings of objectives that name what is not in the scenario, as two lists.

    Args:
        said: each objective, with the journeys that it judges.
        sources: all files of the scenario.
        journeys: all journeys of the scenario.
    """
    reading = _Reading(sources, journeys)
    for slo, those in said:
        reading.check(slo, those)
    return reading.faults, reading.warnings


class _Reading:
    """Compares objectives with the names in a scenario's files, and collects the errors and warnings."""

    def __init__(self, sources: Mapping[Path, Source], journeys: Sequence[Journey[Any]]) -> None:
        self._sources, self._journeys = sources, journeys
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []

    def check(self, slo: Slo, those: Iterable[Journey[Any]]) -> None:
        """Check the names in one objective. those: the journeys that it judges."""
        self._step(slo, those)
        self._request(slo)
        self._check(slo)

    def _step(self, slo: Slo, those: Iterable[Journey[Any]]) -> None:
        objective = slo.objective
        if objective is None or objective.step is None:
            return
        journeys = [one for one in those if objective.journey in (None, one.name)]
        own, helpers = self._steps(journeys)
        if not journeys or _is_known(objective.step, own + helpers, helpers):
            return
        names = dict.fromkeys(step.text for step in own + helpers)
        if any(step.is_computed for step in own + helpers):
            message = f'{objective.text}: no step "{objective.step}" found, but the scenario computes some step names'
            self.warnings.append(slo.origin.fault(message, _UNCHECKED))
            return
        of = f"journey {journeys[0].name}" if len(journeys) == 1 else "no journey of the plan"
        has = f"{of} has no" if len(journeys) == 1 else f"{of} has a"
        ends = [name for name in names if name.endswith("/" + objective.step)]
        hint = (
            did_you_mean(ends[0] if ends else objective.step, names)
            or 'add it: async with user.step("..."), or correct the objective'
        )
        self.faults.append(slo.origin.fault(f'{objective.text}: {has} step "{objective.step}"', hint))

    def _request(self, slo: Slo) -> None:
        """Add an error if no request in the scenario's files has the name that an objective gives.

        Names are read from the source text, also those of loops over literal texts. A computed name may be the one
        of the objective if its literal parts fit; if none fits, add only a warning.
        """
        if slo.objective is None or slo.objective.request is None:
            return
        name = re.sub(r" \(hop \d+\)$", "", slo.objective.request)
        names = [one for source in self._sources.values() for one in request_names(source)]
        if any(re.fullmatch(one.pattern, name) and not one.is_computed for one in names):
            return
        text = f'{slo.objective.text}: no request "{slo.objective.request}"'
        fitting = [one for one in names if re.fullmatch(one.pattern, name)]
        if "{" in name and fitting and not any(one.is_given for one in fitting):
            hint = f'set the name in the request call: name="{name}"'
            self.faults.append(slo.origin.fault(f"{text}: requests without name= are named by their exact path", hint))
        elif fitting and "{" not in name:
            return  # a computed name that may be this one
        elif not names or any(one.is_computed for one in names):
            message = f"{text} found, but the scenario computes some request names"
            self.warnings.append(slo.origin.fault(message, _UNCHECKED))
        else:
            there = dict.fromkeys(one.text for one in names)
            self.faults.append(slo.origin.fault(f"{text}", did_you_mean(slo.objective.request, there)))

    def _check(self, slo: Slo) -> None:
        """Add an error if no `user.check` in the scenario's files has the name that an objective gives.

        Names are read from the source text. A computed part of a name matches any text, so then there is no error.
        """
        objective = slo.objective
        if objective is None or not objective.of.startswith(CHECK) or objective.of == ALL_CHECKS:
            return
        name = objective.of.removeprefix(CHECK)
        names = [one for source in self._sources.values() for one in _check_names(source)]
        if any(re.fullmatch(pattern, name) for pattern, _ in names):
            return
        text = f'{objective.text}: no check "{name}"'
        if not names:
            self.faults.append(slo.origin.fault(text, f'add it to a journey: user.check("{name}", ...)'))
            return
        there = dict.fromkeys(shown for _, shown in names)
        hint = did_you_mean(name, there)
        self.faults.append(slo.origin.fault(text, hint))

    def _steps(self, journeys: Iterable[Journey[Any]]) -> tuple[list[StepName], list[StepName]]:
        """Return two lists of step names: those in the given journeys' functions, and those in helper functions.

        A helper is a function that is not part of any journey.
        """
        wanted: dict[tuple[str, int], list[str]] = {}
        """Place of a function -> the steps around its call."""
        for one in journeys:
            for step, fn in one.parts:
                wanted.setdefault(place(fn), []).append(step)
        others = {place(fn) for one in self._journeys for _, fn in one.parts} - set(wanted)
        own = [StepName.of(step) for outer in wanted.values() for step in outer if step]
        helpers: list[StepName] = []
        for path, source in self._sources.items():
            for line, steps in source.steps().items():
                if outer := wanted.get((str(path), line)):
                    own += [step.within(name) for name in outer for step in steps]
                elif (str(path), line) not in others:
                    helpers += steps
        return own, helpers


def _is_known(name: str, steps: list[StepName], inner: list[StepName]) -> bool:
    """Return True if a step of this name can exist: one of `steps`, or one of them with steps `inner` nested in it."""
    if any(step.fits(name) and not step.is_computed for step in steps):
        return True
    cuts = (i for i, c in enumerate(name) if c == "/")
    return any(
        any(step.fits(name[:i]) and not step.is_computed for step in steps) and _is_known(name[i + 1 :], inner, inner)
        for i in cuts
    )


# -- names in the text ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RequestName:
    """The predicted name of a request: its `name=`, or its method and path."""

    pattern: str
    """Regular expression for the name; `.+` matches computed parts."""
    text: str
    """The name as shown in messages; computed parts are `{...}`."""
    is_computed: bool
    """True if any part of the name is computed."""
    is_given: bool
    """True if the name comes from `name=`, not from the path."""


_ROWS_OF_LINKS: Final = {
    "tcp": tuple(("TCP", suffix) for suffix in (" (connect)", "", " (send)", " (receive)")),
    "udp": tuple(("UDP", suffix) for suffix in ("", " (send)")),
}
"""Rows that `user.tcp` and `user.udp` name after their target, because the call has no `name=`."""


def request_names(source: Source) -> Iterator[RequestName]:
    """Yield the predicted name of each call in the file that looks like a request.

    Requests of third-party clients are not found.
    """
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr in ("grpc", "grpc_channel"):
            # A stub may have any method, so any name of a gRPC method is possible.
            yield RequestName(r"[\w.]+/\w+", "{...}", True, False)
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        verb = node.func.attr
        if verb == "ws" and node.args:
            yield from _rows_of_websocket(source, node)
            continue
        if verb == "browser":
            # A page may lead to any other, so any name of a page is possible.
            yield RequestName("page .+", "page {...}", True, False)
        given = next((k.value for k in node.keywords if k.arg == "name"), None)
        if given is None and verb == "measure" and node.args:
            given = node.args[0]
        if given is not None:
            for one in source.alternatives(given):
                pattern, text = source.text_of(one)
                yield RequestName(pattern, text, ".+" in pattern, True)
                if verb == "poll":
                    yield RequestName(pattern + r" \(poll\)", f"{text} (poll)", ".+" in pattern, True)
        elif verb in _ROWS_OF_LINKS and node.args:
            for one in source.alternatives(node.args[0]):
                pattern, text = source.text_of(one)
                for kind, suffix in _ROWS_OF_LINKS[verb]:
                    row = f"{kind} {pattern}{re.escape(suffix)}"
                    yield RequestName(row, f"{kind} {text}{suffix}", ".+" in pattern, False)
        elif verb in ("request", "stream") and len(node.args) > 1:
            for url in source.alternatives(node.args[1]):
                yield _by_path(source, node.args[0], url, node)
        elif verb in VERBS and node.args and _is_path(source, node):
            for url in source.alternatives(node.args[0]):
                yield _by_path(source, ast.Constant(verb.upper()), url, node)


def _rows_of_websocket(source: Source, call: ast.Call) -> Iterator[RequestName]:
    """Yield the names of the rows of `user.ws("/feed")`, besides those of asks with a name of their own."""
    given = next((k.value for k in call.keywords if k.arg == "name"), None)
    for one in source.alternatives(call.args[0] if given is None else given):
        if given is None:
            row = _by_path(source, ast.Constant("WS"), one, call)
            pattern, text, is_computed = row.pattern, row.text, row.is_computed
        else:
            pattern, text = source.text_of(one)
            is_computed = ".+" in pattern
        for what in ("connect", "ask", "ping", "close"):
            yield RequestName(rf"{pattern} \({what}\)", f"{text} ({what})", is_computed, given is not None)


def _check_names(source: Source) -> Iterator[tuple[str, str]]:
    """Yield (regular expression of the name, name as shown) of each call of `user.check` in the file.

    Computed parts of a name match any text.
    """
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "check":
            given = next((k.value for k in node.keywords if k.arg == "name"), node.args[0] if node.args else None)
            if given is not None:
                yield source.text_of(given)


def _is_path(source: Source, call: ast.Call) -> bool:
    """Return True if the call's first argument may be a path or URL; that of `row.get("name")` is not."""
    text = source.text_of(call.args[0])[1]
    return ".http." in short_text(call.func) or text.startswith(("/", "http://", "https://", "{...}"))


def _by_path(source: Source, method: ast.expr, url: ast.expr, call: ast.Call) -> RequestName:
    if any(isinstance(k.value, ast.Call) and short_text(k.value.func).endswith("gql") for k in call.keywords):
        return RequestName(".+", "{...}", True, True)  # a GraphQL request is named by its operation
    (method_pattern, method_text), (pattern, text) = source.text_of(method), source.text_of(url)
    pattern, text = pattern.partition(r"\?")[0], text.partition("?")[0]
    is_computed = ".+" in pattern or ".+" in method_pattern
    pattern = re.sub(r"^(?:https?|wss?)://[^/]*", "(?:https?://[^/]*)?", pattern)
    # The target's own path, if it has one, comes first.
    prefix = "" if pattern.startswith("(?:") else "(?:/.*)?" if pattern.startswith("/") else "(?:/.*)?/?"
    # Requests of `user.to("login")` are named `GET login:/path`, unless "login" is the target of `user.http`.
    target = r"(?:[^/ ]+:)?"
    return RequestName(f"{method_pattern} {target}{prefix}{pattern}", f"{method_text} {text}", is_computed, False)
