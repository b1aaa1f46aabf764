"""`loadgen agents`: lists the agents of a controller."""

from __future__ import annotations

from loadgen.report.report_parts import Table
from loadgen_controller.api.remote import CaOption, NeededController, TokenFileOption, call
from loadgen_controller.commands.control_request import where
from loadgen_controller.console_output import echo
from loadgen_controller.screen.terminal_report import Output, print_table

NAME = "agents"
EXAMPLES = """[bold]Example[/bold]

loadgen agents --controller controller.internal:5558"""


def main(controller: NeededController, ca: CaOption = None, token_file: TokenFileOption = None) -> None:
    """List the agents of a controller: where they are, whether they are alive, and which run they work for."""
    place = where(controller, ca, token_file)
    assert place is not None
    agents = call(place, lambda client: client.agents())
    if not agents:
        echo(f"no agent has connected to {place.address} yet")
        return
    rows = tuple(
        (
            one.id,
            one.region,
            f"{one.presence}: {one.note}" if one.note else one.presence,
            one.run_id or "idle",
            one.host,
            str(one.cpus),
            str(one.workers),
            f"{one.silent_s:.1f} s",
        )
        for one in agents
    )
    head = ("agent", "region", "is", "works for", "host", "CPUs", "workers", "last heard")
    print_table(Output(), Table("", head, rows, words=5), ids=(0, 3))
