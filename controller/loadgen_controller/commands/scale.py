"""`loadgen scale`: all that is left of the load, times something."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.profiles.stage import MAX_RATE_PER_S, MAX_USERS
from loadgen.units import parse_rate
from loadgen_controller.api.remote import CaOption, ControllerOption, TokenFileOption, place_of
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.commands.control_request import LoadOption, RunsDirOption, ask_run
from loadgen_controller.planning.options import parse_users

NAME = "scale"
EXAMPLES = """[bold]Examples[/bold]

loadgen scale 1.5

loadgen scale 50% 20261124-170312

loadgen scale --rate 200/s

loadgen scale --users 50 --load shoppers"""


def main(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FACTOR] [RUN]", help="What the rest of the load is times: 1.5, 50%. And which run."),
    ] = None,
    rate: Annotated[
        str | None, typer.Option(metavar="RATE", help="So that the present rate becomes this, as in 200/s.")
    ] = None,
    users: Annotated[
        str | None, typer.Option(metavar="N", help="So that the present number of users becomes this.")
    ] = None,
    load: LoadOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    controller: ControllerOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Scale all that is left of a load that goes on, by a factor or to a rate or a number of users now.

    With --rate 200/s at a present rate of 50/s everything that is left is times 4: ramps and later stages as well.
    """
    wrongs = CollectedErrors()
    given = list(words or ())
    how = [name for name, value in (("--rate", rate), ("--users", users)) if value is not None]
    factor = None
    if len(how) > 1:
        wrongs.add("--rate and --users: a load has either a rate or users", "--rate is for arrivals, --users for users")
    elif not how:
        if not given:
            wrongs.add("by how much?", "loadgen scale 1.5, or --rate 200/s, or --users 50")
        else:
            factor = wrongs.parse("FACTOR", given.pop(0), parse_factor)
    if len(given) > 1:
        wrongs.add(f"{' and '.join(given)}: one run at a time")
    place = place_of(wrongs, controller, ca, token_file)
    to_rate, to_users = wrongs.parse("--rate", rate, _rate), wrongs.parse("--users", users, _users)
    wrongs.check()
    run = given[0] if given else None
    ask_run("scale", run, runs_dir, place, load=load, factor=factor, rate=to_rate, users=to_users)


def parse_factor(text: str) -> float:
    """1.5 of "1.5", "1.5x" or "150%".

    Raises:
        ValueError: not a factor above 0.
    """
    squeezed = text.strip().removesuffix("x")
    try:
        factor = float(squeezed[:-1]) / 100 if squeezed.endswith("%") else float(squeezed)
    except ValueError:
        raise ValueError(f'"{text[:80]}" is no factor; write 1.5 or 150%') from None
    if not 0 < factor < float("inf"):
        raise ValueError(f'invalid factor "{text[:80]}": it must be finite and above 0; loadgen pause stops a load')
    return factor


def _rate(text: str) -> float:
    rate = parse_rate(text)
    if rate <= 0:
        raise ValueError(f'invalid rate "{text[:80]}": it must be above 0; loadgen pause stops a load')
    if rate > MAX_RATE_PER_S:
        raise ValueError(f'invalid rate "{text[:80]}": it must be at most {MAX_RATE_PER_S:,.0f}/s')
    return rate


def _users(text: str) -> float:
    users = parse_users(text, "; loadgen pause stops a load")
    if users > MAX_USERS:
        raise ValueError(f'invalid number of users "{text[:80]}": it must be at most {MAX_USERS:,}')
    return users
