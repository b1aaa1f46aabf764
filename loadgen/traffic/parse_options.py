"""The options that decide how lines become rows. Processes that parse logs get them as a message."""

from __future__ import annotations

from dataclasses import dataclass, field

from loadgen.traffic.formats.log_format import FormatOptions
from loadgen.traffic.period import ALL_TIMES, Period

__all__ = ["ParseOptions"]


@dataclass(frozen=True)
class ParseOptions:
    """How lines become rows. The defaults suit most logs."""

    format: str = ""
    """Name of the format of all inputs. Empty: the first 1,000 lines of each input decide."""
    formats: FormatOptions = field(default_factory=FormatOptions)
    by_user: bool = False
    """Whether the user field of the log, if it has a value, identifies the user, instead of address and user agent."""
    queries: bool = False
    """Whether paths keep their queries, for a replay."""
    period: Period = ALL_TIMES
    """Requests that start at other times are excluded."""
