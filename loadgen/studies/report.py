"""Turns a study into a report for the terminal."""

from __future__ import annotations

from typing import Final

from loadgen.report.report_parts import Report
from loadgen.studies.study import Study

__all__ = ["as_report"]

_SHOWN: Final = {"decided": "passed", "not decided": "inconclusive", "failed": "failed", "invalid": "invalid"}


def as_report(study: Study) -> Report:
    """Return the printed form of a study: its headline, sentences and tables, without its drawings."""
    return Report(study.headline, _SHOWN[study.result], study.lines, study.tables, study.foot)
