"""The options for reading logs."""

from __future__ import annotations

from dataclasses import dataclass, field

from loadgen.traffic.filters.exclusions import ExclusionRules
from loadgen.traffic.formats.log_format import FormatOptions
from loadgen.traffic.names.naming import NameRules
from loadgen.traffic.reading.partitions import MEMORY_BYTES
from loadgen.traffic.rows.period import ALL_TIMES, Period

__all__ = ["LogOptions", "ModelRules"]


@dataclass(frozen=True)
class ModelRules:
    """How a model is made.

    classes: the most kinds of sessions. has_actions: whether requests that follow a page by themselves belong to it.
    has_splits: whether a state is split where its successors depend on the state before it.
    """

    classes: int = 6
    has_actions: bool = True
    has_splits: bool = True


@dataclass(frozen=True)
class LogOptions:
    """Options for reading logs. The defaults suit most logs."""

    format: str = ""
    """Name of the format of all files. Empty: each file's first 1,000 lines decide."""
    formats: FormatOptions = field(default_factory=FormatOptions)
    by_user: bool = False
    """Whether the user field of the log, if it has a value, identifies the user, instead of address and user agent."""
    timeout_s: float = 1_800.0
    """A longer silence of a user ends a session."""
    names: NameRules = field(default_factory=NameRules)
    exclusions: ExclusionRules = field(default_factory=ExclusionRules)
    most_rejected: float = 0.01
    """The largest share of rejected lines that is accepted."""
    model: ModelRules | None = None
    """With rules, a third pass over the rows counts the parts of a scenario."""
    queries: bool = False
    """Whether the table of paths keeps their queries, for a replay."""
    period: Period = ALL_TIMES
    """Requests that start at other times are excluded."""
    jobs: int = 1
    """The most processes that parse logs."""
    memory_bytes: int = MEMORY_BYTES
    """The most bytes of packed rows that are kept in memory; above it, rows go to a temporary file."""
