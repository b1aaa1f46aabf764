"""Reads the pages of probes once, before a run and for `loadgen probe check`. Blocks for at most `LIMIT_S`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen.probes.exposition import BadPage, Page, parse
from loadgen.probes.scrape import NotFetched, Scraper, new_loop
from loadgen.probes.selection import Found, select
from loadgen.probes.settings import ProbeSpec
from loadgen.secret_variable import variable_of

__all__ = ["LIMIT_S", "Look", "look_at"]

LIMIT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Look:
    """The result of reading one page. why: the reason if there is no usable page, otherwise empty."""

    spec: ProbeSpec
    why: str = ""
    page: Page | None = None
    found: Found | None = None
    size: int = 0
    """Bytes of the page."""
    round_trip_ns: int = 0


def look_at(specs: Sequence[ProbeSpec], secret_of: Callable[[str], str | None]) -> list[Look]:
    """Fetch the pages of all probes at the same time, each once, and return the results in the order of `specs`.

    secret_of: returns the value of a secret; None if it is not set.
    """
    loop = new_loop()
    try:
        return loop.run_until_complete(_look_at(specs, secret_of))
    finally:
        loop.close()


async def _look_at(specs: Sequence[ProbeSpec], secret_of: Callable[[str], str | None]) -> list[Look]:
    return list(await asyncio.gather(*(_look(spec, secret_of) for spec in specs)))


async def _look(spec: ProbeSpec, secret_of: Callable[[str], str | None]) -> Look:
    secret = secret_of(spec.auth_secret) if spec.auth_secret else ""
    if secret is None:
        why = f'secret "{spec.auth_secret}" is not set: set {variable_of(spec.auth_secret)} on this machine'
        return Look(spec, why)
    scraper = Scraper(spec, time.perf_counter_ns, secret)
    try:
        fetched = await scraper.fetch(LIMIT_S)
        page = parse(fetched.body)
    except NotFetched as error:
        return Look(spec, str(error))
    except BadPage as error:
        return Look(spec, f"the page is not used: {error}")
    finally:
        await scraper.close()
    found = select(spec.rows, page)
    return Look(spec, "", page, found, len(fetched.body), fetched.received_ns - fetched.sent_ns)
