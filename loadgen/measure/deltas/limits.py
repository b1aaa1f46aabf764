"""Limits on what one peer may send, each with its reason, and how a sound agent stays below them.

A controller holds what its agents report for as long as the run lasts. These limits bound
what one agent can make it hold or compute. `loadgen/wire/check_limits.py` enforces them on every
message that reaches a controller, `loadgen_controller/run/delta_admission.py` those that hold over a
whole run. A message beyond a limit is refused as a whole, and its sender is quarantined.

A sound agent never meets a limit. It cuts long texts (`cut`), and it merges series beyond
`SERIES_OF_AGENT` into `(other)` (`loadgen/measure/deltas/series_numbering.py`). Its counts stay exact.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "BYTES_IN_DELTA",
    "COUNT",
    "CUSTOM_IN_DELTA",
    "CUSTOM_OF_AGENT",
    "CUSTOM_OF_RUN",
    "CUSTOM_VALUE",
    "DUE_IN_DELTA",
    "ELEMENTS",
    "EVENTS_OF_KEPT_STREAM",
    "EXEMPLARS_IN_DELTA",
    "FAILURES_IN_DELTA",
    "FAULTS",
    "FAULT_BYTES",
    "FINDING_BYTES",
    "FIRST_ARRIVALS_IN_DELTA",
    "KEPT_EVENTS_IN_DELTA",
    "KEPT_STREAMS_IN_DELTA",
    "KEPT_STREAMS_OF_AGENT",
    "LOADS",
    "LOSSES_OF_AGENT",
    "MOST_VALUES",
    "NAME_BYTES",
    "NOTES",
    "NOTE_BYTES",
    "PAIRS_IN_DELTA",
    "POINTS_OF_WORKER",
    "RATE_PER_S",
    "SAME_VERSION",
    "SAMPLING_ROWS_IN_DELTA",
    "SERIES_OF_AGENT",
    "SERIES_OF_RUN",
    "SHARE",
    "SHARED_BYTES",
    "SHOWN_ROWS",
    "SUMMARY_LINES",
    "SUMMARY_OUTCOMES",
    "TAGGED_CUSTOM_OF_AGENT",
    "TAGGED_CUSTOM_OF_RUN",
    "TAGS_OF_SERIES",
    "TEXT_BYTES",
    "TOTAL",
    "WEIGHT",
    "WORKERS_OF_AGENT",
    "cut",
]

# -- texts, in bytes of UTF-8 ---------------------------------------------------------------------

NAME_BYTES: Final = 256
"""Longest name: agent, region, host, journey, step, request, outcome, tag, metric, rendez-vous. A terminal shows some
100 characters of it, and file systems and ZeroMQ identities end at 255.
"""
TEXT_BYTES: Final = 1_024
"""Longest text for an operator: note, reason, why something is unfit. Some ten lines of a terminal."""
FAULT_BYTES: Final = 4_096
"""Longest message or hint of one error in a scenario, which may quote the scenario."""
FINDING_BYTES: Final = 64 * 1024
"""Longest finding of a steered load, as JSON; a search for a limit needs some 5 KiB."""
NOTE_BYTES: Final = 1_024
"""Longest note of an iteration (`user.note`), as JSON: some ten fields."""
SHARED_BYTES: Final = 4 << 20
"""Largest value that a plan's set-up may return, as JSON. The controller sends it to all agents, and a message is at
most 1 MiB when compressed.
"""

# -- numbers of things ----------------------------------------------------------------------------

SERIES_OF_AGENT: Final = 20_000
"""Most series of one agent, one histogram each. A plan of 200 requests with all phases, in and after the warm-up, with
three outcomes, has 11,000. 20,000 series cost the controller about 30 MiB.
"""
SERIES_OF_RUN: Final = 50_000
"""Most series of a run, over all regions. Beyond it the controller itself merges new series into `(other)`."""
TAGS_OF_SERIES: Final = 20
"""Most tags of one series. A plan tags by load and by a few response headers."""
CUSTOM_OF_AGENT: Final = 1_000
"""Most names of custom metrics of one agent, over the whole run. A scenario declares at most 200; the rest is for names
of checks.
"""
CUSTOM_OF_RUN: Final = 2_000
"""Most names of custom metrics of all agents: one agent at its limit leaves room for the others. Beyond it the
controller merges new names into `(other)`.
"""
TAGGED_CUSTOM_OF_AGENT: Final = 4_000
"""Most tagged rows of counters, gauges and rates of one agent. A worker makes at most 2,000; further ones are counted
under `(other)` in place of the values of their tags.
"""
CUSTOM_IN_DELTA: Final = CUSTOM_OF_AGENT + 2 * TAGGED_CUSTOM_OF_AGENT
"""Most rows of custom metrics in one delta, which may contain the end of the warm-up and so each row twice."""
TAGGED_CUSTOM_OF_RUN: Final = 8_000
"""Most tagged rows of counters, gauges and rates of all agents. Beyond it the controller merges new ones into rows with
`(other)`.
"""
EXEMPLARS_IN_DELTA: Final = 500
FAILURES_IN_DELTA: Final = 50
SAMPLING_ROWS_IN_DELTA: Final = 64
"""Most thresholds of trace sampling in one delta; the rarest ones are added up."""
EVENTS_OF_KEPT_STREAM: Final = 20_000
"""Most events of one kept stream. Answers of models have some 100 to 4,000."""
KEPT_STREAMS_IN_DELTA: Final = 500
KEPT_EVENTS_IN_DELTA: Final = 80_000
"""Most events of all kept streams of one delta: some 500 KiB before compression, half of a message."""
KEPT_STREAMS_OF_AGENT: Final = 30_000
"""Most kept streams of one agent over the whole run; further ones are counted. Its workers stay below 20,000, and the
slowest ones of intervals are a few hundred more for each worker.
"""
DUE_IN_DELTA: Final = 20_000
"""Most rows of due counts in one delta. After 60 s without an answer, a plan of 50 objectives needs 3,000."""
LOADS: Final = 1_000
"""Most loads of one plan. The scenario language allows fewer."""
FIRST_ARRIVALS_IN_DELTA: Final = 20_000
"""Most reports of where a share change begins. A fleet that changes every second, with an hour of deltas joined, stays
below.
"""
LOSSES_OF_AGENT: Final = 1_000
"""Most workers of one agent that may die over the whole run; each costs a line of the journal."""
WORKERS_OF_AGENT: Final = 1_024
NOTES: Final = 100
"""Most notes, or most reasons for being unfit, in one interval of one worker or agent."""
POINTS_OF_WORKER: Final = 50
FAULTS: Final = 100
"""Most errors in a scenario that one refusal lists."""
PAIRS_IN_DELTA: Final = 500_000
"""Most buckets with a count in one delta. A second of 32,000 values has at most 32,000; 500,000 fill a message of 1
MiB.
"""
ELEMENTS: Final = 400_000
"""Most fields of all parts of one message. A field costs up to 100 bytes of memory once it is parsed. In the message a
field may take only 2 bytes, which compression may shrink 1,000 times. 20,000 new series with 4 tags each have 400,000.
"""

# -- limits of reports and views ------------------------------------------------------------------

SUMMARY_LINES: Final = 2_000
"""Most lines of `series` in a summary, of one region or of all, and of `tagged` and `loads`. Each takes 0.4 ms and 5
kB.
"""
SUMMARY_OUTCOMES: Final = 100
"""Most outcomes of one row in a summary; the most frequent are kept."""
SHOWN_ROWS: Final = 300
"""Most rows of a live view; each takes 0.2 ms of the controller's loop, once a second."""

# -- values ---------------------------------------------------------------------------------------

WEIGHT: Final = float(WORKERS_OF_AGENT)
"""Largest weight of an agent; the weight is its number of workers."""
RATE_PER_S: Final = 1e9
"""Largest rate that a steered load may ask for: far above what any fleet can drive."""
SHARE: Final = 1e6
"""Largest CPU seconds per second of a process: more than any machine has cores."""
CUSTOM_VALUE: Final = 1e300
"""Largest magnitude of a gauge: 10,000 agents' last values still add up to a finite number."""
TOTAL: Final = 1 << 52
"""Largest magnitude of a counter's sum in one delta: exact as a JSON number, and 2,000 such deltas add up within 64
bits.
"""
COUNT: Final = 1 << 40
"""Largest value of each counter of one delta: 8,000,000 such deltas add up within 64 bits."""
BYTES_IN_DELTA: Final = 1 << 50
"""Most bytes received in one delta: a day at 100 Gbit/s."""

MOST_VALUES: Final = (1 << 32) - 1
"""Most values in one delta, or in a sum of several: a bucket's count has 4 bytes."""

SAME_VERSION: Final = (
    "run the same version of loadgen on the controller and on all agents; "
    "if the versions are equal, report this as a bug"
)
"""The hint of each error about an invalid delta: an agent of the controller's version never sends one."""


def cut(text: str, most: int = NAME_BYTES) -> str:
    """Return the text shortened to at most `most` bytes of UTF-8, with a mark at its end such as " ... (5,120 bytes)".

    A text within the limit is returned unchanged, and so is one that was cut before. `most` must be at least 64.
    """
    if len(text) * 4 <= most:
        return text
    data = text.encode("utf-8", "replace")
    if len(data) <= most:
        return text
    mark = f" ... ({len(data):,} bytes)"
    return data[: most - len(mark)].decode("utf-8", "ignore") + mark
