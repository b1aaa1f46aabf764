"""`loadgen.toml`: environments for scenarios, and rules that all scenarios of a team must follow.

    [env.staging]
    target = "https://staging.shop.example"       # or targets = { api = "https://...", login = "https://..." }
    regions = { eu-west-1 = 1, us-east-1 = 2 }    # or a list of names
    allow = ["staging.shop.example"]              # allowed hosts, like --i-may-load
    params = { pool = 8 }                         # like -P
    store = "s3://perf/staging"                   # replaces the store of [history]; out = [...] replaces [out]
    trace = "staging"                             # the source of traces, one of [trace.NAME]

    [history]
    store = "s3://perf/history"                   # like --store

    [out]
    run = ["prometheus=127.0.0.1:9464"]           # like --out of `loadgen run`

    [report]
    title = "Shop, weekly load test"              # of reports, like --title; a plan's own title and owner come first
    owner = "Shop team"                           # like --owner

    [policy]
    slos = true                                   # see `Policy`

    [notify.team]
    kind = "slack"                                # see loadgen/notify/settings.py
    url_secret = "team-hook"

    [probes.vllm]
    url = "http://10.0.0.7:8000/metrics"          # see loadgen/probes/settings.py
    preset = "vllm"

    [trace.staging]
    backend = "jaeger"                            # see loadgen/backends/settings.py
    url = "https://jaeger.staging.example"

    [limits]
    psp = "300/s"                                 # what a dependency serves, for `loadgen capacity size`

The file is searched in the scenario's folder and in the folders above, up to the one
that holds `.git`. Only the command line reads it: `--env` turns an environment into
overrides, which are sent to the agents, so agents need no such file. Options on the
command line win over it. Unknown keys and values of the wrong type are errors, all
reported at once with their lines. Paths in the file are relative to its folder.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from loadgen.backends.settings import TraceSource, TraceTable, source_of
from loadgen.dsl.find_settings import FILE_NAME, find_settings
from loadgen.dsl.plans.argument_validation import url_wrong
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import Fault, ScenarioError
from loadgen.notify.settings import Channel, ChannelTable, channel_of
from loadgen.probes.kinds import KINDS as PROBE_KINDS
from loadgen.probes.settings import ProbeSpec, names_wrong, probe_of, table_of
from loadgen.similar_names import did_you_mean
from loadgen.sinks.options import KINDS
from loadgen.toml_lines import key_lines, syntax_fault
from loadgen.units import parse_rate

__all__ = [
    "Environment",
    "Places",
    "Policy",
    "ReportSettings",
    "Settings",
    "merged",
    "read_environment",
    "read_places",
    "read_settings",
]


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[policy]`: rules of a team. Each is off unless it is set.

    `loadgen check --policy` applies them to a scenario. `objectives` applies to the results of `loadgen run`.
    """

    names: bool = False
    """Each request with a computed URL must have a name."""
    slos: bool = False
    """Each journey must have an objective."""
    think: bool = False
    """Each journey of a closed load must have think times or a pace."""
    owner: bool = False
    """Each plan must have an owner."""
    tags: tuple[str, ...] = ()
    """Each plan must have labels with these names."""
    max_rate: float | None = None
    """Maximum rate of a plan, iterations/s."""
    objectives: Literal["any", "sure"] = "any"
    """"sure": an objective whose verdict is not sure gives exit code 3, as `--sure` does."""


class _Env(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    target: str | None = None
    targets: dict[str, str] = {}
    regions: dict[str, float] | tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    params: dict[str, str | int | float | bool] = {}
    store: str | None = None
    out: tuple[str, ...] | None = None
    trace: str | None = None


class _History(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    store: str | None = None


class ReportSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[report]`: the title and the owner of reports whose plan names none."""

    title: str = ""
    owner: str = ""


class _Out(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    run: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """Where the history is stored, and where outputs are sent."""

    path: Path | None = None
    """The file with these settings; its paths are relative to its folder."""
    store: str | None = None
    """The history's URL, or its folder as a full path. None if the file does not set one."""
    out: tuple[str, ...] = ()
    """Outputs as KIND=WHERE, exactly as in the file."""


@dataclass(frozen=True, slots=True)
class Environment:
    """One `[env.NAME]`: its changes to a plan, and the hosts that it allows."""

    name: str
    overrides: Overrides
    allow: tuple[str, ...] = ()
    places: Places = Places()
    """The environment's own places; missing ones are taken from the whole file."""
    trace: str | None = None
    """The name of its source of traces, one of `Settings.traces`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The contents of a `loadgen.toml`. `path` is None without a file."""

    path: Path | None = None
    environments: Mapping[str, Environment] = field(default_factory=dict)
    policy: Policy | None = None
    places: Places = Places()
    notify: Mapping[str, Channel] = field(default_factory=dict)
    """The channels for notifications, `[notify.NAME]`, by name."""
    report: ReportSettings = field(default_factory=ReportSettings)
    probes: tuple[ProbeSpec, ...] = ()
    """The probes of all scenarios, `[probes.NAME]`."""
    traces: Mapping[str, TraceSource] = field(default_factory=dict)
    """The sources of traces, `[trace.NAME]`, by name."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """The rates that the dependencies of the target serve, `[limits]`, by name; 1/s."""


def read_environment(scenario: Path, name: str) -> Environment:
    """Return the environment `name` ([env.NAME]) from the `loadgen.toml` that applies to a scenario.

    Raises:
        ScenarioError: no `loadgen.toml`, no such environment, or all errors in the file.
    """
    path = find_settings(scenario)
    if path is None:
        hint = f'create one with [env.{name}] and target = "https://..."'
        # Commands without a scenario look from the current folder, by a name that no file has.
        is_here = scenario == Path(scenario.name) and not scenario.exists()
        where = "this folder" if is_here else f"the folder of {scenario.name}"
        message = f"no {FILE_NAME} in {where} or above"
        raise ScenarioError([Fault(f"--env {name}", 0, message, hint)])
    environments = read_settings(path).environments
    if name not in environments:
        hint = did_you_mean(name, environments) or f"write [env.{name}]"
        raise ScenarioError([Fault(str(path), 0, f'no environment "{name}"', hint)])
    return environments[name]


def read_places(scenario: Path, env: str | None) -> Places:
    """Return where a scenario's history is stored and where its results are sent, from its `loadgen.toml`.

    env: the environment whose places come first; None: the file's general places.

    Raises:
        ScenarioError: as in `read_environment`. Without `env`, a missing file is no error.
    """
    return read_settings(find_settings(scenario)).places if env is None else read_environment(scenario, env).places


def read_settings(path: Path | None) -> Settings:
    """Return the contents of a `loadgen.toml`; without a path, empty settings.

    Raises:
        ScenarioError: with all errors in the file.
    """
    if path is None:
        return Settings()
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError([syntax_fault(path, error)]) from None
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ScenarioError(
            [Fault(str(path), 0, message, "check the path and its permissions; the file must be TOML in UTF-8")]
        ) from None
    reading = _Reading(path, text)
    settings = reading.settings(content)
    if reading.faults:
        raise ScenarioError(reading.faults)
    return settings


def merged(environment: Environment | None, overrides: Overrides) -> Overrides:
    """Return the overrides of an environment combined with those of the command line, which win."""
    if environment is None:
        return overrides
    base = environment.overrides
    regions = {name: base.regions.get(name) if weight is None else weight for name, weight in overrides.regions.items()}
    return Overrides(
        target=base.target if overrides.target is None else overrides.target,
        targets=base.targets | overrides.targets,
        peak=overrides.peak,
        peak_of=overrides.peak_of,
        duration_s=overrides.duration_s,
        regions=regions or base.regions,
        params=overrides.params,
        env=base.env,
        env_params=base.env_params,
        allow=tuple(dict.fromkeys((*base.allow, *overrides.allow))),
        resolve=overrides.resolve,
        labels=overrides.labels,
        loads=overrides.loads,
    )


# -- reading --------------------------------------------------------------------------------------


class _Reading:
    """Reads one file and collects its errors."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = dict(key_lines(text))
        self.faults: list[Fault] = []

    def settings(self, content: dict[str, Any]) -> Settings:
        self._check_keys(
            (), content, ["env", "history", "limits", "notify", "out", "policy", "probes", "report", "trace"]
        )
        places = self._places(content)
        environments: dict[str, Environment] = {}
        envs = content.get("env", {})
        if not isinstance(envs, dict):
            self._add(("env",), "env is not a table", 'write [env.staging] and target = "https://..."')
            envs = {}
        for name, table in envs.items():
            if isinstance(table, dict):
                environments[name] = self._environment(name, table, places)
            else:
                self._add(("env", name), f"env.{name} is not a table", f"write [env.{name}]")
        report = ReportSettings(**self._fields(("report",), self._table(content, "report"), ReportSettings))
        policy, channels, probes = self._policy(content), self._channels(content), self._probes(content)
        traces = self._traces(content)
        written = self._table(content, "trace") if environments else {}
        for name, environment in environments.items():
            if environment.trace is not None and environment.trace not in written:
                hint = did_you_mean(environment.trace, written) or f"write [trace.{environment.trace}]"
                self._add(("env", name, "trace"), f'trace: no source "{environment.trace}"', hint)
        limits = self._limits(content)
        return Settings(self._path, environments, policy, places, channels, report, probes, traces, limits)

    def _limits(self, content: dict[str, Any]) -> dict[str, float]:
        limits: dict[str, float] = {}
        for name, value in self._table(content, "limits").items():
            hint = f'write {name} = "300/s"'
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                self._add(("limits", name), f"limits.{name} is not a rate", hint)
                continue
            try:
                rate = parse_rate(value)
            except ValueError as error:
                self._add(("limits", name), f"limits.{name}: {str(error).partition(';')[0]}", hint)
                continue
            if rate > 0:
                limits[name] = rate
            else:
                self._add(("limits", name), f"limits.{name} is {rate:g}/s, but must be above 0", hint)
        return limits

    def _traces(self, content: dict[str, Any]) -> dict[str, TraceSource]:
        sources: dict[str, TraceSource] = {}
        for name, table in self._table(content, "trace").items():
            where = ("trace", name)
            if not isinstance(table, dict):
                self._add(where, f"trace.{name} is not a table", f"write [trace.{name}]")
                continue
            before = len(self.faults)
            written = TraceTable(**self._fields(where, table, TraceTable))
            # A value of the wrong type is reported already, and absent in `written`.
            has_wrong_type = {key for key in table if len(self.faults) > before and not getattr(written, key, True)}
            source, errors = source_of(name, written, self._path.parent)
            for key, message, hint in errors:
                if key not in has_wrong_type:  # else its type is reported already
                    self._add((*where, key) if key in table else where, f"trace.{name}: {message}", hint)
            if source is not None and len(self.faults) == before:
                sources[name] = source
        return sources

    def _probes(self, content: dict[str, Any]) -> tuple[ProbeSpec, ...]:
        found: list[ProbeSpec] = []
        for name, table in self._table(content, "probes").items():
            where = ("probes", name)
            if not isinstance(table, dict):
                self._add(where, f"probes.{name} is not a table", f"write [probes.{name}]")
                continue
            before = len(self.faults)
            kind = table.get("kind", "metrics")
            if not isinstance(kind, str) or kind not in PROBE_KINDS:
                hint = did_you_mean(str(kind), PROBE_KINDS) or f"use one of {', '.join(PROBE_KINDS)}"
                self._add((*where, "kind"), f"probes.{name}: kind: unknown kind {str(kind)[:40]!r}", hint)
                continue
            values = self._fields(where, table, table_of(kind))
            if values.get("ca"):
                values["ca"] = str(self._path.parent / values["ca"])
            probe, errors = probe_of(name, values)
            for key, message, hint in errors:
                if key not in table or key in values:  # else its type is reported already
                    self._add((*where, key) if key in table else where, f"probes.{name}: {message}", hint)
            if probe is not None and len(self.faults) == before:
                found.append(probe)
        for message, hint in names_wrong(one.name for one in found):
            self._add(("probes",), message, hint)
        return tuple(found)

    def _channels(self, content: dict[str, Any]) -> dict[str, Channel]:
        channels: dict[str, Channel] = {}
        for name, table in self._table(content, "notify").items():
            where = ("notify", name)
            if not isinstance(table, dict):
                self._add(where, f"notify.{name} is not a table", f"write [notify.{name}]")
                continue
            before = len(self.faults)
            written = ChannelTable(**self._fields(where, table, ChannelTable))
            if len(self.faults) > before and "kind" in table and written.kind is None:
                continue  # the kind is invalid, so nothing else can be checked
            channel, errors = channel_of(name, written, self._path.parent)
            for key, message, hint in errors:
                self._add((*where, key) if key else where, message, hint)
            if channel is not None and len(self.faults) == before:
                channels[name] = channel
        return channels

    def _places(self, content: dict[str, Any]) -> Places:
        history = _History(**self._fields(("history",), self._table(content, "history"), _History))
        out = _Out(**self._fields(("out",), self._table(content, "out"), _Out))
        store = self._store(("history", "store"), history.store)
        return Places(self._path, store, self._out(("out", "run"), out.run) or ())

    def _store(self, where: tuple[str, ...], store: str | None) -> str | None:
        if store is None or store.startswith("s3://"):
            return store
        if not store or "://" in store:
            self._add(where, f'store: "{store}" is not a folder or an s3:// URL', _EXAMPLES["store"])
        return str(self._path.parent / os.path.expanduser(store))  # noqa: PTH111  # pathlib's raises of no such user

    def _out(self, where: tuple[str, ...], out: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Return `out`, the outputs to which results are sent, after a check that each is of a known kind.

        Their targets are checked at the run, because variables and packages may be set up only then.
        """
        for text in out or ():
            kind = text.partition("=")[0].strip()
            if kind not in KINDS:
                self._add(where, f'{where[-1]}: "{kind[:40]}" is not a kind of output', did_you_mean(kind, KINDS))
        return out

    def _table(self, content: dict[str, Any], name: str) -> dict[str, Any]:
        table = content.get(name, {})
        if isinstance(table, dict):
            return table
        self._add((name,), f"{name} is not a table", f"write [{name}]")
        return {}

    def _policy(self, content: dict[str, Any]) -> Policy | None:
        table = self._table(content, "policy")
        if not isinstance(content.get("policy"), dict):
            return None
        policy = Policy(**self._fields(("policy",), table, Policy))
        if policy.max_rate is not None and not policy.max_rate > 0:
            self._add(
                ("policy", "max_rate"), f"policy: invalid max_rate {policy.max_rate:g}", "write iterations/s, above 0"
            )
        return policy

    def _environment(self, name: str, table: dict[str, Any], file: Places) -> Environment:
        where = ("env", name)
        env = _Env(**self._fields(where, table, _Env))
        if env.target is not None:
            self._check_url((*where, "target"), env.target)
        for target, url in env.targets.items():
            self._check_url((*where, "targets", target), url)
        regions = env.regions if isinstance(env.regions, dict) else dict.fromkeys(env.regions, 1.0)
        for region, weight in regions.items():
            if not 0 <= weight < float("inf"):
                self._add(
                    (*where, "regions", region),
                    f"the weight of {region} is {weight:g}",
                    "write a finite number of at least 0",
                )
        if regions and not any(regions.values()):
            self._add((*where, "regions"), "regions: all weights are 0", "write at least one weight above 0")
        for host in env.allow:
            if not host or "/" in host or any(c.isspace() for c in host):
                self._add(
                    (*where, "allow"),
                    f"allow: {host!r} is not a host",
                    'write a name or an address, as in "shop.example"',
                )
        for key in env.params:
            if not key.isidentifier():
                self._add(
                    (*where, "params", key),
                    f"params: {key!r} is not a valid name of a param",
                    "use the name in param(name, ...)",
                )
        overrides = Overrides(
            target=env.target,
            targets=env.targets,
            regions=dict(regions),
            env=name,
            env_params={key: _param_text(value) for key, value in env.params.items()},
            allow=env.allow,
        )
        store, out = self._store((*where, "store"), env.store), self._out((*where, "out"), env.out)
        places = Places(self._path, store or file.store, file.out if out is None else out)
        return Environment(name, overrides, env.allow, places, env.trace)

    def _fields(self, where: tuple[str, ...], table: dict[str, Any], of: type[msgspec.Struct]) -> dict[str, Any]:
        """Return the values of a TOML table that fit the fields of `of`; add an error for each other key.

        where: the table's place in the file, for errors.
        """
        fields = {f.name: f.type for f in msgspec.structs.fields(of)}
        self._check_keys(where, table, list(fields))
        good: dict[str, Any] = {}
        for key, value in table.items():
            if key not in fields:
                continue
            try:
                good[key] = msgspec.convert(value, fields[key])
            except msgspec.ValidationError as error:
                what, _, inner = str(error).partition(" - at `$")
                place = (*where, key, *re.findall(r"\.([\w-]+)", inner))
                message = f"{key}: {what[0].lower()}{what[1:].replace('`', '')}"
                examples = _EXAMPLES | _EXAMPLES_OF.get(where[0] if where else "", {})
                self._add(place, message, examples.get(key, f"write {key} = true"))
        return good

    def _check_keys(self, where: tuple[str, ...], table: Mapping[str, Any], known: list[str]) -> None:
        for key in table:
            if key not in known:
                message = f'unknown key "{".".join((*where, key))}"'
                self._add((*where, key), message, did_you_mean(key, known))

    def _check_url(self, where: tuple[str, ...], url: str) -> None:
        message, hint = url_wrong(url)
        if message:
            self._add(where, message, hint)

    def _add(self, where: tuple[str, ...], message: str, hint: str) -> None:
        """Add an error at the line of the key `where`. A key in an inline table is reported at the table's line."""
        line = next((self._lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in self._lines), 0)
        self.faults.append(Fault(str(self._path), line, message, hint))


_EXAMPLES_OF = {
    "probes": {
        "url": 'url = "http://10.0.0.7:8000/metrics"',
        "kind": 'kind = "postgres"',
        "pods": 'pods = "app=shop"',
        "match": "match = 'instance=~\"shop-.*\"'",
    }
}
"""Examples for tables whose keys mean something else there."""
_EXAMPLES = {
    "target": 'target = "https://staging.shop.example"',
    "targets": 'targets = { api = "https://api.example" }',
    "regions": 'regions = { eu-west-1 = 1, us-east-1 = 2 }, or ["eu-west-1"]',
    "allow": 'allow = ["staging.shop.example"]',
    "params": "params = { pool = 8 }",
    "store": 'store = "s3://perf/history", or a folder',
    "out": 'out = ["prometheus=127.0.0.1:9464"]',
    "run": 'run = ["prometheus=127.0.0.1:9464", "ndjson=figures.ndjson"]',
    "tags": 'tags = ["service"]',
    "max_rate": "max_rate = 500",
    "objectives": 'objectives = "sure"',
    "kind": 'kind = "webhook", "slack", "email" or "sns"',
    "events": 'events = ["end", "abort", "gate"]',
    "link": 'link = "https://perf.example/runs/{run}"',
    "url": 'url = "https://hooks.example/loadgen"',
    "url_secret": 'url_secret = "team-hook"',
    "signing_secret": 'signing_secret = "hook-key"',
    "ca": 'ca = "ca.pem"',
    "server": 'server = "mail.example:587"',
    "tls": 'tls = "starttls", "tls" or "none"',
    "sender": 'sender = "loadgen@shop.example"',
    "to": 'to = ["team@shop.example"]',
    "user": 'user = "loadgen"',
    "password_secret": 'password_secret = "smtp-password"',
    "title": 'title = "Shop, weekly load test"',
    "preset": 'preset = "vllm"',
    "metrics": 'metrics = ["http_requests_total"]',
    "every": 'every = "1s"',
    "auth_secret": 'auth_secret = "metrics-login"',
    "auth_header": 'auth_header = "X-Api-Key"',
    "at": 'at = "controller", or at = "apart"',
    "token": 'token = { secret = "cluster-token" }',
    "namespace": 'namespace = "shop"',
    "selectors": "selectors = ['http_requests_total{job=\"shop\"}']",
    "expressions": "expressions = { hits = 'sum(rate(cache_hits_total[1m]))' }",
    "step": 'step = "15s"',
    "dsn": 'dsn = "host=db.staging.example dbname=shop user=perf"',
    "password": 'password = { secret = "shopdb-password" }',
    "backend": 'backend = "jaeger"',
    "auth": 'auth = { header = "Authorization", secret = "jaeger-token" }',
    "keep": 'keep = ["tenant", "app.*"]',
    "tenant": 'tenant = "shop"',
    "region": 'region = "eu-west-1"',
    "trace": 'trace = "staging"',
}


def _param_text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
