"""Reads the price of an instance type from a prices.json: what loadgen's Terraform has, or a file of the same form.

    {"format": 1, "region": "us-east-1", "as_of": "2026-07-20", "source": "AWS price list", "currency": "USD",
     "usd_per_hour": {"c7i.large": 0.08925}}

`per_hour` may be written for `usd_per_hour`, and each price may be [low, high] or [low, point, high]. A file without
`region` that names one AWS region in `source` has the prices of that region. A price of another region is not
converted: no factor is right for all types.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from math import isfinite
from typing import Any, Final

import msgspec

from loadgen.capacity.sizing.ranges import Range
from loadgen.errors import UsageError
from loadgen.outside_text import one_line

__all__ = ["MOST_BYTES", "OLD_DAYS", "Price", "price_of"]

OLD_DAYS: Final = 90
"""A price list that is older than this is reported as old."""
MOST_BYTES: Final = 4 << 20
_REGION: Final = re.compile(r"\b[a-z]{2}(?:-[a-z]+)+-\d\b")


class _File(msgspec.Struct, frozen=True):
    format: int = 1
    region: str = ""
    as_of: str = ""
    source: str = ""
    currency: str = "USD"
    usd_per_hour: dict[str, Any] = {}
    per_hour: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one instance an hour."""

    per_hour: Range
    currency: str
    instance: str
    region: str
    source: str
    as_of: str
    warnings: tuple[str, ...]


def price_of(data: bytes, name: str, instance: str, region: str, today: date) -> Price:
    """Return the price of an instance type from the contents of a prices.json.

    Args:
        name: how errors name the file.
        instance: the type, such as "c7i.large".
        region: the region that is asked for; "" takes the file's.
        today: to tell how old the prices are.

    Raises:
        UsageError: the file is invalid, has the prices of another region, or lacks the type; or an ExceptionGroup.
    """
    if len(data) > MOST_BYTES:
        raise UsageError(f"{name} is larger than 4 MiB", hint="name a prices.json")
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        hint = 'write {"format": 1, "region": "us-east-1", "as_of": "2026-07-20", "usd_per_hour": {"c7i.large": 0.09}}'
        raise UsageError(f"{name} is not a list of prices: {one_line(str(exc), 200)}", hint=hint) from exc
    wrong: list[UsageError] = []
    if file.format != 1:
        wrong.append(UsageError(f"{name} has format {file.format}: this loadgen reads format 1", hint="convert it"))
    named = file.region or _only(_REGION.findall(file.source))
    if region and not named:
        hint = f'add "region": "{region}" to it if its prices are those of that region'
        wrong.append(UsageError(f"{name} does not say to which region its prices apply", hint=hint))
    elif region and region != named:
        hint = f"use a list of prices of {region}, or give --price; prices of another region are not converted"
        wrong.append(UsageError(f"{name} has prices of {one_line(named, 60)}, not of {region}", hint=hint))
    prices = {**file.usd_per_hour, **file.per_hour}
    per_hour: Range | None = None
    if instance not in prices:
        near = get_close_matches(instance, prices, 1)
        hint = f"did you mean {one_line(near[0], 60)}?" if near else "add it to the file, or give --price"
        wrong.append(UsageError(f"{name} has no price of {instance}", hint=hint))
    else:
        per_hour = _range_of(prices[instance])
        if per_hour is None:
            hint = "write a number above 0, or [low, high]"
            wrong.append(UsageError(f"{name}: invalid price of {instance}", hint=hint))
    as_of, warnings = _age(file.as_of, name, today)
    if wrong:
        raise wrong[0] if len(wrong) == 1 else ExceptionGroup("several things are wrong", wrong)
    assert per_hour is not None
    currency = "USD" if instance in file.usd_per_hour and instance not in file.per_hour else file.currency
    return Price(
        per_hour, one_line(currency, 8), instance, one_line(named, 60), one_line(file.source, 200), as_of, warnings
    )


def _only(found: list[str]) -> str:
    return found[0] if len(set(found)) == 1 else ""


def _range_of(value: object) -> Range | None:
    """Return a price as a range; None if it is not a positive number, or rising positive numbers."""
    values = value if isinstance(value, list) else [value]
    if not 1 <= len(values) <= 3:
        return None
    numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) < len(values) or not all(isfinite(one) and one > 0 for one in numbers):
        return None
    if numbers != sorted(numbers):
        return None
    middle = numbers[1] if len(numbers) == 3 else (numbers[0] + numbers[-1]) / 2
    return Range(float(numbers[0]), float(middle), float(numbers[-1]))


def _age(as_of: str, name: str, today: date) -> tuple[str, tuple[str, ...]]:
    """Return the date of the prices, and a warning if it is missing, old or in the future."""
    try:
        day = date.fromisoformat(as_of)
    except ValueError:
        return "", (f"{name} does not say of which day its prices are: check them",)
    if day > today:
        return as_of, (f"the prices of {name} are of {as_of}, which is in the future: check the date",)
    days = (today - day).days
    if days > OLD_DAYS:
        return as_of, (f"the prices of {name} are {days} days old ({as_of}): check them",)
    return as_of, ()
