"""Summaries of a run's notes about a PostgreSQL server: statements, lock chains, and active sessions. Pure.

The notes are those of `reader`, as the journal has them. Notes of another form, such as those of a newer version, are
left out, so a damaged note never hides the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from loadgen.probes.postgres.sessions import Agreement, agreement
from loadgen.probes.postgres.statements import REST, AddedTime, Counters, Increase, StatementKey, added_time, of_body
from loadgen.units import NS_PER_S

__all__ = [
    "ActiveSessions",
    "ChainLine",
    "NoteLike",
    "StatementLine",
    "StatementsSummary",
    "active_sessions",
    "chain_lines",
    "statements_summary",
    "waiting_pairs",
]

_STATEMENTS_MOST: Final = 3
"""The most statements that a chain lists for each side."""
_DEPTH_MOST: Final = 250


class NoteLike(Protocol):
    """A note of a probe: `Note` of a reader, or `NoteRecord` of the journal."""

    @property
    def at_ns(self) -> int:
        """Return the time by the probe's clock."""

    @property
    def kind(self) -> str:
        """Return the kind, such as "locks"."""

    @property
    def body(self) -> Mapping[str, Any]:
        """Return the JSON."""


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One statement with what the load has added to it."""

    key: StatementKey
    during: Counters
    added: Counters
    share: float
    """The part of the added execution time of all statements."""
    text: str = ""
    """Without values; "" if it was not read, because the statement is not among the worst."""
    fingerprint: str = ""
    user: str = ""
    database: str = ""
    findings: tuple[str, ...] = ()
    """The plan in words."""
    plan: Mapping[str, Any] = field(default_factory=dict)
    is_search: bool = False
    """Whether the plan is that of the search of an UPDATE or DELETE: the probe may not write."""
    why_no_plan: str = ""

    @property
    def mean_ms(self) -> float:
        """Return the mean execution time of a call during the load; 0 without a call."""
        return self.during.exec_ms / self.during.calls if self.during.calls else 0.0


@dataclass(frozen=True, slots=True)
class StatementsSummary:
    """The statements of a run, those with the most added time first. The probe's own ones are not among them."""

    lines: tuple[StatementLine, ...]
    times: AddedTime
    """The sums with gaps and forgotten statements, including the probe's own statements."""
    own_ms: float
    """The execution time of the probe's own statements during the load."""
    rest: StatementLine | None = None
    """The statements that were stored as one sum."""


@dataclass(slots=True)
class ChainLine:
    """Lock chains of a run with the same root application, waiting application and table."""

    root: str
    """The application of the session that holds up the others."""
    waiter: str
    relation: str
    """The table, if it is known."""
    waited: int = 0
    """Waiting sessions, summed over all samples. With one sample a second, about the seconds that sessions waited."""
    samples: int = 0
    """Samples with such a chain."""
    most: int = 0
    """The most waiting sessions in one sample."""
    longest_s: float = 0.0
    """The longest wait that was seen; its real end may be later."""
    first_ns: int = 0
    last_ns: int = 0
    root_states: Counter[str] = field(default_factory=Counter)
    root_holds: Counter[str] = field(default_factory=Counter)
    """Tables on which the roots hold locks, with the mode."""
    root_statements: Counter[str] = field(default_factory=Counter)
    """Statements of the roots since their transactions began, without values; some may be missing."""
    waiter_statements: Counter[str] = field(default_factory=Counter)
    query_ids: Counter[str] = field(default_factory=Counter)
    """The ids of the waiting statements."""

    @property
    def root_state(self) -> str:
        """Return the most frequent state of the root, such as "idle in transaction"."""
        return max(self.root_states, key=lambda state: self.root_states[state], default="")

    @property
    def text(self) -> str:
        """Return the chain as one sentence."""
        table = f" of {self.relation}" if self.relation else ""
        state = f", which is {self.root_state}" if self.root_state else ""
        return f"{self.waiter or 'a session'} is held up by {self.root or 'a session'}{state}: locks{table}"


@dataclass(frozen=True, slots=True)
class ActiveSessions:
    """The mean number of active sessions, by wait event."""

    samples: int
    by_wait: Mapping[str, float]
    """"" has the sessions that do not wait: they are on a CPU, or ready to run."""
    agreement: Agreement | None
    """The comparison with the execution time of statements; None without enough samples."""


def statements_summary(notes: Iterable[NoteLike], t0_ns: int, end_ns: int) -> StatementsSummary:
    """Return the statements with what the load between T0 and its end has added."""
    increases: list[Increase] = []
    texts: dict[tuple[int, int, int], Mapping[str, Any]] = {}
    plans: dict[tuple[int, int, int], Mapping[str, Any]] = {}
    own: set[int] = set()
    for note in notes:
        try:
            if note.kind == "statements" and "rows" in note.body:
                increases.append(of_body(note.body))
            elif note.kind == "statements":
                own |= {int(one) for one in note.body.get("own", ())}
                texts |= {_key(one): one for one in note.body.get("texts", ())}
            elif note.kind == "plan":
                plans[_key(note.body)] = note.body
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    times = added_time(increases, t0_ns, end_ns)
    foreign = [row for row in times.rows if row.key.query not in own]
    total = sum(row.added.exec_ms for row in foreign)
    lines = []
    for row in foreign:
        key = (row.key.user, row.key.database, row.key.query)
        text, plan = texts.get(key, {}), plans.get(key, {})
        lines.append(
            StatementLine(
                row.key,
                row.during,
                row.added,
                row.added.exec_ms / total if total > 0 else 0.0,
                str(text.get("text", "")),
                str(text.get("fingerprint", "")),
                str(text.get("user", "")),
                str(text.get("database", "")),
                tuple(_finding_texts(plan)),
                plan.get("plan", {}) if isinstance(plan.get("plan"), Mapping) else {},
                plan.get("is_search") is True,
                str(plan.get("why", "")),
            )
        )
    return StatementsSummary(
        tuple(line for line in lines if line.key != REST),
        times,
        sum(row.during.exec_ms for row in times.rows if row.key.query in own),
        next((line for line in lines if line.key == REST), None),
    )


def chain_lines(notes: Iterable[NoteLike], from_ns: int, to_ns: int) -> tuple[ChainLine, ...]:
    """Return the lock chains between two times, those with the most waiting first."""
    found: dict[tuple[str, str, str], ChainLine] = {}
    for note in notes:
        if note.kind != "locks" or not from_ns <= note.at_ns <= to_ns:
            continue
        in_sample: Counter[tuple[str, str, str]] = Counter()
        for root, waiter in waiting_pairs(note.body):
            key = (_text(root, "application"), _text(waiter, "application"), _text(waiter, "relation"))
            line = found.setdefault(key, ChainLine(*key, first_ns=note.at_ns))
            in_sample[key] += 1
            waits_s = waiter.get("waits_s", 0.0)
            line.longest_s = max(line.longest_s, float(waits_s) if isinstance(waits_s, int | float) else 0.0)
            line.waiter_statements[_text(waiter, "statement")] += 1
            line.query_ids[_text(waiter, "query_id")] += 1
            line.last_ns = note.at_ns
            if in_sample[key] == 1:
                line.samples += 1
                line.root_states[_text(root, "state")] += 1
                line.root_holds.update(_texts(root, "holds"))
                line.root_statements.update((*_texts(root, "earlier"), _text(root, "statement")))
        for key, n in in_sample.items():
            found[key].waited += n
            found[key].most = max(found[key].most, n)
    for line in found.values():
        for counted in (line.root_holds, line.root_statements, line.waiter_statements, line.query_ids):
            for text in [text for text, _ in counted.most_common()[_STATEMENTS_MOST:]] + [""]:
                counted.pop(text, None)
    return tuple(sorted(found.values(), key=lambda line: (-line.waited, line.root, line.waiter, line.relation)))


def active_sessions(
    notes: Iterable[NoteLike], samples_ns: Sequence[int], exec_ms: float, from_ns: int, to_ns: int
) -> ActiveSessions:
    """Return the mean number of active sessions between two times.

    samples_ns: the times of all samples in their order. A sample without a session has no note, and counts as 0 active
        sessions. A time is the middle between request and answer, as in the notes.
    exec_ms: the execution time of all statements between the two times.
    """
    active = {one: 0 for one in samples_ns if from_ns <= one <= to_ns}
    by_wait: Counter[str] = Counter()
    for note in notes:
        if note.kind != "sessions" or note.at_ns not in active:
            continue
        groups = note.body.get("groups", ())
        for state, wait, _, _, count in groups if isinstance(groups, list) else ():
            if state == "active":
                by_wait[str(wait)] += int(count)
                active[note.at_ns] += int(count)
    n = len(active)
    compared = agreement(list(active.values()), exec_ms, (to_ns - from_ns) / NS_PER_S)
    return ActiveSessions(n, {wait: count / n for wait, count in by_wait.most_common()} if n else {}, compared)


def _key(body: Mapping[str, Any]) -> tuple[int, int, int]:
    return int(body["user_id"]), int(body["database_id"]), int(body["query_id"])


def _finding_texts(plan: Mapping[str, Any]) -> Iterator[str]:
    findings = plan.get("findings", ())
    for one in findings if isinstance(findings, list) else ():
        if isinstance(one, Mapping):
            yield str(one.get("text", ""))


def waiting_pairs(body: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield (root, waiting session) for each session in the trees of a note."""
    trees = body.get("trees", ())
    for root in trees if isinstance(trees, list) else ():
        todo = [(one, 1) for one in _waiters(root)]
        while todo:
            one, depth = todo.pop()
            yield root, one
            if depth < _DEPTH_MOST:
                todo += [(next_one, depth + 1) for next_one in _waiters(one)]


def _waiters(node: Any) -> list[Mapping[str, Any]]:
    waiters = node.get("waiters", ()) if isinstance(node, Mapping) else ()
    return [one for one in waiters if isinstance(one, Mapping)] if isinstance(waiters, list) else []


def _text(node: Mapping[str, Any], key: str) -> str:
    return str(node.get(key, ""))


def _texts(node: Mapping[str, Any], key: str) -> list[str]:
    values = node.get(key, ())
    return [str(one) for one in values] if isinstance(values, list) else []
