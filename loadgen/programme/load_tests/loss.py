"""What an exported file loses of the condition that leaves load tests out. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from loadgen.programme.load_tests.leave_out import condition_of
from loadgen.programme.promises.objectives import Objective
from loadgen.programme.promises.slo_set import Loss

__all__ = ["load_tests_losses"]


def load_tests_losses(one: Objective, reason: str, who: str) -> Iterator[Loss]:
    """Yield the loss of a promise with a condition. who: those who count load tests then."""
    if condition_of(one.load_tests):
        effect = f"{who} count load tests: write the condition into the queries, too"
        yield Loss(one.name, "the condition load-tests", reason, effect)
