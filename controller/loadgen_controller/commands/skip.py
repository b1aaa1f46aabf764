"""`loadgen skip`: skips the rest of the present stage of a load."""

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
    """Skip the rest of the present stage: the load continues with the next stage, and ends that much sooner.

    A stage is one element of the load in the plan: a ramp, a hold or a step. The last stage cannot be skipped;
    `loadgen stop` ends a run.
    """
    ask_run("skip", run, runs_dir, where(controller, ca, token_file), load=load)
