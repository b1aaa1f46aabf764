"""Every async test here runs on asyncio's loop and on uvloop, which production uses.

Tests of what is asked and what a reply is made of, above the connection, run on uvloop only: the bytes that cross the
loop are the same in all of them, and the other modules test these on both. HTTP/3 has one module for both loops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import pytest
import uvloop

ABOVE_THE_CONNECTION: Final = frozenset(
    (
        "test_bad_requests",
        "test_bytes_on_the_wire",
        "test_cookie_limits",
        "test_forms",
        "test_graphql",
        "test_http3_ends",
        "test_http3_many",
        "test_http3_plans",
        "test_jars",
        "test_sdk_answers",
        "test_user_llm",
    )
)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.stem in ABOVE_THE_CONNECTION:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
