"""The event loop that a controller runs on, and how often garbage is looked for in its process."""

from __future__ import annotations

import asyncio
import gc
from typing import Final

__all__ = ["new_loop"]


_YOUNG: Final = (20_000, 20, 50)
"""Objects of each age that are allowed before it is looked through. Messages are many and hardly ever in cycles: with
Python's 700 that took 6 % of the CPU time of a controller of 600 agents."""


def new_loop() -> asyncio.AbstractEventLoop:
    """Made once a process, when everything is imported: what is there by now is not looked through any more."""
    gc.freeze()
    gc.set_threshold(*_YOUNG)
    try:
        import uvloop
    except ImportError:  # not on every platform
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
