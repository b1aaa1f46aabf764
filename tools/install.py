"""Install pinned packages into the environment of this Python, and show how far it is: `python tools/install.py`.

    .venv/bin/python tools/install.py "for the demo: 230 MB, about half a minute" requirements-base.lock ...

It needs nothing but Python and pip, because it runs before anything is installed. Packages are checked by hash. pip's
own output is one line for each package, which is a page for a demo; an error is shown in full.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["main", "progress"]

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]


def progress(lines: Iterable[str], total: int, *, is_terminal: bool) -> Iterator[str]:
    """Yield texts that show how many of `total` packages pip has collected, from the lines of its output.

    On a terminal a text replaces the one before; elsewhere every tenth package has a line.
    """
    collected, is_installing = 0, False
    for line in lines:
        if line.startswith(("Collecting ", "Requirement already satisfied: ")):
            collected += 1
            if is_terminal:
                yield f"\r  {collected} of {total} packages"
            elif collected % 10 == 0:
                yield f"  {collected} of {total} packages\n"
        elif line.startswith("Installing collected packages") and not is_installing:
            is_installing = True
            yield ("\r" if is_terminal else "") + "  unpacking ...              \n"


def main(what: str, locks: list[str]) -> int:
    """Install the packages of the locks, and this project. Return pip's exit code."""
    total = sum(len(re.findall(r"^[\w.-]+==", Path(lock).read_text(encoding="utf-8"), re.MULTILINE)) for lock in locks)
    print(f"installing {total} packages into {Path(sys.prefix).name}, {what}", flush=True)
    began = time.monotonic()
    wanted = [word for lock in locks for word in ("-r", lock)]
    # Python compiles a module when a program first imports it. pip would compile all of them, a third of its time.
    options = ["--require-hashes", "--no-compile", "--progress-bar", "off"]
    pip = subprocess.Popen([*PIP, "install", *options, *wanted], stdout=subprocess.PIPE, text=True)
    assert pip.stdout is not None
    for text in progress(pip.stdout, total, is_terminal=sys.stdout.isatty()):
        print(text, end="", flush=True)
    code = pip.wait() or subprocess.call([*PIP, "install", "--quiet", "--no-deps", "--no-build-isolation", "-e", "."])
    if not code:
        print(f"installed in {time.monotonic() - began:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
