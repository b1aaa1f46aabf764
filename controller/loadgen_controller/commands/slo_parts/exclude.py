"""`loadgen slo exclude`: excludes a time, such as maintenance, from attainment."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from loadgen.errors import ExitCode
from loadgen.history.store.write_once_storage import place_of
from loadgen.outside_text import one_line
from loadgen.programme.exclusions import Exclusion, exclude
from loadgen.programme.status import time_text
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.shared_options import ByOption, EnvOption, StoreOption
from loadgen_controller.commands.slo_parts.files import FormatOption, check_format
from loadgen_controller.commands.slo_parts.pull import FromOption, ToOption
from loadgen_controller.console_output import echo, echo_json
from loadgen_controller.past_runs.listing import parse_since
from loadgen_controller.planning.option_parsing import store_of

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
    output_format: FormatOption = "text",
) -> int:
    """Exclude a time, such as maintenance, from attainment. The counts stay: attainment is shown with and without it.

    The decision is stored with its author and its reason, and is never removed.
    """
    errors, now = CollectedErrors(), datetime.now(UTC)
    errors.catch(lambda: check_format(output_format))
    start = errors.parse("--from", since, lambda text: parse_since(text, now))
    end = errors.parse("--to", until, lambda text: parse_since(text, now))
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
    if output_format == "json":
        document = {
            "from": time_text(made.start),
            "to": time_text(made.end),
            "promises": list(made.slos),
            "because": made.because,
            "by": made.by,
        }
        echo_json(json.dumps(document, indent=2, ensure_ascii=False))
        return ExitCode.PASSED
    of = f" for {', '.join(one_line(name, 80) for name in made.slos)}" if made.slos else ""
    echo(f"excluded{of} from {time_text(made.start)} to {time_text(made.end)}: {one_line(made.because, 300)}")
    return ExitCode.PASSED
