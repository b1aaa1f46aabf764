"""The settings of the demo shop's database: where it is, the shop's pools of connections, and deliberate faults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from loadgen.errors import UsageError

__all__ = ["ITEMS", "LEDGER_PAIRS", "MAX_POOL_SIZE", "POOLS", "SCHEMA", "DatabaseConfig", "pools_of"]

SCHEMA: Final = "loadgen_shop"
"""The schema that the shop creates and uses."""
ITEMS: Final = 100_000
LEDGER_PAIRS: Final = 8
"""Pairs of ledger rows. A worker of a background pool has a pair of its own, so this is the most workers of a pool."""
MAX_POOL_SIZE: Final = 1_000
POOLS: Final = ("settle", "payout")
"""The pools of background workers."""
_OPTIONS: Final = (
    "--database-secret, --pool-size, --pools, --no-shared-lock, --missing-index, --no-prepared-statements and --spans"
)
_SCHEMES: Final = ("postgresql", "postgres")
_SPANS_URL: Final = re.compile(r"http://[\w.\-]{1,253}:\d{1,5}/?", re.ASCII)
_POOL: Final = re.compile(r"\s*(\w+)\s*=\s*(\d{1,6})\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """The settings. An invalid value raises `UsageError`."""

    url: str
    """A URL of PostgreSQL or PgBouncer, without password."""
    secret: str = ""
    """The name of the secret with the password; "": libpq's own ways, such as PGPASSWORD, or no password."""
    pool_size: int = 10
    """Connections of the shop's requests. Further requests wait in line for one."""
    workers: Mapping[str, int] = field(default_factory=dict)
    """Workers of each background pool in `POOLS`; a missing pool has none."""
    missing_index: bool = False
    """The index of items on (tenant, price_cents) is dropped."""
    prepares: bool = True
    """False: no statement is prepared on the server, for a PgBouncer in front that does not support it."""
    shared_lock: bool = True
    """False: `payout` does not change the rows that `settle` locks, so no worker waits for another pool."""
    spans_url: str = ""
    """The base URL of an OTLP/HTTP receiver for the spans of sampled requests; "": no spans."""

    def __post_init__(self) -> None:
        if wrong := _url_wrong(self.url):
            # The text is not shown, because it may contain the password.
            raise UsageError(f"--database: {wrong}", hint="write --database postgresql://shop@127.0.0.1:5432/shop")
        if not 1 <= self.pool_size <= MAX_POOL_SIZE:
            raise UsageError(
                f"--pool-size must be from 1 to {MAX_POOL_SIZE:,}, got {self.pool_size}", hint="write --pool-size 10"
            )
        if self.spans_url and not _SPANS_URL.fullmatch(self.spans_url):
            raise UsageError(
                "--spans: invalid URL; it must be http://HOST:PORT of an OTLP/HTTP receiver",
                hint="write --spans http://127.0.0.1:4318",
            )
        for name, count in self.workers.items():
            if name not in POOLS or not 0 <= count <= LEDGER_PAIRS:
                raise _pools_wrong(f"{name}={count}")

    @classmethod
    def of_options(
        cls,
        *,
        url: str | None,
        secret: str | None = None,
        pool_size: int | None = None,
        pools: str | None = None,
        missing_index: bool = False,
        prepares: bool = True,
        shared_lock: bool = True,
        spans_url: str | None = None,
    ) -> DatabaseConfig | None:
        """Return the configuration for the values of command-line options; None without `--database`.

        Raises:
            UsageError: a value is invalid, or an option needs `--database`.
        """
        if url is None:
            given = (secret, pool_size, pools, spans_url)
            if any(one is not None for one in given) or missing_index or not (prepares and shared_lock):
                raise UsageError(
                    f"{_OPTIONS} need --database", hint="add --database postgresql://shop@127.0.0.1:5432/shop"
                )
            return None
        return cls(
            url=url,
            secret=secret or "",
            pool_size=10 if pool_size is None else pool_size,
            workers={} if pools is None else pools_of(pools),
            missing_index=missing_index,
            prepares=prepares,
            shared_lock=shared_lock,
            spans_url=spans_url or "",
        )


def pools_of(text: str) -> dict[str, int]:
    """Return the workers of each pool in a text such as "settle=2,payout=2".

    Raises:
        UsageError: an unknown pool, a pool that is named twice, or an invalid number of workers.
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        match = _POOL.fullmatch(part)
        if match is None or match[1] not in POOLS or match[1] in found or int(match[2]) > LEDGER_PAIRS:
            raise _pools_wrong(part.strip())
        found[match[1]] = int(match[2])
    return found


def _pools_wrong(part: str) -> UsageError:
    message = (
        f"--pools: invalid {part[:40]!r}; use each of {' and '.join(POOLS)} once, with 0 to {LEDGER_PAIRS} workers"
    )
    return UsageError(message, hint="write --pools settle=2,payout=2")


def _url_wrong(url: str) -> str:
    """Return what is wrong with a URL of a database; "" for a valid one. The result never contains the URL."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for an invalid port
    except ValueError:
        return "the URL cannot be read"
    if parts.scheme not in _SCHEMES or not url.startswith(f"{parts.scheme}://"):
        return "the URL must begin with postgresql://"
    named = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if parts.password is not None or "password" in [unquote(name).strip().lower() for name in named]:
        return "the URL contains a password; use --database-secret NAME, or the variable PGPASSWORD"
    return ""
