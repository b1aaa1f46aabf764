"""`loadgen resume`: continues a paused run."""

from __future__ import annotations

from pathlib import Path

from loadgen_controller.api.remote import CaOption, ControllerOption, TokenFileOption
from loadgen_controller.commands.control_request import LoadOption, RunArgument, RunsDirOption, ask_run, where

NAME = "resume"
EXAMPLES = """[bold]Examples[/bold]

loadgen resume

loadgen resume last --load spike"""


def main(
    run: RunArgument = None,
    load: LoadOption = None,
    runs_dir: RunsDirOption = Path("runs"),
    controller: ControllerOption = None,
    ca: CaOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Resume a paused run: it continues where it was paused, and ends later by the length of the pause."""
    ask_run("resume", run, runs_dir, where(controller, ca, token_file), load=load)
