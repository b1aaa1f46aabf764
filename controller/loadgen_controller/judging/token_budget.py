"""Stops a run whose requests to AI models have used the plan's budget of tokens. Pure.

Prompt and output tokens count, of all requests that have ended: good ones, failed ones, and those of the warm-up. If
the server sends no usage, the tokens of prompts are unknown and do not count. A run uses more
than its budget: requests in flight end after the stop, and some are sent in the second or two before the stop.
"""

from __future__ import annotations

from loadgen.measure.deltas.series_key import TOKEN_NS
from loadgen.measure.merging.merge import Merge
from loadgen.units import NS_PER_S, format_count, format_duration

__all__ = ["TokenBudget", "used_tokens"]


class TokenBudget:
    """The budget of one run. tokens: the most prompt and output tokens together; None: there is no limit."""

    __slots__ = ("_tokens",)

    def __init__(self, tokens: int | None) -> None:
        self._tokens = tokens

    def check(self, merge: Merge, clock_ns: int) -> str:
        """Return why the run has to stop; "" if it may go on. clock_ns: the time after T0."""
        if self._tokens is None:
            return ""
        used = used_tokens(merge)
        if used < self._tokens:
            return ""
        at = format_duration(clock_ns // NS_PER_S * NS_PER_S)
        return (
            f"stopped after {at}: requests to the model have used {format_count(used)} tokens of a budget of"
            f" {format_count(self._tokens)}; raise Llm(budget=...), or plan a shorter load"
        )


def used_tokens(merge: Merge) -> int:
    """Return the number of prompt and output tokens of all ended requests, those of the warm-up too."""
    return sum(
        merge.select("request", metric=metric, warmup=warmup)[0].sum_ns // TOKEN_NS
        for metric in ("prompt_tokens", "output_tokens")
        for warmup in (False, True)
    )
