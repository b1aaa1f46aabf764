"""The fault matrix: every fault that the fleet has to stand, and what is expected of it.

A test shows one with `@pytest.mark.fault("F5", "for 5 s")`: the row, and which case of it. `make chaos` runs them all
and prints what was seen; a row without a test is said to have none. Rows with a G are no faults, but what is promised
of each run's beginning and end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["MATRIX", "Fault"]


@dataclass(frozen=True, slots=True)
class Fault:
    row: str
    what: str
    expected: str


MATRIX: Final = (
    Fault("F1", "agent killed", "lost at 10 s, share moved by 12 s; the gap is named, or nothing is missing"),
    Fault(
        "F2",
        "agent stands still",
        "5 s: nothing moved, late but merged; 30 s: share moved, no request before a new one",
    ),
    Fault("F3", "scenario blocks the agent's loop", "the watchdog ends the worker; the report names the line"),
    Fault("F4", "controller killed and restarted", "counts exact; agents stop by lease; load only by a new assignment"),
    Fault("F5", "controller stands still", "5 s: the load goes on; 20 s: agents stop by lease; nobody falsely lost"),
    Fault("F6", "controller killed between journal and ack", "replayed, duplicates dropped, a torn record cut"),
    Fault("F7", "partition", "the minority stops by lease; never more than 100 % of the load; counts exact"),
    Fault("F8", "one-way partition", "the lease is by acknowledged heartbeats: the agent stops either way"),
    Fault("F9", "latency and jitter, both ways", "nobody falsely lost; counts exact"),
    Fault("F10", "packet loss", "counts exact; nobody falsely lost at 10 %"),
    Fault("F11", "narrow bandwidth", "counts exact; heartbeats not starved"),
    Fault("F12", "connections cut", "counts exact; all back within 10 s"),
    Fault("F13", "half-open connection", "found within 6 s, another one made; counts exact"),
    Fault("F14", "two processes of one name", "same key: the newest counts; other key: refused; nothing counted twice"),
    Fault("F15", "unknown or revoked key, NULL, PLAIN", "refused before a byte is read; the others go on"),
    Fault("F16", "garbage and idle connections", "good agents are unaffected"),
    Fault("F17", "malformed, truncated, flipped messages", "counted, never an exception; good agents go on"),
    Fault(
        "F18",
        "a message without an end, of a keyed peer",
        "all connections dropped, the run goes on; again and again: it ends sealed",
    ),
    Fault("F19", "old deltas again, out of order, old epochs", "ignored and counted"),
    Fault("F20", "controller's disk full", "nothing is acknowledged that is not durable; no count is lost"),
    Fault("F21", "agent's disk full, spool damaged", "memory and coarser deltas; what is lost is reported"),
    Fault("F22", "wall clocks wrong, or stepped", "nothing changes but recorded wall times; starts in sync"),
    Fault("F23", "too little CPU", "seconds marked unfit; nobody falsely lost"),
    Fault("F24", "agent killed for want of memory", "as F1"),
    Fault("F25", "agents join and leave all the time", "late ones get work by assignment; totals exact"),
    Fault("F26", "planned leave (SIGTERM)", "share moved, Fin, the run complete"),
    Fault("F27", "bundle tampered with", "refused before any import, with the agents' names"),
    Fault("F28", "target outside of the allow-list", "blocked and counted; the run fails fast"),
    Fault("F29", "more load than allowed", "refused; an agent's bucket holds at 1.02 of its share"),
    Fault("F30", "kill, 1,000 agents, some frozen", "no load after 1 s (p99) on those that can be reached"),
    Fault("F31", "two controllers for one run", "the second is refused"),
    Fault("F32", "another version", "a minor is served, a major refused clearly"),
    Fault("F33", "soak of 1,000 agents under random faults", "exact; memory below 1 MB/min; file descriptors flat"),
    Fault(
        "F34",
        "a lease lapses for a moment; faults as long as each timer",
        "never complete with less than the plan; the agent says why its load ended",
    ),
    Fault("F35", "an agent finishes early, drives nothing, or drives twice", "agent, seconds and number are named"),
    Fault("F36", "legal but huge messages of a keyed agent", "refused, named and quarantined; 64 MiB; others exact"),
    Fault("F37", "planned leave and late join under a cap", "no arrival left out; caps change with shares"),
    Fault(
        "F38",
        "HTTP/2 floods, cookie bombs, control characters in texts",
        "the connection ends with an outcome; no control character on terminal, Markdown, CSV",
    ),
    Fault(
        "G9",
        "all agents start at once",
        "each within 20 ms of T0; who knows our clock badly, or is not ready, is named",
    ),
    Fault("G10", "a run ends", "within 5 s of its end or a stop, whoever stands still; by 60 s after it in any case"),
)
