"""`loadgen pause`: nothing more is started until it is resumed."""

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
    """Pause a run that goes on: nothing more is started, on any agent, until it is resumed.

    What has started goes on to its end. Users of closed loads stay who they are, with cookies, connections and rows.
    The end of the run moves with the pause; what is due in it is due afterwards, to the last arrival.
    """
    ask_run("pause", run, runs_dir, where(controller, ca, token_file), load=load)
