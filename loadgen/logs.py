"""Logging to stderr: each record is one line, with a traceback indented below it.

Records quote agents, targets and scenarios, so they pass through `loadgen.outside_text`.
"""

from __future__ import annotations

import logging

from loadgen.outside_text import block, one_line

__all__ = ["LineFormatter", "log_to_stderr", "tame_last_resort"]


class LineFormatter(logging.Formatter):
    """Formats a record so that no text in it can begin a new line or control a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        first, *others = super().format(record).split("\n")
        return "\n".join((first, *(f"  {line}" for line in block("\n".join(others)))) if others else (first,))


def log_to_stderr(level: int, text: str, datefmt: str | None = None) -> None:
    """Configure logging of this program to stderr. level: the lowest level shown. text, datefmt: the formats of a line
    and of its time, as in `logging.Formatter`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(text, datefmt))
    logging.basicConfig(level=level, handlers=[handler])


def tame_last_resort() -> None:
    """Set the format of warnings for programs that do not configure logging. Python prints these warnings on stderr."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LineFormatter())
