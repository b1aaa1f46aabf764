"""Runs a function for several regions at the same time, each in its own thread because boto3 blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from loadgen.errors import CredentialsError

__all__ = ["in_each"]

MOST_THREADS: Final = 8

T = TypeVar("T")


def in_each(regions: Iterable[str], do: Callable[[str], T]) -> dict[str, T]:
    """Call `do` for each region in parallel, and return the results by region.

    All calls end before an error is raised.

    Raises:
        The exception of `do` if one region fails, and an ExceptionGroup if several do. A CredentialsError is raised
        alone, because wrong credentials fail in every region.
    """
    wanted = list(dict.fromkeys(regions))
    if not wanted:
        return {}
    with ThreadPoolExecutor(min(MOST_THREADS, len(wanted)), thread_name_prefix="aws") as pool:
        begun = {region: pool.submit(do, region) for region in wanted}
        failed = [error for one in begun.values() if isinstance(error := one.exception(), Exception)]
    if (wrong := next((one for one in failed if isinstance(one, CredentialsError)), None)) is not None:
        raise wrong
    if len(failed) > 1:
        raise ExceptionGroup("several regions failed", failed)
    if failed:
        raise failed[0]
    return {region: one.result() for region, one in begun.items()}
