"""A forecast of the peak from the ledger of production, for `loadgen capacity size --forecast`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadgen.errors import UsageError
from loadgen.outside_text import one_line
from loadgen.units import quantity
from loadgen_controller.commands.missing_extra import needing_analysis

if TYPE_CHECKING:
    from loadgen.capacity.sizing.forecast import Forecast
    from loadgen.programme.ledger.ledger import Ledger

__all__ = ["forecast_of_ledger", "promise_in"]

_LEDGER: Final = "ledger"
_PROMISE: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_WEEKS: Final = 104


def promise_in(given: Path) -> str | None:
    """Return the promise that `--forecast` names: "" for `ledger`, NAME for `ledger:NAME`, or for a name of no file.
    None: it is a file.
    """
    text = str(given)
    if text == _LEDGER or text.startswith(f"{_LEDGER}:"):
        return text.partition(":")[2]
    return text if _PROMISE.fullmatch(text) and not given.exists() else None


def forecast_of_ledger(store: str, promise: str, horizon: int, seed: int) -> tuple[Forecast, tuple[str, ...]]:
    """Return the forecast of the weekly peaks of a promise, and sentences about missing slices.

    Args:
        store: of the history, which has the ledger. promise: "" if there is only one. horizon: weeks.
    Raises:
        UsageError: there is no such promise, its counts have no peaks, or there are too few weeks.
        StorageError, CloudError: the ledger cannot be read.
    """
    from loadgen.capacity.sizing.forecast import LEAST_HISTORY, Week
    from loadgen.capacity.sizing.ranges import Range
    from loadgen.programme.ledger.ledger import Ledger
    from loadgen.programme.ledger.peaks import peak_history
    from loadgen.programme.ledger.slices import DAY_S

    now = int(datetime.now(UTC).timestamp())
    ledger = Ledger.open(store)
    reading = ledger.read(now - (_WEEKS + 1) * 7 * DAY_S, now, slos=[promise] if promise else ())
    name = promise or _only(list(reading.by_slo), ledger)
    if name not in reading.by_slo:
        raise UsageError(
            f"--forecast {one_line(name, 100)}: no such file, and no promise with this name in {ledger}",
            hint="give a CSV file, or read counts of the promise: loadgen slo pull",
        )
    if clash := next((text for text in reading.clashes if text.startswith(f"{one_line(name, 100)} has ")), ""):
        raise UsageError(f"--forecast: {clash}", hint="they would be counted twice; use a promise with one source")
    try:
        found = peak_history(name, reading.by_slo[name], reading.revisions, now)
    except ValueError as error:
        raise UsageError(f"--forecast: {error}", hint="or give --peak and --growth") from None
    notes = tuple(f"{one_line(name, 100)}: {note}" for note in (*found.notes, *reading.unreadable))
    if len(found.weeks) < LEAST_HISTORY:
        why = f"; {found.notes[0]}" if found.notes else ""
        raise UsageError(
            f"the ledger has {quantity(len(found.weeks), 'whole week')} of {one_line(name, 100)}:"
            f" growth cannot be seen in fewer than {LEAST_HISTORY}{why}",
            hint="read more of it with loadgen slo pull --from 70d, or give --peak and --growth",
        )
    with needing_analysis("loadgen capacity size --forecast"):
        from loadgen.capacity.sizing.past_peaks import forecast_of
    weeks = [Week(one.monday, Range.exact(one.rate)) for one in found.weeks]
    source = f"ledger, {one_line(name, 100)}, highest requests/s of a slice"
    return forecast_of(weeks, horizon, source, seed=seed), notes


def _only(names: list[str], ledger: Ledger) -> str:
    if len(names) == 1:
        return names[0]
    if not names:
        raise UsageError(f"--forecast ledger: {ledger} has no counts", hint="read them: loadgen slo pull")
    shown = ", ".join(one_line(name, 60) for name in names[:10])
    raise UsageError(
        f"--forecast ledger: the ledger has {len(names)} promises: {shown}",
        hint=f"name one, such as --forecast ledger:{one_line(names[0], 60)}",
    )
