"""The objective on several limits of a request to an AI model at once: `goodput(ttft="500ms", tpot="50ms") > "95%"`.

A request is good if it ended ok and kept all limits. Goodput is the share of good requests among all offered ones: the
requests that ended, and one for each iteration that was missed or cut off. Each journey that sends requests to models
has its own share. A request whose call has `slo=` is judged by these limits instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Never

from loadgen.dsl.plans.objectives.slo_expression import (
    Choice,
    GoodputValue,
    TagName,
    arguments,
    read_over,
    read_scope,
    read_time_limit,
)
from loadgen.dsl.source_location import here
from loadgen.similar_names import did_you_mean

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

    Compare it with `>` and a share below 100 %, and give at least one limit with its unit. A request is good if it
    ended ok and kept all limits. A figure that the request does not have breaks no limit, such as `tpot` of an answer
    of one token. There is one exception: a request without a first token breaks `ttft`.

    The share is of all offered requests: the requests that ended, and one for each iteration that was missed or cut
    off. Each journey that sends requests to models is judged by itself.

    Args:
        ttft: the longest time to the first token. The first request of an iteration in an open load counts from its
            due time, all others from their call.
        ttft_due: the same, but only for requests that have a due time.
        ttfo: the longest time from the call to the first token that is not reasoning.
        tpot, itl: the longest mean time per token after the first read. Both names limit the same figure of a request.
        stall: the longest gap between two reads with tokens.
        e2e: the longest time to the last token. It counts from the same moment as `ttft`.
        journey, step, request, region, load, tags, window, abort: as in `p`. A window counts a request at the time of
            its call.
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
