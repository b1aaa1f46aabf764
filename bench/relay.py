"""Measure the size of one second of many agents as one delta, and the cost to read it, for docs/scale.md.

    python -m bench.relay --agents 1000

loadgen has no relay. A relay would send the sum of its agents' deltas. Here random deltas are merged, encoded,
decoded and merged again in this process, and their CPU time is measured.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import reduce
from time import process_time_ns

from bench.deltas import drawn_seconds
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.join_successive_deltas import join
from loadgen.measure.merging.merge import Merge
from loadgen.wire.codec import decode, encode

_TIMES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description="One second of many agents as one delta.")
    parser.add_argument("--agents", type=int, default=1_000)
    parser.add_argument("--names", type=int, default=20)
    parser.add_argument("--requests", type=int, default=50, help="requests of each name per second and agent")
    options = parser.parse_args()
    drawn = [_second(options, agent) for agent in range(options.agents)]
    one, all_ = replace(drawn[0], agent="relay"), replace(reduce(_sum, drawn), agent="relay")
    for what, delta in ((f"1 of {options.agents:,} agents", one), (f"all {options.agents:,} in one", all_)):
        data = encode(delta)
        pairs = len(delta.index) // 4
        read_us, merge_us = _cost_us(data)
        sys.stdout.write(
            f"{what}: {len(delta.stats)} series, {pairs:,} pairs, {pairs * 8 / 1e3:,.0f} kB raw,"
            f" {len(data) / 1e3:,.0f} kB packed; read {read_us:,.0f} µs, merged {merge_us:,.0f} µs\n"
        )


def _second(options: argparse.Namespace, agent: int) -> Delta:
    made = drawn_seconds(names=options.names, requests=options.requests, agents=options.agents, count=1, seed=agent)
    return replace(made[0], epoch=1, run_id="r", exemplars=())


def _sum(first: Delta, second: Delta) -> Delta:
    """Return the sum of two deltas with the same series and ids."""
    joint = join(first, replace(second, new_series=()))
    assert joint is not None
    return joint


def _cost_us(data: bytes) -> tuple[float, float]:
    """Return the mean CPU times, in µs, to decode and to merge one delta."""
    began = process_time_ns()
    for _ in range(_TIMES):
        message = decode(data)
    read = process_time_ns() - began
    assert isinstance(message, Delta)
    merge, later = Merge(), replace(message, new_series=())
    merge.accept("a", message)
    began = process_time_ns()
    for seq in range(1, _TIMES):
        merge.accept("a", replace(later, seq=seq))
    return read / _TIMES / 1e3, (process_time_ns() - began) / (_TIMES - 1) / 1e3


if __name__ == "__main__":
    main()
