"""Lists logs in S3. With a period, only the folders of its days are listed, where the layout has folders of days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from loadgen.aws.storage.s3 import Bucket
from loadgen.errors import CloudDenied, CloudError, UsageError
from loadgen.traffic.inputs.log_input import LogInput
from loadgen.traffic.rows.period import Period

__all__ = ["s3_inputs"]

_DIGITS: Final = (4, 2, 2)
"""Digits in the names of folders by year, month and day: `2026/11/20`, also `year=2026/month=11/day=20`."""
_NO_LOG: Final = "ELBAccessLogTestFile"
"""Load balancers write an object with this name once, to test their permission."""
_LATE: Final = timedelta(days=1)
"""Logs are written some time after their requests, so a request may be in the folder of the next day."""


def s3_inputs(url: str, period: Period) -> Iterator[LogInput]:
    """Yield the objects whose address begins with `url`, such as s3://logs/AWSLogs/.

    Raises:
        UsageError: the address is invalid, S3 does not permit the listing, or there is no such object.
        CredentialsError: the credentials are missing, wrong or expired.
        CloudError: S3 does not answer.
    """
    name, _, prefix = url.removeprefix("s3://").partition("/")
    bucket = Bucket(f"s3://{name}")
    found = False
    try:
        for key, size in _objects(bucket, prefix, period):
            if size and not key.endswith(_NO_LOG):
                found = True
                yield LogInput(f"s3://{name}/{key}", "s3", size)
    except CloudDenied as error:
        raise UsageError(
            error.message, hint="your identity (aws sts get-caller-identity) needs s3:ListBucket and s3:GetObject"
        ) from None
    except CloudError as error:
        if "NoSuchBucket" in error.message:
            raise UsageError(error.message, hint=error.hint) from None
        raise
    if not found:
        when = " of this period" if period.is_limited else ""
        raise UsageError(f"{url}: no objects{when} begin with this address", hint="check bucket, prefix and period")


def _objects(bucket: Bucket, prefix: str, period: Period) -> Iterator[tuple[str, int]]:
    if period.is_limited:
        yield from _below(bucket, prefix, (), period)
    else:
        yield from bucket.sizes(prefix).items()


def _below(bucket: Bucket, prefix: str, above: tuple[int, ...], period: Period) -> Iterator[tuple[str, int]]:
    """Yield the objects below a prefix. above: the year, or year and month, of the folder."""
    folders, sizes = bucket.level(prefix)
    yield from sizes.items()
    for folder in folders:
        number = folder.rpartition("/")[2].rpartition("=")[2]
        is_part = number.isdecimal() and len(number) == _DIGITS[len(above)]
        day = (*above, int(number)) if is_part else ()
        if is_part and not _may_have(day, period):
            continue
        if len(day) == len(_DIGITS):
            yield from bucket.sizes(f"{folder}/").items()
        else:
            yield from _below(bucket, f"{folder}/", day, period)


def _may_have(day: tuple[int, ...], period: Period) -> bool:
    """Return whether the folder of a year, month or day may have requests of the period."""
    first, last = _date(period.begin_us, timedelta()), _date(period.end_us - 1, _LATE)
    return (first or day)[: len(day)] <= day <= (last or day)[: len(day)]


def _date(us: int, later: timedelta) -> tuple[int, ...]:
    """Return year, month and day; empty without a limit."""
    if us <= 0 or us >= Period.LAST_US - 1:
        return ()
    when = datetime.fromtimestamp(us // 1_000_000, UTC) + later
    return when.year, when.month, when.day
