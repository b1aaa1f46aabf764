"""Is the price table one that a guard can go by?"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path

__all__ = ["check"]

_MOST_USD = 50.0
"""An hour of a machine that anybody would generate load with."""


def check(path: Path) -> Iterator[str]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield f"{path}: {error}"
        return
    if table.get("format") != 1:
        yield f"{path}: format is not 1"
    try:
        datetime.date.fromisoformat(str(table.get("as_of")))
    except ValueError:
        yield f"{path}: as_of is no date"
    if not str(table.get("source") or "").strip():
        yield f"{path}: no source"
    if not (isinstance(table.get("factor_elsewhere"), int | float) and table["factor_elsewhere"] >= 1):
        yield f"{path}: factor_elsewhere is below 1: a guard has to be too strict rather than too lax"
    regions = table.get("usd_per_hour") or {}
    if "us-east-1" not in regions:
        yield f"{path}: no prices of us-east-1, which the others are taken from"
    for region, prices in regions.items():
        for kind, usd in prices.items():
            if not (isinstance(usd, int | float) and 0 < usd <= _MOST_USD):
                yield f"{path}: {kind} in {region} costs {usd}"
