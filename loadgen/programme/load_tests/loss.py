"""What an exported file loses of the condition that leaves load tests out. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from loadgen.programme.load_tests.exported import why_not_added
from loadgen.programme.load_tests.leave_out import condition_of
from loadgen.programme.promises.objectives import Objective
from loadgen.programme.promises.slo_set import Loss

__all__ = ["annotation_loss", "condition_loss"]

_FIELD = "the condition load-tests"


def annotation_loss(one: Objective) -> Iterator[Loss]:
    """Yield the loss of a promise with a condition in a file of OpenSLO."""
    if condition_of(one.load_tests):
        reason = "OpenSLO has no field for it, so it is written as an annotation"
        yield Loss(one.name, _FIELD, reason, "other tools count load tests: add the condition to the queries")


def condition_loss(one: Objective, who: str) -> Iterator[Loss]:
    """Yield the loss of a promise whose condition cannot be added to its queries. who: those who count load tests."""
    if why := why_not_added(one):
        yield Loss(one.name, _FIELD, why, f"{who} count load tests: add the condition to the queries")
