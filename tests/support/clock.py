"""A clock that jumps: sleeping takes no time, and every start can be checked against its due time."""

from __future__ import annotations

import asyncio


class JumpClock:
    """A `loadgen.engine.load.clock.Clock` whose time moves only by sleeping (and by `late_ns` beyond it)."""

    def __init__(self, late_ns: int = 0) -> None:
        self.now_ns = -1_000_000
        self.late_ns = late_ns
        self.sleeps = 0

    def elapsed_ns(self) -> int:
        return self.now_ns

    async def sleep_until(self, at_ns: int) -> None:
        self.sleeps += 1
        await asyncio.sleep(0)
        self.now_ns = max(self.now_ns, at_ns + self.late_ns)

    def close(self) -> None: ...
