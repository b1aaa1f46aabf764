"""The objective on several limits of a request to an AI model at once: `goodput(ttft="500ms", tpot="50ms") > "95%"`.

A request is good if it ended ok and kept all limits. Goodput is the share of good ones among all that were offered: the
requests that ended, and the iterations that were missed or cut off, of each journey that asks models. A request whose
call has `slo=` is judged by these limits instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Never

from loadgen.dsl.plans.argument_validation import did_you_mean
from loadgen.dsl.plans.slo_expression import (
    Choice,
    GoodputValue,
    TagName,
    arguments,
    read_over,
    read_scope,
    read_time_limit,
)
from loadgen.dsl.source_location import here

if TYPE_CHECKING:
    from loadgen.dsl.journey import Journey

__all__ = ["goodput"]


def goodput(
    *,
    ttft: str | None = None,
    ttft_due: str | None = None,
    ttfo: str | None = None,
    tpot: str | None = None,
    itl: str | None = None,
    stall: str | None = None,
    e2e: str | None = None,
    journey: Journey[Any] | str | None = None,
    step: str | None = None,
    request: str | None = None,
    region: str | None = None,
    load: str | None = None,
    tags: Mapping[TagName, str | Choice] | None = None,
    window: str | float | None = None,
    abort: bool = False,
    **unknown: Never,
) -> GoodputValue:
    """Return the share of requests to AI models that kept all limits. Compare it: `goodput(ttft="500ms") > "95%"`.

    The share is of all offered requests: those that ended, and iterations that were missed or cut off. Each journey
    that asks models is judged by itself.

    Args:
        ttft: the longest time to the first token. It counts from when the request was due, if that is known: in open
            loads the first call of an iteration. In all other cases it counts from the call.
        ttft_due: the same, but only for requests whose due time is known.
        ttfo: to the first token that is no reasoning.
        tpot, itl: the longest mean time for each token after the first read. Both are the same figure of a request.
        stall: the longest wait between two reads with tokens.
        e2e: to the last token; from when it was due, as `ttft`.
        journey, step, request, region, load, tags, window, abort: as in `p`. A window counts requests by their calls.
    """
    origin = here()
    scope = read_scope(
        origin, "goodput", journey=journey, step=step, request=request, region=region, load=load, tags=tags
    )
    over = read_over(origin, "goodput", window, abort)
    given = {"ttft": ttft, "ttft_due": ttft_due, "ttfo": ttfo, "tpot": tpot, "itl": itl, "stall": stall, "e2e": e2e}
    faults = [*scope.faults, *over.faults]
    limits, texts = [], []
    for name, value in given.items():
        if value is None:
            continue
        try:
            limit_ns, text = read_time_limit(value)
            if not limit_ns:
                raise ValueError("the limit must be above 0, since no time is below 0")
        except (ValueError, OverflowError) as error:
            why = "too large" if isinstance(error, OverflowError) else error
            faults.append(origin.fault(f"goodput({name}={value!r}): {why}", f'write goodput({name}="500ms")'))
            continue
        limits.append((name, int(limit_ns)))
        texts.append(f'{name}="{text}"')
    for name in unknown:
        near = did_you_mean(name, given)
        hint = near if near.startswith("did you mean") else f"limit one of {', '.join(given)}"
        faults.append(origin.fault(f"goodput({name}=...): unknown metric", hint))
    if not unknown and all(value is None for value in given.values()):
        hint = 'write goodput(ttft="500ms", tpot="50ms"); requests with slo= are judged by their own limits instead'
        faults.append(origin.fault("goodput(): no limit is given", hint))
    expression = f"goodput({arguments(texts, scope.texts, over.texts)})"
    fields = {**scope.fields, "limits": tuple(limits)}
    return GoodputValue(origin, "goodput", expression, over, fields, tuple(faults), '"95%"', ">")
