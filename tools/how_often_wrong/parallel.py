"""Runs the cells of a table in two processes, each with its own seed, so the result does not depend on their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final, TypeVar

__all__ = ["in_processes"]

_PROCESSES: Final = 2
_Asked = TypeVar("_Asked")
_Found = TypeVar("_Found")


def in_processes(function: Callable[[_Asked], _Found], asked: Sequence[_Asked]) -> list[_Found]:
    """Return function(one) for each in `asked`, in order. The function must be at module level, to be sent."""
    if len(asked) < 2:
        return [function(one) for one in asked]
    with ProcessPoolExecutor(_PROCESSES, mp_context=get_context("spawn")) as pool:
        return list(pool.map(function, asked))
