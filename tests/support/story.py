"""Does what a tutorial page says, word for word: writes its files, opens its shop, and runs its commands in bash."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.ports import free_port

__all__ = ["Story", "blocks_of", "command"]

_BLOCK = re.compile(r"^```(python|toml|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Story:
    """A folder and a shell in it. A block that opens a shop leaves it open, in place of the one before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.said = ""
        self._shop: subprocess.Popen[str] | None = None
        self._path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def write(self, name: str, text: str) -> None:
        """Write a file of the page."""
        (self.folder / name).write_text(text)

    def sh(self, text: str) -> int:
        """Run a block, or open the shop that it starts. Return 0 or 1, the exit code of its last command."""
        if text.startswith("loadgen target"):
            self._open(shlex.split(text))
            return 0
        environment = {**os.environ, "PATH": self._path, "COLUMNS": "160"}
        environment.pop("LOADGEN_STORE", None)
        done = subprocess.run(
            ["bash", "-ec", text], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=900
        )
        self.said = done.stdout
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.returncode

    def _open(self, words: list[str]) -> None:
        self.close()
        shop = subprocess.Popen([command(words[0]), *words[1:]], stdout=subprocess.PIPE, text=True)
        self._shop = shop
        assert shop.stdout is not None
        assert "the demo shop is open" in shop.stdout.readline()

    def close(self) -> None:
        """Stop the shop."""
        if self._shop is not None:
            self._shop.send_signal(signal.SIGINT)
            self._shop.communicate(timeout=60)
            self._shop = None


def blocks_of(page: Path, port: str, to_port: int) -> Iterator[tuple[str, str]]:
    """Return the language and the text of each block of a page, with another port for its shop."""
    text = page.read_text(encoding="utf-8").replace(port, str(to_port))
    return ((kind, block) for kind, block in _BLOCK.findall(text))


def command(name: str) -> str:
    """Return the path of a command of this environment."""
    return str(Path(sys.executable).with_name(name))
