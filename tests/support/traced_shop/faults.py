"""The faults of the traced shop. Each process reads them from its environment."""

from __future__ import annotations

import os
from typing import Final

import msgspec

__all__ = ["ENVIRONMENT", "Faults", "faults_of_environment"]

ENVIRONMENT: Final = "TRACED_SHOP_FAULTS"
"""The variable with the faults as JSON."""


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is wrong with the shop; by default nothing. Times are in ms, shares from 0 to 1.

    slow_version_ms: version 2 of stock checks rules for so much longer, in slow_version_share of its reservations.
    is_many_calls: a large basket (large_share of all) asks stock for each of its items, instead of once for all.
    pool: connections of an instance of stock to its database; 0: no limit. statement_ms: time of a statement, if it is
    not 0: each one takes the same time then, and only waiting for a connection differs.
    hang_share, hang_ms: how many reservations hang in stock, and how long. timeout_ms: how long shop waits for an
    answer of stock. tries: calls until shop gives up.
    clock_off_s: how far ahead the clock of both instances of stock is.
    database: URL of a PostgreSQL that stock uses; "": it only sleeps as long as a database would take. With one, pool
    and statement_ms are those of real connections and statements. missing_index: the index of items is dropped.
    """

    slow_version_ms: float = 0.0
    slow_version_share: float = 0.25
    is_many_calls: bool = False
    large_share: float = 0.1
    pool: int = 0
    statement_ms: float = 0.0
    hang_share: float = 0.0
    hang_ms: float = 1_000.0
    timeout_ms: float = 5_000.0
    tries: int = 1
    clock_off_s: float = 0.0
    database: str = ""
    missing_index: bool = False


def faults_of_environment() -> Faults:
    """Return the faults of this process; none if the variable is missing."""
    return msgspec.json.decode(os.environ.get(ENVIRONMENT, "{}"), type=Faults)
