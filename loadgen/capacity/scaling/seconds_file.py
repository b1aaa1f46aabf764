"""The policy's replay of the recorded curve, second by second, as CSV: for a reader who checks the simulator."""

from __future__ import annotations

from collections.abc import Iterator

from loadgen.capacity.scaling.plan import Scaled

__all__ = ["seconds_csv"]

_CHUNK = 10_000


def seconds_csv(scaled: Scaled) -> Iterator[bytes]:
    """Yield the CSV file in parts.

    Columns: second, arrivals/s, wanted and ready instances, capacity/s within the promise, utilisation, requests that
    wait at its end, and the number that the controller asked for if it acted in this second.
    """
    replay, per_s = scaled.drawn, scaled.plan.instances.per_s
    rate = scaled.cases[0].curve.rate
    acted = {one.at_s: one.after for one in replay.actions}
    yield b"second,rate_per_s,wanted,ready,capacity_per_s,utilisation,backlog,action\r\n"
    for first in range(0, len(rate), _CHUNK):
        columns = zip(
            rate[first : first + _CHUNK].tolist(),
            replay.wanted[first : first + _CHUNK].tolist(),
            replay.ready[first : first + _CHUNK].tolist(),
            replay.utilisation[first : first + _CHUNK].tolist(),
            replay.backlog[first : first + _CHUNK].tolist(),
            strict=True,
        )
        lines = [
            f"{second},{of:.6g},{wanted},{ready},{ready * per_s:.6g},{used:.6g},{waits:.6g},{acted.get(second, '')}"
            for second, (of, wanted, ready, used, waits) in enumerate(columns, first)
        ]
        yield ("\r\n".join(lines) + "\r\n").encode()
