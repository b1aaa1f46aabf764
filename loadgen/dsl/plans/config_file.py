"""`loadgen.toml`: where a scenario may be aimed, and what a house asks of all its scenarios.

    [env.staging]
    target = "https://staging.shop.example"       # or targets = { api = "https://...", login = "https://..." }
    regions = { eu-west-1 = 1, us-east-1 = 2 }    # or a list of names
    allow = ["staging.shop.example"]              # hosts that may be loaded, as --i-may-load says
    params = { pool = 8 }                         # as -P says
    store = "s3://perf/staging"                   # instead of what [history] says; out = [...] instead of [out]

    [history]
    store = "s3://perf/history"                   # as --store says

    [out]
    run = ["prometheus=127.0.0.1:9464"]           # as --out of `loadgen run` says

    [policy]
    slos = true                                   # see `Policy`

The file is looked for beside the scenario and in the folders above, up to the one
that holds `.git`. It is read by the command line alone: what `--env` chooses becomes
overrides, which travel, so agents need no such file. Options of the command line
beat it. Unknown keys are faults, as are values of the wrong type: all at once, with
their line. Paths in it count from its folder.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from loadgen.dsl.plans.arguments import did_you_mean, url_wrong
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import Fault, ScenarioError
from loadgen.sinks import KINDS

__all__ = [
    "FILE_NAME",
    "Environment",
    "Places",
    "Policy",
    "Settings",
    "find_settings",
    "merged",
    "read_environment",
    "read_places",
    "read_settings",
]

FILE_NAME = "loadgen.toml"


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[policy]`: what `loadgen check --policy` asks of a scenario. All of it is off unless it is set."""

    names: bool = False
    """A request whose URL is computed has a name."""
    slos: bool = False
    """Each journey has an objective."""
    think: bool = False
    """Each journey of a closed load thinks, or keeps a pace."""
    owner: bool = False
    """A plan says who owns it."""
    tags: tuple[str, ...] = ()
    """A plan has labels of these names."""
    max_rate: float | None = None
    """No plan goes beyond this rate, iterations/s."""


class _Env(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    target: str | None = None
    targets: dict[str, str] = {}
    regions: dict[str, float] | tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    params: dict[str, str | int | float | bool] = {}
    store: str | None = None
    out: tuple[str, ...] | None = None


class _History(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    store: str | None = None


class _Out(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    run: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """Where accepted runs are, and where figures go."""

    path: Path | None = None
    """The file that says so; paths count from its folder."""
    store: str | None = None
    """Whole: of a folder its path from wherever we are. None: it says none."""
    out: tuple[str, ...] = ()
    """KIND=WHERE, as it stands in the file."""


@dataclass(frozen=True, slots=True)
class Environment:
    """One `[env.NAME]`: what it changes of a plan, and the hosts that it allows."""

    name: str
    overrides: Overrides
    allow: tuple[str, ...] = ()
    places: Places = Places()
    """Its own, and of the whole file where it says none."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All of a file. path: None where there is none."""

    path: Path | None = None
    environments: Mapping[str, Environment] = field(default_factory=dict)
    policy: Policy | None = None
    places: Places = Places()


def find_settings(scenario: Path) -> Path | None:
    """The nearest `loadgen.toml`: beside the scenario, or above it up to the repository's folder.

    A folder above in which anybody may put files, as /tmp, ends the search: what lies there is not the house's.
    """
    folder = scenario.absolute().parent
    for place in (folder, *folder.parents):
        if place != folder and _is_anybodys(place):
            break
        if (place / FILE_NAME).is_file():
            return place / FILE_NAME
        if (place / ".git").exists():
            break
    return None


def _is_anybodys(folder: Path) -> bool:
    """By the sticky bit: a mount of another system, where all files are everybody's, has none."""
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_ISVTX and mode & stat.S_IWOTH)


def read_environment(scenario: Path, name: str) -> Environment:
    """The environment `name` for a scenario.

    Raises:
        ScenarioError: no file, no such environment, or with all faults of the file.
    """
    path = find_settings(scenario)
    if path is None:
        hint = f'write one with [env.{name}] and target = "https://..."'
        message = f"no {FILE_NAME} beside {scenario.name} or in a folder above"
        raise ScenarioError([Fault(f"--env {name}", 0, message, hint)])
    environments = read_settings(path).environments
    if name not in environments:
        hint = did_you_mean(name, environments) or f"write [env.{name}]"
        raise ScenarioError([Fault(str(path), 0, f'no environment "{name}"', hint)])
    return environments[name]


def read_places(scenario: Path, env: str | None) -> Places:
    """What the file of a scenario says of places, in the environment `env` where one is named.

    Raises:
        ScenarioError: as `read_environment`; without `env` no file is needed.
    """
    return read_settings(find_settings(scenario)).places if env is None else read_environment(scenario, env).places


def read_settings(path: Path | None) -> Settings:
    """A whole file; nothing of none.

    Raises:
        ScenarioError: with everything that is wrong in it.
    """
    if path is None:
        return Settings()
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError([_syntax(path, error)]) from None
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ScenarioError([Fault(str(path), 0, message, "a TOML file in UTF-8")]) from None
    reading = _Reading(path, text)
    settings = reading.settings(content)
    if reading.faults:
        raise ScenarioError(reading.faults)
    return settings


def merged(environment: Environment | None, overrides: Overrides) -> Overrides:
    """What an environment and the command line change together; the command line beats it."""
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
    )


# -- reading --------------------------------------------------------------------------------------


class _Reading:
    """One file while it is read, and its faults."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = dict(_key_lines(text))
        self.faults: list[Fault] = []

    def settings(self, content: dict[str, Any]) -> Settings:
        self._check_keys((), content, ["env", "history", "out", "policy"])
        places = self._places(content)
        environments: dict[str, Environment] = {}
        envs = content.get("env", {})
        if not isinstance(envs, dict):
            self._add(("env",), "env is no table", 'write [env.staging] and target = "https://..."')
            envs = {}
        for name, table in envs.items():
            if isinstance(table, dict):
                environments[name] = self._environment(name, table, places)
            else:
                self._add(("env", name), f"env.{name} is no table", f"write [env.{name}]")
        return Settings(self._path, environments, self._policy(content), places)

    def _places(self, content: dict[str, Any]) -> Places:
        history = _History(**self._fields(("history",), self._table(content, "history"), _History))
        out = _Out(**self._fields(("out",), self._table(content, "out"), _Out))
        store = self._store(("history", "store"), history.store)
        return Places(self._path, store, self._out(("out", "run"), out.run) or ())

    def _store(self, where: tuple[str, ...], store: str | None) -> str | None:
        if store is None or store.startswith("s3://"):
            return store
        if not store or "://" in store:
            self._add(where, f'store: "{store}" is no place for a history', _EXAMPLES["store"])
        return str(self._path.parent / os.path.expanduser(store))  # noqa: PTH111  # pathlib's raises of no such user

    def _out(self, where: tuple[str, ...], out: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """What stands behind the kind is for the run to check: variables and packages need be there only then."""
        for text in out or ():
            kind = text.partition("=")[0].strip()
            if kind not in KINDS:
                self._add(where, f'{where[-1]}: "{kind[:40]}" is no kind of output', did_you_mean(kind, KINDS))
        return out

    def _table(self, content: dict[str, Any], name: str) -> dict[str, Any]:
        table = content.get(name, {})
        if isinstance(table, dict):
            return table
        self._add((name,), f"{name} is no table", f"write [{name}]")
        return {}

    def _policy(self, content: dict[str, Any]) -> Policy | None:
        table = self._table(content, "policy")
        if not isinstance(content.get("policy"), dict):
            return None
        policy = Policy(**self._fields(("policy",), table, Policy))
        if policy.max_rate is not None and not policy.max_rate > 0:
            self._add(("policy", "max_rate"), f"policy: a rate of {policy.max_rate:g}", "iterations/s, above 0")
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
                self._add((*where, "regions", region), f"the weight of {region} is {weight:g}", "0 or more")
        if regions and not any(regions.values()):
            self._add((*where, "regions"), "regions: all weights are 0", "at least one has to be above 0")
        for host in env.allow:
            if not host or "/" in host or any(c.isspace() for c in host):
                self._add(
                    (*where, "allow"), f"allow: {host!r} is no host", 'a name or an address, as in "shop.example"'
                )
        for key in env.params:
            if not key.isidentifier():
                self._add((*where, "params", key), f"params: {key!r} is no name of a param", "as in param(name, ...)")
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
        return Environment(name, overrides, env.allow, places)

    def _fields(self, where: tuple[str, ...], table: dict[str, Any], of: type[msgspec.Struct]) -> dict[str, Any]:
        """The values of a table that are of their types."""
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
                self._add(place, message, _EXAMPLES.get(key, f"write {key} = true"))
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
        """At the line of a key; of a key in an inline table, the line of that."""
        line = next((self._lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in self._lines), 0)
        self.faults.append(Fault(str(self._path), line, message, hint))


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
}


def _param_text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _syntax(path: Path, error: tomllib.TOMLDecodeError) -> Fault:
    message = str(error)
    found = re.search(r" \(at line (\d+), column \d+\)$", message)
    line = int(found[1]) if found else 0
    return Fault(str(path), line, f"no TOML: {message[: found.start()] if found else message}", "see toml.io")


_KEY_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_KEY = re.compile(rf"\s*({_KEY_PART}(?:\s*\.\s*{_KEY_PART})*)\s*=")
_TABLE = re.compile(rf"\s*\[\s*({_KEY_PART}(?:\s*\.\s*{_KEY_PART})*)\s*\]")


def _key_lines(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Where each table and key is written. A guess where texts of several lines look like keys."""
    table: tuple[str, ...] = ()
    seen: set[tuple[str, ...]] = set()
    for number, line in enumerate(text.splitlines(), 1):
        header, key = _TABLE.match(line), _KEY.match(line)
        found: tuple[str, ...] = ()
        if header:
            found = table = _parts(header[1])
        elif key:
            found = (*table, *_parts(key[1]))
        for n in range(1, len(found) + 1):
            if found[:n] not in seen:
                seen.add(found[:n])
                yield found[:n], number


def _parts(key: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_KEY_PART, key))
