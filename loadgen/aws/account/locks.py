"""One hand on a fleet at a time: an object in its bucket, which only one can put there.

`If-None-Match: *` lets S3 decide between two who come at once, and `If-Match` sees to it that
nobody removes a lock that is another's by now. Whoever dies leaves it; it says until when it
holds, by the clock of who put it there, and may be taken over after that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from loadgen.aws.account.boto_clients import Clients, told
from loadgen.aws.account.names import LOCKS
from loadgen.errors import FleetError, LoadgenError

__all__ = ["Held", "held"]

KEY: Final = f"{LOCKS}fleet"
_MOST_BYTES: Final = 4096
_LOST: Final = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


class Held(msgspec.Struct, frozen=True):
    """Who has it."""

    by: str
    doing: str
    at: datetime
    until: datetime
    format: int = 1


@contextmanager
def held(
    clients: Clients,
    region: str,
    bucket: str,
    *,
    by: str,
    doing: str,
    now: datetime,
    lasts_s: float,
    by_force: bool = False,
) -> Iterator[None]:
    """Have the lock within.

    Args:
        by_force: take it from who has it.

    Raises:
        FleetError: another has it, and who.
    """
    s3 = clients.client("s3", region)
    mine = msgspec.json.encode(Held(by, doing, now, now + timedelta(seconds=lasts_s)))
    etag = _put(s3, bucket, mine, IfNoneMatch="*")
    if etag is None:
        etag = _taken_over(s3, bucket, mine, now, by_force)
    try:
        yield
    finally:
        # What was done is done; a lock that cannot be removed ends by itself.
        with suppress(LoadgenError), told("give the fleet free"):
            s3.delete_object(Bucket=bucket, Key=KEY, IfMatch=etag)


def _taken_over(s3: Any, bucket: str, mine: bytes, now: datetime, by_force: bool) -> str:
    """The lock of one whose time is over, or who is to give way."""
    with told("look who has the fleet"):
        answer = s3.get_object(Bucket=bucket, Key=KEY)
        data, etag = answer["Body"].read(_MOST_BYTES), str(answer["ETag"])
    try:
        other = msgspec.json.decode(data, type=Held)
    except msgspec.DecodeError:
        other = Held("somebody", "something", now, now)
    is_over = other.until.timestamp() <= now.timestamp()
    taken = _put(s3, bucket, mine, IfMatch=etag) if is_over or by_force else None
    if taken is None:
        until = other.until.strftime("%H:%M:%S UTC")
        raise FleetError(
            f"{other.by} is changing this fleet just now: {other.doing}",
            hint=f"wait for its end; if it died, its lock ends by itself at {until}",
        )
    return taken


def _put(s3: Any, bucket: str, data: bytes, **only_if: str) -> str | None:
    """Its ETag; None where another was first."""
    with told("take the fleet's lock"):
        try:
            return str(s3.put_object(Bucket=bucket, Key=KEY, Body=data, **only_if)["ETag"])
        except s3.exceptions.ClientError as error:
            if str(error.response.get("Error", {}).get("Code", "")) in _LOST:
                return None
            raise
