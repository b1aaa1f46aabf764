"""The times of messages in `summary.json`: `message_ms` of a row whose calls have messages (gRPC).

The times are over all outcomes, because a message that arrived counts however its call ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, get_args

from loadgen.measure.deltas.series_key import MessageMetric
from loadgen.measure.merging.queries import ALL, Measured, Row
from loadgen.measure.results.figures import figures

__all__ = ["MESSAGE_TIMES", "message_rows"]

MESSAGE_TIMES: Final[tuple[MessageMetric, ...]] = get_args(MessageMetric)


def message_rows(
    measured: Measured, rows: Iterable[Row], region: str = ALL, warmup: bool = False
) -> dict[str, dict[str, object]]:
    """Return by metric its `count`, mean and percentiles in ms, over several rows together; {} without messages.

    The counts: of `first_message` calls, of `message_gap` the other messages, of `answer` answered messages of ours.
    """
    rows = tuple(rows)
    found: dict[str, dict[str, object]] = {}
    for metric in MESSAGE_TIMES:
        observed, censored = measured.select_rows(rows, metric, region=region, warmup=warmup)
        if count := observed.total + censored.total:
            counts: dict[str, object] = {"count": count, "censored": censored.total}
            found[metric] = counts | (figures(observed, censored) or {})
    return found
