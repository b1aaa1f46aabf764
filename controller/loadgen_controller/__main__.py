"""The program `loadgen`. It answers `--version` and a shell's completion itself, in a tenth of a second.

For everything else it imports the command line, which takes longer.
"""

from __future__ import annotations

# Must come first: Ctrl-C during the imports below ends the program without a traceback.
from loadgen_controller.launch.import_signals import importing  # isort: split

import os
import sys

__all__ = ["main"]

COMPLETION = "_LOADGEN_COMPLETE"
"""The variable with the name of a shell that asks for completions: see `loadgen completion`."""


def main() -> None:
    """Run `loadgen` with the arguments of the process. It ends the process with the exit code."""
    if sys.argv[1:] == ["--version"]:
        from importlib.metadata import version

        sys.stdout.write(f"loadgen {version('loadgen')}\n")
    elif COMPLETION in os.environ:
        from loadgen_controller.completion.answer import answer

        sys.stdout.write(answer(os.environ))
    else:
        from loadgen_controller.cli import main as run_command_line

        run_command_line()
    importing.end()


if __name__ == "__main__":
    main()
