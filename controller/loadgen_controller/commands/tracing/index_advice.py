"""Index advice of `loadgen trace --advise`: asks the databases of a run's probes what the planner would do.

The settings are those with which the run's probes were read, as the run folder has them; the password is the secret of
this name on this machine, now. The settings may come from another machine, so they are checked again, and a public host
must be named with `--i-may-load`. All is read-only: `EXPLAIN` without execution, with indexes that only hypopg
simulates.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from loadgen.dsl.secret import missing_secrets, secret_value
from loadgen.errors import UsageError
from loadgen.extras import missing_package
from loadgen.outside_text import one_line
from loadgen.probes.kinds import place_text, secrets_of
from loadgen.probes.postgres.advice import CANDIDATES_MOST, Advice
from loadgen.probes.postgres.advise import STATEMENTS_MOST, advise
from loadgen.probes.postgres.statements import StatementKey
from loadgen.probes.reader import NotRead, Tools
from loadgen.probes.running.http_fetch import new_loop
from loadgen.probes.settings import wrongs_of
from loadgen.probes.spec import ProbeSpec
from loadgen.report.run_as_dataframes import open_run
from loadgen.report.why_slow.database.parts import AdvicePart
from loadgen.units import quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.planning.probe_permission import check_probe

__all__ = ["NO_ADVICE", "Advisers", "Answer", "advisers_of"]

LIMIT_S: Final = 30.0
_TEXT_MOST: Final = 600


@dataclass(frozen=True, slots=True)
class Answer:
    """Advice by probe and query id. notes: sentences for the output. refused: why a server gave none, or ""."""

    parts: Mapping[tuple[str, str], AdvicePart] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    refused: str = ""


NO_ADVICE: Final = Answer()


@dataclass(frozen=True, slots=True)
class Advisers:
    """The probes of PostgreSQL that are asked, by name."""

    specs: Mapping[str, ProbeSpec]

    @property
    def plan(self) -> str:
        """Return what will be done, with its limits."""
        places = ", ".join(f"{name} ({place_text(spec)})" for name, spec in self.specs.items())
        return (
            f"index advice from {one_line(places, _TEXT_MOST)}: one read-only connection each, EXPLAIN without"
            f" execution; at most {quantity(STATEMENTS_MOST, 'statement')} with {CANDIDATES_MOST} simulated indexes"
            f" each, {LIMIT_S:g} s"
        )

    def ask(self, wanted: Mapping[str, Sequence[StatementKey]]) -> Answer:
        """Return the advice for statements, by probe. Without statements, nothing is contacted.

        Raises:
            UsageError: psycopg is not installed.
        """
        parts: dict[tuple[str, str], AdvicePart] = {}
        notes: list[str] = []
        refused = ""
        if not any(name in self.specs for name in wanted):
            return Answer({}, ("no index advice: no ranked path has a statement of a probed database",))
        for name, keys in wanted.items():
            spec = self.specs.get(name)
            if spec is None:
                notes.append(f"no index advice from probe {name}: the run's settings do not have it")
                continue
            try:
                found = _asked(spec, keys)
            except NotRead as error:
                refused = f"probe {name} gave no index advice: {error}"
                continue
            parts.update(((name, str(one.query_id)), _part(one)) for one in found)
        return Answer(parts, tuple(notes), refused)


def advisers_of(path: Path, named: Collection[str]) -> Advisers:
    """Return the databases that can give advice for a run.

    named: public hosts that the user names as allowed.

    Raises:
        UsageError: the run had no probe of PostgreSQL, its settings are invalid or not allowed, a secret is not set,
            or a package is not installed. All errors together.
    """
    given = (open_run(path).manifest.get("spec") or {}).get("probes", ())
    specs: dict[str, ProbeSpec] = {}
    errors = CollectedErrors()
    for one in given if isinstance(given, list) else ():
        try:
            spec = msgspec.convert(one, ProbeSpec)
        except msgspec.ValidationError:
            continue
        if spec.kind != "postgres":
            continue
        if wrong := [one_line(text, _TEXT_MOST) for text in wrongs_of(spec)]:
            errors.add(
                f"--advise: invalid settings of probe {one_line(spec.name, 80)} in the run folder: {wrong[0]}",
                "correct the probe in the scenario, and repeat the run",
            )
            continue
        specs[spec.name] = spec
        errors.catch(lambda spec=spec: check_probe(spec, named))  # type: ignore[misc]
    for fault in missing_secrets(dict.fromkeys(name for spec in specs.values() for name in secrets_of(spec))):
        errors.add(f"--advise: {fault.message}", fault.hint)
    errors.check()
    if not specs:
        raise UsageError(
            f"--advise: run {path.name} had no probe of PostgreSQL",
            hint='add [probes.NAME] with kind = "postgres" to loadgen.toml, and repeat the run; see docs/databases.md',
        )
    for package in ("psycopg", "sqlglot"):
        if find_spec(package) is None:
            raise missing_package("--advise", package, "probes")
    return Advisers(specs)


def _asked(spec: ProbeSpec, keys: Sequence[StatementKey]) -> tuple[Advice, ...]:
    loop = new_loop()
    try:
        return loop.run_until_complete(advise(spec, Tools(time.perf_counter_ns, secret_value), keys, LIMIT_S))
    finally:
        loop.close()


def _part(one: Advice) -> AdvicePart:
    text = one_line(one.text, _TEXT_MOST)
    best = one.proposed
    if best is None:
        return AdvicePart(text=text, cost=one.cost or None)
    return AdvicePart(
        text=text,
        index=best.candidate.text,
        columns=tuple(one_line(name, 200) for name in best.candidate.columns),
        cost=one.cost,
        cost_with=best.cost,
        rows=one.rows,
        size_bytes=best.size,
        writers=one.writers,
    )
