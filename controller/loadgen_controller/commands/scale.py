"""`loadgen scale`: multiplies the rest of a running load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.profiles.stage import MAX_RATE_PER_S, MAX_USERS
from loadgen.units import parse_rate
from loadgen_controller.api.remote import CaOption, ControllerOption, TokenFileOption, place_of
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.control_request import LoadOption, RunsDirOption, ask_run
from loadgen_controller.planning.option_parsing import parse_users

NAME = "scale"
EXAMPLES = """[bold]Examples[/bold]

loadgen scale 1.5

loadgen scale 50% 20261124-170312

loadgen scale --rate 200/s

loadgen scale --users 50 --load shoppers"""


def main(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FACTOR] [RUN]", help="Factor for the rest of the load: 1.5 or 50%. And the run to scale."
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="RATE", help="Instead of FACTOR: the rate that the load has from now on, for example 200/s."
        ),
    ] = None,
    users: Annotated[
        str | None,
        typer.Option(metavar="N", help="Instead of FACTOR: the number of users that the load has from now on."),
    ] = None,
    load: LoadOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    controller: ControllerOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Scale the rest of a running load, by a factor, or to a rate or a number of users now.

    The whole rest of the load is multiplied, later stages too. For example, --rate 200/s at a present rate of 50/s
    multiplies everything that is left by 4. The number of agents stays: see `loadgen fleet`.
    """
    errors = CollectedErrors()
    given = list(words or ())
    how = [name for name, value in (("--rate", rate), ("--users", users)) if value is not None]
    factor = None
    if len(how) > 1:
        errors.add(
            "--rate and --users exclude each other",
            "use --rate for an open load (arrivals), --users for a closed load (users)",
        )
    elif not how:
        if not given:
            errors.add("no factor was given", "for example: loadgen scale 1.5, or --rate 200/s, or --users 50")
        else:
            factor = errors.parse("FACTOR", given.pop(0), parse_factor)
    if len(given) > 1:
        errors.add(f"too many arguments: {' and '.join(given)}", "name one run at a time: loadgen scale FACTOR RUN")
    place = place_of(errors, controller, ca, token_file)
    to_rate, to_users = errors.parse("--rate", rate, _rate), errors.parse("--users", users, _users)
    errors.check()
    run = given[0] if given else None
    ask_run("scale", run, runs_dir, place, load=load, factor=factor, rate=to_rate, users=to_users)


def parse_factor(text: str) -> float:
    """Parse a factor: "1.5", "1.5x" and "150%" are all 1.5.

    Raises:
        ValueError: not a finite number above 0.
    """
    squeezed = text.strip().removesuffix("x")
    try:
        factor = float(squeezed[:-1]) / 100 if squeezed.endswith("%") else float(squeezed)
    except ValueError:
        raise ValueError(f'invalid factor "{text[:80]}"; write 1.5 or 150%') from None
    if not 0 < factor < float("inf"):
        raise ValueError(
            f'invalid factor "{text[:80]}": must be finite and above 0; write 1.5, or stop the load with loadgen pause'
        )
    return factor


def _rate(text: str) -> float:
    rate = parse_rate(text)
    if rate <= 0:
        raise ValueError(
            f'invalid rate "{text[:80]}": it must be above 0; write 200/s, or stop the load with loadgen pause'
        )
    if rate > MAX_RATE_PER_S:
        raise ValueError(f'invalid rate "{text[:80]}": it must be at most {MAX_RATE_PER_S:,.0f}/s; write a lower rate')
    return rate


def _users(text: str) -> float:
    users = parse_users(text, "; write 50, or stop the load with loadgen pause")
    if users > MAX_USERS:
        raise ValueError(
            f'invalid number of users "{text[:80]}": it must be at most {MAX_USERS:,}; write a lower number'
        )
    return users
