"""Probes of a plan: what a scenario writes in `probes=[...]`, objectives on probes, and their check.

    Plan(..., probes=[metrics_page("http://10.0.0.7:8000/metrics", preset="vllm")])

    probe("shopdb.connections") < "80%"              each sample; in % of the server's own limit
    probe("vllm.waiting").mean() < 20                the mean over the run; also .max(), .min()
    probe("vllm.ttft").p(95) < "500ms"               of a histogram: its upper bound must hold
    probe("node.cpu busy", window="30s", abort=True) < "90%"     the mean of each window

The controller reads and judges probes while the run goes on; agents ignore them. Which probes there are is known only
with `loadgen.toml`, so `resolve_probe_objectives` checks the names. See docs/probes.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Never

import msgspec

from loadgen.dsl.plans.argument_validation import Wrong
from loadgen.dsl.plans.objectives.slo_expression import Expression, Over, Slo, arguments, read_over, read_percentile
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault
from loadgen.measure.objectives.terms import Operator
from loadgen.probes.limits.limit_text import limit_wrong, parse_bound
from loadgen.probes.limits.objective import ProbeObjective, Statistic
from loadgen.probes.limits.row_names import KnownRow, names_of
from loadgen.probes.settings import ProbeSpec, names_wrong, probe_of
from loadgen.similar_names import did_you_mean

__all__ = [
    "Probe",
    "ProbeValue",
    "kubernetes_cluster",
    "metrics_page",
    "pgbouncer_console",
    "postgres_server",
    "probe",
    "prometheus_server",
    "read_probes",
    "resolve_probe_objectives",
]

_MAKERS: Final = {
    "metrics": "metrics_page",
    "prometheus": "prometheus_server",
    "kubernetes": "kubernetes_cluster",
    "postgres": "postgres_server",
    "pgbouncer": "pgbouncer_console",
}
"""The function of this module that makes a probe of each kind."""
_EXAMPLE: Final = 'write probe("shopdb.connections") < "80%"'


class Probe:
    """A probe as written, from `metrics_page` or one of its neighbours. `Plan` checks it."""

    __slots__ = ("given", "name", "origin")

    def __init__(self, name: str | None, given: Mapping[str, Any], origin: Origin) -> None:
        self.name, self.given, self.origin = name, given, origin

    def __repr__(self) -> str:
        kind = self.given.get("kind", "metrics")
        return f"{_MAKERS[kind]}({self.given.get('url' if 'url' in self.given else 'dsn')!r})"


def metrics_page(
    url: str,
    *,
    preset: str | None = None,
    metrics: Iterable[str] | None = None,
    every: str | float = "1s",
    name: str | None = None,
    auth_secret: str | None = None,
    auth_header: str | None = None,
    stop_when: str | None = None,
) -> Probe:
    """Return a probe that reads a page of metrics in the text format of Prometheus during the run.

    Args:
        url: the URL of the page, such as "http://10.0.0.7:8000/metrics". The controller must reach it.
        preset: "vllm" or "sglang": the metrics of this server.
        metrics: names of metrics, without labels; in addition to the preset, or instead of it.
        every: the time between two readings, 200 ms to 1 h.
        name: the name in reports. None: the preset, or "metrics".
        auth_secret: the name of a secret, whose value is sent in `auth_header`.
        auth_header: the name of this header. None: Authorization.
        stop_when: a condition that ends the run, because the target is in danger: "waiting > 200 for 30s". The load
            drains, and the run has failed.
    """
    given = {
        "url": url,
        "preset": preset,
        "metrics": metrics,
        "every": every,
        "auth_secret": auth_secret,
        "auth_header": auth_header,
        "stop_when": stop_when,
    }
    return Probe(name, given, here())


def prometheus_server(
    url: str,
    *,
    preset: str | None = None,
    match: str | None = None,
    selectors: Sequence[str] | None = None,
    expressions: Mapping[str, str] | None = None,
    step: str | float | None = None,
    tenant: str | None = None,
    every: str | float = "10s",
    name: str | None = None,
    auth_secret: str | None = None,
    auth_header: str | None = None,
    ca: str | None = None,
    stop_when: str | None = None,
) -> Probe:
    """Return a probe that reads series of a Prometheus server during the run, over its HTTP API.

    Args:
        url: the URL of the server, such as "http://prometheus:9090". The controller must reach it.
        preset: "node" or "cadvisor": the series of this exporter. match: their labels: 'instance=~"shop-.*"'.
        selectors: of raw samples, such as 'http_requests_total{job="shop"}'.
        expressions: in PromQL, by the title of their row; computed each `step`, by default 15 s.
        tenant: the value of `X-Scope-OrgID`.
        every: the time between two readings, 200 ms to 1 h. Samples have the times of the server.
        name: the name in reports. None: the preset, or "prometheus".
        auth_secret: the name of a secret, whose value is sent in `auth_header`.
        auth_header: the name of this header. None: Authorization.
        ca: the path of a file with certificates to trust instead of the system's.
        stop_when: a condition that ends the run, as of `metrics_page`.
    """
    given = {
        "kind": "prometheus",
        "url": url,
        "preset": preset,
        "match": match,
        "selectors": selectors,
        "expressions": expressions,
        "step": step,
        "tenant": tenant,
        "every": every,
        "auth_secret": auth_secret,
        "auth_header": auth_header,
        "ca": ca,
        "stop_when": stop_when,
    }
    return Probe(name, given, here())


def kubernetes_cluster(
    url: str,
    *,
    namespace: str | None = None,
    pods: str | None = None,
    token_secret: str | None = None,
    every: str | float = "5s",
    name: str | None = None,
    ca: str | None = None,
    stop_when: str | None = None,
) -> Probe:
    """Return a probe that reads events, pods and autoscalers of a Kubernetes cluster during the run.

    Args:
        url: the URL of the API server, such as "https://10.0.0.1:6443". The controller must reach it.
        namespace: None: "default". pods: a label selector such as "app=shop". None: all pods of the namespace.
        token_secret: the name of a secret with the token of a service account.
        every: the time between two readings, 200 ms to 1 h.
        name: the name in reports. None: "kubernetes".
        ca: the path of a file with certificates to trust instead of the system's.
        stop_when: a condition that ends the run, as of `metrics_page`.
    """
    given = {
        "kind": "kubernetes",
        "url": url,
        "namespace": namespace,
        "pods": pods,
        "token": _secret_named(token_secret),
        "every": every,
        "ca": ca,
        "stop_when": stop_when,
    }
    return Probe(name, given, here())


def postgres_server(
    dsn: str,
    *,
    password_secret: str | None = None,
    every: str | float = "1s",
    name: str | None = None,
    stop_when: str | None = None,
) -> Probe:
    """Return a probe that reads statements, sessions, locks and plans of a PostgreSQL server during the run.

    It reads on one connection and never writes. It needs the extra `probes`. See docs/databases.md.

    Args:
        dsn: without a password: "host=db.staging.example dbname=shop user=perf". The controller must reach it.
        password_secret: the name of a secret with the password.
        every: the time between two samples, 200 ms to 1 h.
        name: the name in reports. None: "postgres".
        stop_when: a condition that ends the run: "connections > 95% for 30s".
    """
    return Probe(name, _database("postgres", dsn, password_secret, every, stop_when), here())


def pgbouncer_console(
    dsn: str,
    *,
    password_secret: str | None = None,
    every: str | float = "1s",
    name: str | None = None,
    stop_when: str | None = None,
) -> Probe:
    """Return a probe that reads the pools of a PgBouncer during the run, from its console.

    It needs the extra `probes`. The arguments are those of `postgres_server`; `dsn` needs no database.
    """
    return Probe(name, _database("pgbouncer", dsn, password_secret, every, stop_when), here())


def _database(
    kind: str, dsn: str, password_secret: str | None, every: str | float, stop_when: str | None
) -> dict[str, Any]:
    password = _secret_named(password_secret)
    return {"kind": kind, "dsn": dsn, "password": password, "every": every, "stop_when": stop_when}


def _secret_named(name: str | None) -> dict[str, str] | None:
    return None if name is None else {"secret": name}


def read_probes(probes: object, wrong: list[Wrong]) -> tuple[ProbeSpec, ...]:
    """Return the valid probes of a plan. Each invalid one adds its errors to `wrong`, at its own line."""
    given = list(probes) if isinstance(probes, Iterable) and not isinstance(probes, str | Mapping) else [probes]
    found: list[ProbeSpec] = []
    for i, one in enumerate(given):
        if not isinstance(one, Probe):
            hint = 'write probes=[metrics_page("http://10.0.0.7:8000/metrics", preset="vllm")]'
            wrong.append(Wrong(f"probes[{i}]", f"probes: {one!r} is not a probe", hint))
            continue
        spec, errors = probe_of(one.name, one.given)
        wrong += [Wrong(f"probes[{i}]", f"probes: {message}", hint, one.origin) for _, message, hint in errors]
        if spec is not None:
            found.append(spec)
    wrong += [Wrong("probes", f"probes: {message}", hint) for message, hint in names_wrong(one.name for one in found)]
    return tuple(found)


# -- objectives ------------------------------------------------------------------------------------


class ProbeValue(Expression):
    """A row of a probe, made by `probe`. Compare it with a number, or a text with a unit: `< "80%"`, `< 20`."""

    __slots__ = ()

    def mean(self) -> ProbeValue:
        """Return the mean of the row: of gauges and rates over time, of shares over what they are a share of."""
        return self._of("mean", ".mean()")

    def max(self) -> ProbeValue:
        """Return the highest sample of the row."""
        return self._of("maximum", ".max()")

    def min(self) -> ProbeValue:
        """Return the lowest sample of the row."""
        return self._of("minimum", ".min()")

    def p(self, q: float) -> ProbeValue:
        """Return the q-th percentile (in percent) of a histogram, which is known as the bounds of its bucket."""
        read = read_percentile(here(), f"{self.expression}.p", q)
        found = self._of("percentile", f".p({read.texts[0]})", **read.fields)
        return replace(found, faults=(*found.faults, *read.faults))

    def __lt__(self, limit: str | float) -> Slo:
        return self._compare("<", limit)

    def __gt__(self, limit: str | float) -> Slo:
        return self._compare(">", limit)

    # `Never` makes mypy reject these operators, as for other measured values.
    def __le__(self, limit: Never) -> Slo:
        return self._refused("<=", limit, "< or >")

    def __ge__(self, limit: Never) -> Slo:
        return self._refused(">=", limit, "< or >")

    def _of(self, statistic: Statistic, text: str, **fields: object) -> ProbeValue:
        faults = self.faults
        if self.fields["statistic"] != "every":
            message = f"{self.expression}{text}: the row has a statistic already"
            faults = (*faults, here().fault(message, "write one of .mean(), .max(), .min() and .p(95)"))
        return replace(
            self,
            expression=self.expression + text,
            fields={**self.fields, "statistic": statistic, **fields},
            faults=faults,
        )

    def _compare(self, operator: Operator, limit: object) -> Slo:
        origin = here()
        faults = [*self.faults, *self._statistic_faults(origin)]
        try:
            bound = parse_bound(limit)
        except ValueError as error:
            return Slo(
                origin, faults=(*faults, origin.fault(f"{self.expression} {operator} {limit!r}: {error}", self.hint))
            )
        if faults:
            return Slo(origin, faults=tuple(faults))
        statistic = self.fields["statistic"]
        made = ProbeObjective(
            text=f"{self.expression} {operator} {str(limit).strip()}",
            operator="<" if operator == "<" else ">",
            bound=bound,
            window_ns=self.over.window_ns,
            abort=self.over.abort,
            **{**self.fields, "statistic": "mean" if statistic == "every" and self.over.window_ns else statistic},
        )
        return Slo(origin, probe=made)

    def _statistic_faults(self, origin: Origin) -> Iterator[Fault]:
        statistic, over = self.fields["statistic"], self.over
        if statistic in ("maximum", "minimum") and over.window_ns:
            message = f"{self.expression}: a sample beyond the limit breaks each window that it is in"
            yield origin.fault(message, "leave out window=, or judge the mean of each window")
        if statistic in ("mean", "percentile") and over.abort and not over.window_ns:
            message = f"{self.expression}: an objective over the whole run is decided only at its end"
            yield origin.fault(message, 'add the window to judge: window="30s", abort=True')


def probe(name: str, *, window: str | float | None = None, abort: bool = False) -> ProbeValue:
    """Return a row of a probe. Compare it with a limit to make an objective: `probe("shopdb.connections") < "80%"`.

    Without a statistic, each sample in the measured time must be within the limit; with `window`, the mean of each
    window. `.mean()`, `.max()`, `.min()` choose another one, and `.p(95)` is for histograms. The limit has the unit of
    the row: "80%" (of the server's own limit), "500ms", "200 MiB", "5/s", or a number. If more than 10 % of the time
    has no samples, the objective is inconclusive, unless a sample has decided it.

    Args:
        name: the probe and its row: "shopdb.connections", "node.cpu busy". Rows are named by key or title. A row that
            exists several times, such as once for each instance, is judged for each.
        window: the objective must hold in each window of this length, by the time of the samples.
        abort: the first sample beyond the limit, or the first such window, stops the run, which then has failed.
    """
    origin = here()
    if window is None and abort is True:
        over = Over(abort=True, texts=("abort=True",))
    else:
        over = read_over(origin, "probe", window, abort)
    faults = list(over.faults)
    if not isinstance(name, str) or not all(name.partition(".")):
        faults.append(origin.fault(f"probe({name!r}): not the name of a probe and a row of it", _EXAMPLE))
    shown = f'"{name}"' if isinstance(name, str) else repr(name)
    expression = f"probe({arguments((shown,), over.texts)})"
    fields = {"name": str(name), "statistic": "every"}
    return ProbeValue(origin, "last", expression, over, fields, tuple(faults), '"80%"')


def resolve_probe_objectives(slos: Iterable[Slo], probes: Sequence[ProbeSpec]) -> tuple[tuple[Slo, ...], list[Fault]]:
    """Return the objectives with the probe and the row that each one on a probe means, and all errors in these names.

    probes: all probes of the run, those of `loadgen.toml` too.
    """
    found: list[Slo] = []
    faults: list[Fault] = []
    for slo in slos:
        objective = slo.probe
        if objective is not None:
            wrong = _resolve(objective, probes)
            if isinstance(wrong, tuple):
                faults.append(slo.origin.fault(f"{objective.text}: {wrong[0]}", wrong[1]))
            else:
                slo = replace(slo, probe=wrong)
        found.append(slo)
    return tuple(found), faults


def _resolve(objective: ProbeObjective, probes: Sequence[ProbeSpec]) -> ProbeObjective | tuple[str, str]:
    """Return the objective with its probe and row, or the error as (message, hint)."""
    # Names of probes may have dots, so the longest one that fits is meant.
    fitting = [one for one in probes if objective.name.startswith(f"{one.name}.")]
    if not fitting:
        name = objective.name.partition(".")[0]
        return f'the run has no probe "{name}"', did_you_mean(name, (one.name for one in probes)) or (
            "add it to probes=[...], or a table [probes.NAME] to loadgen.toml; or leave out this objective"
        )
    of = max(fitting, key=lambda one: len(one.name))
    if of.at == "apart":
        return (
            f'probe "{of.name}" is read apart, so its samples come after the verdict',
            'write at = "controller", or leave out this objective',
        )
    names, name = names_of(of), objective.name[len(of.name) + 1 :]
    row = names.find(name)
    if row is None:
        return f'probe "{of.name}" has no row "{name}"', did_you_mean(name, names.texts)
    return _fit_wrong(objective, row) or msgspec.structs.replace(objective, probe=of.name, row=row.key)


def _fit_wrong(objective: ProbeObjective, row: KnownRow) -> tuple[str, str] | None:
    """Return the error of a statistic or a limit that does not fit the row, as (message, hint); None if both fit."""
    if row.kind == "histogram" and objective.statistic != "percentile":
        return f'"{row.title}" is a histogram, which has only percentiles', f'write probe("{objective.name}").p(95)'
    if row.kind not in ("histogram", "any") and objective.statistic == "percentile":
        return f'"{row.title}" is not a histogram, so it has no percentiles', "write .max() or .mean()"
    return None if row.unit is None else limit_wrong(objective.bound, row.unit, row.title)
