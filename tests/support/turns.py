"""For tests that let others go on for a while, where time would prove nothing and a busy machine fail them."""

from __future__ import annotations

import asyncio

__all__ = ["turns"]


async def turns(number: int = 100) -> None:
    """Everything that can go on without time does, also over sockets of this process."""
    for _ in range(number):
        await asyncio.sleep(0)
