"""Checks that the drain of a plan is long enough for the longest answer of its model, without running the scenario.

    Plan(..., drain="30s")   warning: answers of 4,096 tokens may take 3m26s, so the end of the drain cuts them off

The longest answer has the highest `max_tokens` in the scenario's files or in `Llm`. The limits of the plan's goodput
objectives give its time. Without goodput objectives, 1 s to the first token and 50 ms for each further token are
assumed. A request ends at `Llm(timeout=)`, so no answer takes longer.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from loadgen.clients.llm.settings import Llm
from loadgen.dsl.loading.source_analysis import Source
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.dsl.plans.plan import Plan
from loadgen.errors import Fault
from loadgen.units import NS_PER_MS, NS_PER_S, format_count, format_duration

__all__ = ["drain_misfits", "longest_answer_ns"]

_FIRST_NS: Final = NS_PER_S
_TOKEN_NS: Final = 50 * NS_PER_MS
"""20 tokens/s, which is slow for a model that people wait for."""


def longest_answer_ns(tokens: int, limits: Mapping[str, int], timeout_ns: int) -> int:
    """Return how long an answer with this number of tokens may take, in ns.

    Args:
        limits: in ns, by the metrics that a goodput can limit. An answer may be as slow as they permit.
        timeout_ns: the limit of a whole request.
    """
    if "e2e" in limits:
        return min(limits["e2e"], timeout_ns)
    first_ns = next((limits[name] for name in ("ttft_due", "ttft", "ttfo") if name in limits), _FIRST_NS)
    token_ns = next((limits[name] for name in ("tpot", "itl") if name in limits), _TOKEN_NS)
    return min(first_ns + (tokens - 1) * token_ns, timeout_ns)


def drain_misfits(sources: Iterable[Source], plan: Plan) -> Iterator[Fault]:
    """Yield a warning if a drain of the plan is shorter than its longest answer. The plan must have no errors."""
    if plan.llm is None:
        return
    tokens = max([*_max_tokens(sources), plan.llm.max_tokens or 0])
    if not tokens:
        return
    limits = _limits(plan.slos)
    answer_ns = longest_answer_ns(tokens, limits, plan.llm.timeout_ns)
    for drain_ns in sorted({plan.drain_ns if one.drain_ns is None else one.drain_ns for one in plan.lanes}):
        if drain_ns < answer_ns:
            yield plan.origin.fault(*_text(tokens, answer_ns, drain_ns, limits, plan.llm))


def _text(tokens: int, answer_ns: int, drain_ns: int, limits: Mapping[str, int], llm: Llm) -> tuple[str, str]:
    """Return the message and the hint of a drain that is too short."""
    why = "as long as the objectives permit" if limits else "1 s to the first token and 50 ms a token are assumed"
    if answer_ns == llm.timeout_ns:
        why = "the time limit of Llm"
    whole_ns = -(-answer_ns // NS_PER_S) * NS_PER_S
    message = (
        f"drain: {format_duration(drain_ns)} is too short: an answer of {format_count(tokens)} tokens may take"
        f" {format_duration(whole_ns)} ({why}), so the end of the drain cuts it off"
    )
    return message, f'write drain="{whole_ns // NS_PER_S}s", or a lower max_tokens='


def _max_tokens(sources: Iterable[Source]) -> Iterator[int]:
    """Yield each literal `max_tokens=` of a call in these files."""
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Call):
                given = (one.value for one in node.keywords if one.arg == "max_tokens")
                yield from (number for value in given if (number := source.number_of(value)) is not None)


def _limits(slos: Iterable[Slo]) -> dict[str, int]:
    """Return the highest limit of each metric over all goodput objectives, in ns."""
    found: dict[str, int] = {}
    for slo in slos:
        for name, limit_ns in () if slo.objective is None else slo.objective.limits:
            found[name] = max(limit_ns, found.get(name, 0))
    return found
