"""Judges how far each journey is covered, and weighs journeys by requests and by value. Pure.

A journey has six pieces: an owner, a scenario, an objective in test (judged in a run of the last 28 days), a promise in
production (with counts in the last 7 days), a verdict of the gate within 7 days, and a capacity within 90 days.
*Covered* has all of them. *Not* has none of the last five. Everything else is *partly*.

A piece that cannot be read, or is unknown, is missing. So taking a piece away never makes a state better.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, get_args

from loadgen.programme.board.facts import JourneyTable, Known, SeenCapacity, SeenPromise, SeenRun, SeenVerdict

__all__ = [
    "PIECES",
    "STALE_DAYS",
    "BoardRow",
    "Gap",
    "Limits",
    "Piece",
    "State",
    "Weights",
    "is_present",
    "is_stale",
    "key_of_owner",
    "owners_in",
    "rows_at",
    "weights_of",
]

Piece = Literal["owner", "scenario", "objective in test", "objective in production", "gate", "capacity"]
PIECES: Final[tuple[Piece, ...]] = get_args(Piece)
State = Literal["covered", "partly", "not"]
STALE_DAYS: Final = 7
"""A promise whose source had no counts for longer than this is an orphan."""
_TEST_DAYS: Final = 28
"""A window, and not the newest run: otherwise a run without objectives would hide those of the run before it."""
_DECIDED: Final = ("PASS", "FAIL")


@dataclass(frozen=True, slots=True)
class Limits:
    """How old a verdict of the gate and a capacity may be, days."""

    gate_days: int = 7
    capacity_days: int = 90


@dataclass(frozen=True, slots=True)
class Gap:
    """A piece that a journey lacks, with the reason. is_unknown: something is there that cannot be judged."""

    piece: Piece
    says: str
    is_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Weights:
    """Shares of journeys, of the requests and of the value. Journeys without a share are in `no_requests`, `no_value`.

    source: where the requests are from. requests: of each journey. The shares of each mapping sum to 1, or it is empty.
    why_no_value: why there are no shares of value; "" if there are.
    """

    source: str
    requests: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    no_requests: tuple[str, ...] = ()
    no_value: tuple[str, ...] = ()
    why_no_value: str = ""
    currency: str = ""


@dataclass(frozen=True, slots=True)
class BoardRow:
    """A journey at a time. share, value_share: of all counted requests, and of their value; None: unknown.

    tested: the verdicts of its objectives in its newest run. promises: those of this journey with counts.
    valid_runs: those that count of the last 7 days.
    """

    journey: str
    state: State
    missing: tuple[Gap, ...]
    team: str = ""
    product: str = ""
    owner: str = ""
    scenario: str = ""
    share: float | None = None
    value_share: float | None = None
    requests: int | None = None
    last_run: SeenRun | None = None
    last_gate: SeenVerdict | None = None
    tested: tuple[str, ...] = ()
    promises: tuple[SeenPromise, ...] = ()
    capacity: SeenCapacity | None = None
    valid_runs: int = 0
    is_live: bool = True

    def lacks(self, piece: Piece) -> Gap | None:
        """Return why a piece is missing; None if the journey has it."""
        return next((one for one in self.missing if one.piece == piece), None)


def key_of_owner(text: str) -> str:
    """Return an owner without an at sign before it, in lower case, as owners are compared."""
    return text.strip().removeprefix("@").casefold()


def owners_in(text: str) -> tuple[str, ...]:
    """Return the single owners of a text such as "maria, payments@shop.example"."""
    return tuple(one.strip() for one in text.split(",") if one.strip())


def weights_of(known: Known, names: Sequence[str]) -> Weights:
    """Return the shares of journeys. Several promises of a journey count the same requests, so the largest count is
    taken. If the ledger counts none of the journeys, the requests of a traffic.json are taken.
    """
    counted: dict[str, int] = {}
    for promise in known.promises:
        if promise.requests is not None and promise.journey in names:
            counted[promise.journey] = max(counted.get(promise.journey, 0), promise.requests)
    source = "of the last 28 days"
    if not any(counted.values()) and any(known.log_requests.get(name) for name in names):
        counted, source = {name: known.log_requests[name] for name in names if name in known.log_requests}, "of the log"
    shares = _shares(counted)
    values, why = _values(counted, {name: known.journeys.get(name, JourneyTable()) for name in names})
    currencies = {known.journeys[name].currency for name in values}
    return Weights(
        source,
        counted,
        shares,
        values,
        tuple(name for name in names if name not in shares),
        tuple(name for name in names if name not in values),
        why,
        next(iter(currencies), ""),
    )


def _shares(amounts: Mapping[str, float]) -> dict[str, float]:
    total = sum(amounts.values())
    return {name: amount / total for name, amount in amounts.items()} if total > 0 else {}


def _values(counted: Mapping[str, int], tables: Mapping[str, JourneyTable]) -> tuple[dict[str, float], str]:
    priced = {name: table.value for name, table in tables.items() if table.value is not None}
    if not priced:
        return {}, "no journey has a value in programme.toml"
    currencies = {tables[name].currency for name in priced}
    if len(currencies) > 1:
        return {}, f"values have several currencies: {', '.join(sorted(one or 'none' for one in currencies))}"
    shares = _shares({name: counted[name] * value for name, value in priced.items() if name in counted})
    return shares, "" if shares else "no journey with a value has counted requests"


def rows_at(known: Known, when: datetime, limits: Limits, weights: Weights, names: Iterable[str]) -> list[BoardRow]:
    """Return the row of each journey at a time. Runs, verdicts, capacities and counts after it are ignored.

    weights: of the present, so that changes of the weighted state come from coverage and not from traffic.
    """
    runs = sorted((run for run in known.runs if run.counts_at(when)), key=lambda run: (run.at, run.run_id))
    return [_row(name, known, runs, when, limits, weights) for name in names]


def _row(
    name: str, known: Known, all_runs: Sequence[SeenRun], when: datetime, limits: Limits, weights: Weights
) -> BoardRow:
    table = known.journeys.get(name, JourneyTable())
    runs = [run for run in all_runs if name in run.journeys]
    promises = tuple(one for one in known.promises if one.journey == name)
    verdicts = [one for one in known.verdicts if name in one.journeys and one.at <= when]
    capacities = [one for one in known.capacities if name in one.journeys and one.at <= when]
    verdict = max(verdicts, key=lambda one: one.at, default=None)
    decided = max((one for one in verdicts if one.outcome in _DECIDED), key=lambda one: one.at, default=None)
    capacity = max(capacities, key=lambda one: (one.low is not None, one.at), default=None)
    owners = tuple(dict.fromkeys(one for one in (table.owner, *(promise.owner for promise in promises)) if one))
    newest = runs[-1] if runs else None
    recent = [run for run in runs if run.at > when - timedelta(days=_TEST_DAYS)]
    tested = next((judged for run in reversed(recent) if (judged := run.verdicts(name))), ())
    gaps = (
        _owner_gap(owners, known.present_owners),
        None if runs or table.has_scenario else Gap("scenario", _no_scenario(table)),
        None if tested else _test_gap(name, recent),
        _production_gap(promises, when) if table.is_live else None,
        _gate_gap(verdict, decided, when, limits),
        _capacity_gap(capacity, when, limits),
    )
    missing = tuple(gap for gap in gaps if gap is not None)
    return BoardRow(
        name,
        _state(missing, is_live=table.is_live),
        missing,
        table.team or next((one.team for one in promises if one.team), ""),
        table.product,
        _owner_of(owners, known.present_owners),
        table.scenario or (newest.file if newest is not None else ""),
        weights.shares.get(name),
        weights.values.get(name),
        weights.requests.get(name),
        newest,
        decided or verdict,
        tested,
        promises,
        capacity,
        sum(run.is_valid and run.at > when - timedelta(days=7) for run in runs),
        table.is_live,
    )


def _state(missing: Sequence[Gap], *, is_live: bool) -> State:
    if not missing:
        return "covered"
    lacks = {gap.piece for gap in missing} | (set() if is_live else {"objective in production"})
    return "not" if lacks >= set(PIECES) - {"owner"} else "partly"


def is_present(owner: str, present: frozenset[str] | None) -> bool:
    """Return whether one of the owners in a text is in the list of owners; True without a list."""
    return present is None or any(key_of_owner(one) in present for one in owners_in(owner))


def _owner_of(owners: Sequence[str], present: frozenset[str] | None) -> str:
    """Return the first owner who is still there, or else the first one; "" if there is none."""
    return next((one for one in owners if is_present(one, present)), owners[0] if owners else "")


def _owner_gap(owners: Sequence[str], present: frozenset[str] | None) -> Gap | None:
    if not owners:
        return Gap("owner", "nobody owns it")
    if any(is_present(one, present) for one in owners):
        return None
    return Gap("owner", f"its owner {owners[0]} is not in the list of owners")


def _no_scenario(table: JourneyTable) -> str:
    if table.scenario:
        return f"its scenario {table.scenario} does not exist, and no accepted run has it"
    return "no scenario: no accepted run has it"


def _test_gap(name: str, recent: Sequence[SeenRun]) -> Gap:
    unknown = next((run for run in recent if run.verdicts(name) is None), None)
    if unknown is not None:
        return Gap("objective in test", f"an older version stored {unknown.run_id} without its objectives", True)
    if not recent:
        return Gap("objective in test", f"no accepted run in {_TEST_DAYS} days, so no objective was tested")
    return Gap("objective in test", f"no objective in test: {recent[-1].run_id} judged none")


def _production_gap(promises: Sequence[SeenPromise], when: datetime) -> Gap | None:
    if not promises:
        return Gap("objective in production", "no promise in production")
    judged = [one for one in promises if one.word != "not judged"]
    if not judged:
        return Gap("objective in production", f"{promises[0].slo} is not judged: {promises[0].why}")
    if all(is_stale(one, when) for one in judged):
        return Gap("objective in production", f"{judged[0].slo} has had no counts for {STALE_DAYS} days")
    return None


def is_stale(promise: SeenPromise, when: datetime) -> bool:
    """Return whether the source of a promise had no counts in the last `STALE_DAYS` days."""
    last = promise.last_data(when)
    return last is None or last < when.timestamp() - STALE_DAYS * 86_400


def _gate_gap(verdict: SeenVerdict | None, decided: SeenVerdict | None, when: datetime, limits: Limits) -> Gap | None:
    if verdict is None:
        return Gap("gate", "no verdict of the gate")
    if decided is None:
        return Gap("gate", f"the gate never decided: {verdict.id} is {verdict.outcome or 'unknown'}")
    if when - decided.at > timedelta(days=limits.gate_days):
        return Gap("gate", f"the last PASS or FAIL of the gate is {_days(when - decided.at)} old")
    return None


def _capacity_gap(capacity: SeenCapacity | None, when: datetime, limits: Limits) -> Gap | None:
    if capacity is None:
        return Gap("capacity", "no capacity was measured")
    if capacity.low is None:
        return Gap("capacity", f"{capacity.id} found no capacity")
    if when - capacity.at > timedelta(days=limits.capacity_days):
        return Gap("capacity", f"its capacity is {_days(when - capacity.at)} old")
    return None


def _days(age: timedelta) -> str:
    return f"{age.days} days" if age.days != 1 else "1 day"
