"""`loadgen pause`: pauses a run until it is resumed."""

from __future__ import annotations

from pathlib import Path

from loadgen_controller.api.remote import CaOption, ControllerOption, TokenFileOption
from loadgen_controller.commands.control_request import LoadOption, RunArgument, RunsDirOption, ask_run, where

NAME = "pause"
EXAMPLES = """[bold]Examples[/bold]

loadgen pause

loadgen pause 20261124-170312

loadgen pause --load spike

loadgen pause --controller controller.internal:5558"""


def main(
    run: RunArgument = None,
    load: LoadOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    controller: ControllerOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Pause a run: no agent starts anything more until `loadgen resume`.

    Iterations that have started run to their end. Users of closed loads keep their cookies, connections and rows. The
    end of the run moves by the length of the pause: all arrivals are postponed, and none is lost.
    """
    ask_run("pause", run, runs_dir, where(controller, ca, token_file), load=load)
