"""`loadgen skip`: on to the next stage of the load."""

from __future__ import annotations

from pathlib import Path

from loadgen_controller.api.remote import CaOption, ControllerOption, TokenFileOption
from loadgen_controller.commands.control_request import LoadOption, RunArgument, RunsDirOption, ask_run, where

NAME = "skip"
EXAMPLES = """[bold]Examples[/bold]

loadgen skip

loadgen skip --load base"""


def main(
    run: RunArgument = None,
    load: LoadOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    controller: ControllerOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Skip what is left of the present stage: the load goes on with the next one, and ends as much sooner.

    A stage is what a plan says in one word: a ramp, a hold, a step. In its last one there is nothing to skip to;
    `loadgen stop` ends a run.
    """
    ask_run("skip", run, runs_dir, where(controller, ca, token_file), load=load)
