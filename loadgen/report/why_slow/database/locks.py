"""Lock chains whose waiters execute the statement of a ranked path, in the time of its slow requests. Pure.

The probe samples locks at most once a second, and only while a session waits. Each sample has the waiting time of every
session. So a wait is an interval that ends at the sample, within the error of the sample's time. A wait counts if a
slow request with this path was open during a part of the interval. That request need not be the one that waited,
because traces are a sample. Only a request that was open during the whole interval can be the one, so waits with such a
request are also counted separately. A wait in several samples is counted once, with the last of them. Most waits that
end between two samples are not seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from loadgen.outside_text import one_line
from loadgen.probes.postgres.fingerprint import fingerprint
from loadgen.probes.postgres.summary import NoteLike, waiting_pairs
from loadgen.report.why_slow.database.parts import LockPart
from loadgen.report.why_slow.database.slow_times import SlowTimes
from loadgen.report.why_slow.database.span_statements import DatabaseCall
from loadgen.report.why_slow.database.statements import POSTGRES, Matched, ServerNotes, error_ns_of, same_beginning
from loadgen.traces.model import Path
from loadgen.units import NS_PER_MS, NS_PER_S

__all__ = ["locks_of"]

_CUT: Final = 290
"""The probe cuts statements in chains at 300 characters."""
_TEXT_MOST: Final = 300
_NAME_MOST: Final = 80
_LISTED: Final = 3
_SAME_WAIT_S: Final = 0.2
"""Two looks at a session show the same wait if its beginning differs by less."""


@dataclass(slots=True)
class _Chain:
    """Waits with the same root application, waiting application and table."""

    hows: Counter[str] = field(default_factory=Counter)
    looks: set[int] = field(default_factory=set)
    waits: dict[tuple[int, int], float] = field(default_factory=dict)
    """The longest known wait, s, by pid and beginning."""
    requests: set[int] = field(default_factory=set)
    around: set[int] = field(default_factory=set)
    states: Counter[str] = field(default_factory=Counter)
    last: Counter[str] = field(default_factory=Counter)
    earlier: Counter[str] = field(default_factory=Counter)
    holds: Counter[str] = field(default_factory=Counter)
    statements: Counter[str] = field(default_factory=Counter)
    error_ns: int = 0


def locks_of(
    path: Path, calls: Sequence[DatabaseCall], matched: Matched | None, server: ServerNotes, slow: SlowTimes
) -> tuple[LockPart, ...]:
    """Return the chains that held up the statement of a path, those with the most waits first.

    slow: the slow requests with this path.
    """
    is_ours = _Recognised(calls, matched)
    found: dict[tuple[str, str, str], _Chain] = {}
    for note in server.notes:
        if note.kind != "locks" or not server.t0_ns <= note.at_ns <= server.end_ns + NS_PER_S:
            continue
        for root, waiter in waiting_pairs(note.body):
            if how := is_ours(waiter):
                _add(found, note, root, waiter, how, server.t0_ns, slow)
    parts = [_part(server.name, path, key, chain, slow.error_s) for key, chain in found.items()]
    return tuple(sorted(parts, key=lambda one: (-one.waits, one.root, one.waiter, one.relation)))


class _Recognised:
    """Returns how a waiting session's statement was recognised as that of a path; "" if it is another one."""

    def __init__(self, calls: Sequence[DatabaseCall], matched: Matched | None) -> None:
        self._ids = {str(key.query) for key in matched.keys} if matched is not None else set()
        # By its summary, only verb and tables of the statement are known.
        self._by_id = "summary" if matched is not None and matched.part.how == "summary" else "query id"
        known = matched.texts if matched is not None and self._by_id == "query id" else ()
        self._texts = {*(one.text for one in calls if one.text and one.system in POSTGRES), *known}
        self._fingerprints = {fingerprint(text).id for text in self._texts}
        self._seen: dict[str, str] = {}

    def __call__(self, waiter: Mapping[str, Any]) -> str:
        if str(waiter.get("query_id", "")) in self._ids:
            return self._by_id
        text = str(waiter.get("statement", ""))
        if text not in self._seen:
            self._seen[text] = self._by_text(text)
        return self._seen[text]

    def _by_text(self, text: str) -> str:
        if not text:
            return ""
        if fingerprint(text).id in self._fingerprints:
            return "fingerprint"
        is_cut = len(text) >= _CUT and any(same_beginning(text, one) for one in self._texts)
        return "beginning" if is_cut else ""


def _add(
    found: dict[tuple[str, str, str], _Chain],
    note: NoteLike,
    root: Mapping[str, Any],
    waiter: Mapping[str, Any],
    how: str,
    t0_ns: int,
    slow: SlowTimes,
) -> None:
    waits = waiter.get("waits_s")
    waited_s = float(waits) if isinstance(waits, int | float) and 0 <= waits < 1e9 else 0.0
    at_s, error_ns = (note.at_ns - t0_ns) / NS_PER_S, error_ns_of(note)
    wait = at_s - waited_s, at_s, error_ns / NS_PER_S
    open_then = slow.during(*wait)
    if not open_then:
        return
    key = (_text(root, "application"), _text(waiter, "application"), _text(waiter, "relation"))
    chain = found.setdefault(key, _Chain())
    chain.hows[how] += 1
    chain.error_ns = max(chain.error_ns, error_ns)
    chain.requests.update(open_then)
    chain.around.update(slow.around(*wait))
    _count_wait(chain, waiter, at_s, waited_s)
    chain.statements[_text(waiter, "statement", _TEXT_MOST)] += 1
    if note.at_ns not in chain.looks:
        chain.looks.add(note.at_ns)
        chain.states[_text(root, "state")] += 1
        chain.last[_text(root, "statement", _TEXT_MOST)] += 1
        chain.earlier.update(_texts(root, "earlier"))
        chain.holds.update(_texts(root, "holds"))


def _count_wait(chain: _Chain, waiter: Mapping[str, Any], at_s: float, waited_s: float) -> None:
    pid = waiter.get("pid")
    number = pid if isinstance(pid, int) else -1
    begin = round((at_s - waited_s) / _SAME_WAIT_S)
    # Two looks may round the same beginning to neighbours.
    key = next((one for one in ((number, begin + k) for k in (0, -1, 1)) if one in chain.waits), (number, begin))
    if number < 0:
        key = (-1 - len(chain.waits), begin)  # sessions without a pid cannot be recognised again
    chain.waits[key] = max(waited_s, chain.waits.get(key, 0.0))


def _part(probe: str, path: Path, key: tuple[str, str, str], chain: _Chain, error_s: float) -> LockPart:
    root, waiter, relation = key
    waits = [waited_s * 1e3 for waited_s in chain.waits.values()]
    last = _most(chain.last)
    earlier = [text for text, _ in chain.earlier.most_common() if text and text != last]
    return LockPart(
        probe=probe,
        path=path,
        root=root,
        waiter=waiter,
        relation=relation,
        root_state=_most(chain.states),
        root_statement=last,
        root_earlier=tuple(earlier[:_LISTED]),
        root_holds=tuple(text for text, _ in chain.holds.most_common(_LISTED)),
        statement=_most(chain.statements),
        how=_most(chain.hows),
        looks=len(chain.looks),
        waits=len(waits),
        median_wait_ms=median(waits),
        longest_wait_ms=max(waits),
        requests=len(chain.requests),
        around=len(chain.around),
        error_ms=chain.error_ns / NS_PER_MS + error_s * 1e3,
    )


def _most(counted: Counter[str]) -> str:
    return max(counted, key=lambda text: (counted[text], text), default="")


def _text(node: Mapping[str, Any], key: str, most: int = _NAME_MOST) -> str:
    return one_line(str(node.get(key, "")), most)


def _texts(node: Mapping[str, Any], key: str) -> Iterator[str]:
    values = node.get(key, ())
    yield from (one_line(str(one), _TEXT_MOST) for one in (values if isinstance(values, list) else ()))
