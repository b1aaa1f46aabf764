"""`loadgen slo exclude`: excludes a time, such as maintenance, from attainment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from loadgen.errors import ExitCode
from loadgen.history.store.write_once_storage import Place, place_of
from loadgen.outside_text import one_line
from loadgen.programme.ledger.exclusions import Exclusion, exclude, is_excluded
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import DAY_S
from loadgen.programme.status import time_text
from loadgen.similar_names import did_you_mean
from loadgen.units import format_count, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.shared_options import ByOption, EnvOption, StoreOption
from loadgen_controller.commands.slo_parts.files import FormatOption, check_format, read_slos
from loadgen_controller.commands.slo_parts.pull import FromOption, ToOption, parse_past
from loadgen_controller.commands.store_option import store_of
from loadgen_controller.console_output import echo, echo_json

__all__ = ["EXCLUDE", "exclude_time"]

EXCLUDE = """[bold]Examples[/bold]

loadgen slo exclude --from 2026-07-21T02:00 --to 2026-07-21T03:00 --because "announced maintenance"

loadgen slo exclude --from 2h --because "the exporter was broken" --slo checkout-fast"""


def exclude_time(
    since: FromOption,
    because: Annotated[str, typer.Option(metavar="TEXT", help="The reason; it is stored.")],
    until: ToOption = "0s",
    slo: Annotated[
        list[str] | None, typer.Option("--slo", metavar="NAME", help="Only for this promise. Repeatable. Default: all.")
    ] = None,
    store: StoreOption = None,
    env: EnvOption = None,
    by: ByOption = "",
    explain: Annotated[
        bool, typer.Option("--explain", help="Show how many slices and requests of each promise are left out.")
    ] = False,
    output_format: FormatOption = "text",
) -> int:
    """Exclude a time, such as maintenance, from attainment. The counts stay: attainment is shown with and without it.

    The decision is stored with its author and its reason, and is never removed.
    """
    errors, now = CollectedErrors(), datetime.now(UTC)
    errors.catch(lambda: check_format(output_format))
    start = errors.parse("--from", since, lambda text: parse_past(text, now))
    end = errors.parse("--to", until, lambda text: parse_past(text, now))
    if bad := [name for name in slo or () if "," in name or not name.strip()]:
        errors.add(f'--slo: invalid name "{one_line(bad[0], 80)}"', "give --slo once for each promise")
    where = store_of(errors, store, env)
    opened = errors.catch(lambda: place_of(where))
    errors.check()
    assert start is not None
    assert end is not None
    assert opened is not None
    from loadgen_controller.past_runs.read_run_for_history import who  # slow to import; `slo status` has 1.5 s

    given = Exclusion(int(start.timestamp()), int(end.timestamp()), because, tuple(slo or ()), who(by))
    made = exclude(opened, given)
    for text in _unknown(made.slos):
        echo(f"note: {text}", err=True)
    left_out = _left_out(opened, made) if explain else {}
    if output_format == "json":
        document: dict[str, Any] = {
            "from": time_text(made.start),
            "to": time_text(made.end),
            "promises": list(made.slos),
            "because": made.because,
            "by": made.by,
        }
        if explain:
            document["left_out"] = {
                name: {"slices": one.slices, "total": one.total, "bad": one.bad} for name, one in left_out.items()
            }
        echo_json(json.dumps(document, indent=2, ensure_ascii=False))
        return ExitCode.PASSED
    of = f" for {', '.join(one_line(name, 80) for name in made.slos)}" if made.slos else ""
    echo(f"excluded{of} from {time_text(made.start)} to {time_text(made.end)}: {one_line(made.because, 300)}")
    if explain:
        for promise, one in left_out.items():
            text = f"{format_count(one.bad)} of {quantity(one.total, 'request')} bad"
            echo(f"  {one_line(promise, 80)}: {quantity(one.slices, 'slice')} left out: {text}")
        if not left_out:
            echo("  the ledger has no counts of this time yet")
        echo("  a slice of which a part is excluded is left out as a whole; the counts stay in the ledger")
    return ExitCode.PASSED


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """What an exclusion leaves out of one promise."""

    slices: int
    total: int
    bad: int


def _left_out(place: Place, made: Exclusion) -> dict[str, _LeftOut]:
    """Return the slices that the exclusion leaves out, by promise.

    Raises:
        StorageError, CloudError: the ledger cannot be read. UsageError: pyarrow is not installed.
    """
    reading = Ledger(place).read(made.start - DAY_S, made.end, slos=made.slos)  # slices are at most a day long
    found = {}
    for name, counts in sorted(reading.by_slo.items()):
        inside = is_excluded(name, counts.start, counts.width, [made])
        total, good = int(counts.total[inside].sum()), int(counts.good[inside].sum())
        if inside.any():
            found[name] = _LeftOut(int(inside.sum()), total, total - good)
    return found


def _unknown(names: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each name that no promise in the folder slos has: an exclusion of it changes nothing."""
    folder = Path("slos")
    if not names or not folder.is_dir() or not any(one.suffix in (".yaml", ".yml") for one in folder.iterdir()):
        return
    known = [one.name for one in read_slos(None).slos.objectives]
    for name in names:
        if name not in known:
            nearest = did_you_mean(name, known)
            yield f'no promise in slos is named "{one_line(name, 80)}"{f"; {nearest}" if nearest else ""}'
