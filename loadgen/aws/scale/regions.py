"""The same in several regions at once: each in a thread of its own, since boto3 blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from loadgen.errors import CredentialsError

__all__ = ["in_each"]

MOST_THREADS: Final = 8

T = TypeVar("T")


def in_each(regions: Iterable[str], do: Callable[[str], T]) -> dict[str, T]:
    """What `do` gives for each region. All are done before an error is raised.

    Raises:
        what `do` raises; a group of them where several regions fail. Credentials that are wrong are so everywhere:
            then it is one error.
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
        raise ExceptionGroup("several regions fail", failed)
    if failed:
        raise failed[0]
    return {region: one.result() for region, one in begun.items()}
