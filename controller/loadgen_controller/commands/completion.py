"""`loadgen completion`: prints the script with which a shell completes commands, options, runs, plans and loads."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from loadgen_controller.completion.shell_scripts import Shell, script

EXAMPLES = """[bold]Examples[/bold]

loadgen completion bash > ~/.local/share/bash-completion/completions/loadgen

loadgen completion zsh > "${fpath[1]}/_loadgen"

loadgen completion fish > ~/.config/fish/completions/loadgen.fish

loadgen completion powershell >> $PROFILE"""


def main(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="The shell: bash, zsh, fish or powershell.")],
) -> None:
    """Print the script with which a shell completes `loadgen`: commands, options, runs, plans and loads.

    Scenarios are read and not run. For bash, the script can also be loaded once: `eval "$(loadgen completion bash)"`.
    """
    sys.stdout.write(script(shell))
