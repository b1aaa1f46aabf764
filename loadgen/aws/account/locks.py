"""A lock in the fleet's bucket, so that only one process changes the fleet at a time.

The lock is an object. `If-None-Match: *` lets S3 decide between two processes that create it at the same time.
`If-Match` keeps a process from removing a lock that another process has taken over in the meantime.
A process that dies leaves its lock behind. The lock contains an end time, by its owner's clock; after that time
another process may take it over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from loadgen.aws.account.boto_clients import Clients, aws_errors
from loadgen.aws.account.names import LOCKS
from loadgen.errors import FleetError, LoadgenError

__all__ = ["Held", "held"]

KEY: Final = f"{LOCKS}fleet"
_MOST_BYTES: Final = 4096
_LOST: Final = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


class Held(msgspec.Struct, frozen=True):
    """The content of the lock: its owner, what the owner is doing, and the lock's start and end time."""

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
    """Hold the fleet's lock while the body runs.

    Args:
        by: the identity that is shown to others who want the lock.
        doing: the operation that is shown to them.
        lasts_s: seconds after which others may take the lock over.
        by_force: take the lock over now, even if its time has not ended.

    Raises:
        FleetError: another process holds the lock; the message names its owner.
    """
    s3 = clients.client("s3", region)
    mine = msgspec.json.encode(Held(by, doing, now, now + timedelta(seconds=lasts_s)))
    etag = _put(s3, bucket, mine, IfNoneMatch="*")
    if etag is None:
        etag = _take_over(s3, bucket, mine, now, by_force)
    try:
        yield
    finally:
        # A failure here must not hide the result of the body. A lock that stays behind ends by itself.
        with suppress(LoadgenError), aws_errors("release the fleet's lock"):
            s3.delete_object(Bucket=bucket, Key=KEY, IfMatch=etag)


def _take_over(s3: Any, bucket: str, mine: bytes, now: datetime, by_force: bool) -> str:
    """Replace a lock that has expired, or any lock if `by_force`. Return the new object's ETag."""
    with aws_errors("read the fleet's lock"):
        answer = s3.get_object(Bucket=bucket, Key=KEY)
        data, etag = answer["Body"].read(_MOST_BYTES), str(answer["ETag"])
    try:
        other = msgspec.json.decode(data, type=Held)
    except msgspec.DecodeError:
        # It counts as expired; otherwise an unreadable lock could only be taken over by force.
        other = Held("somebody", "something", now, now)
    is_over = other.until.timestamp() <= now.timestamp()
    taken = _put(s3, bucket, mine, IfMatch=etag) if is_over or by_force else None
    if taken is None:
        until = other.until.strftime("%H:%M:%S UTC")
        raise FleetError(
            f"{other.by} is changing this fleet now: {other.doing}",
            hint=f"wait until that is done; if that process died, its lock ends at {until}",
        )
    return taken


def _put(s3: Any, bucket: str, data: bytes, **only_if: str) -> str | None:
    """Write the lock and return its ETag, or None if another process was first."""
    with aws_errors("take the fleet's lock"):
        try:
            return str(s3.put_object(Bucket=bucket, Key=KEY, Body=data, **only_if)["ETag"])
        except s3.exceptions.ClientError as error:
            if str(error.response.get("Error", {}).get("Code", "")) in _LOST:
                return None
            raise
