"""The commands of a machine that goes without the extra `analysis`, as those of a fleet and its images do."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import sys
for name in ("scipy", "pandas", "pyarrow", "statsmodels"):
    sys.modules[name] = None
sys.argv = ["loadgen", *sys.argv[1:]]
from loadgen_controller.cli import main
main()
"""


def lean(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT, *words], capture_output=True, text=True, check=False)


def test_controller_starts_where_nothing_is_analysed() -> None:
    done = lean("controller", "--help")
    assert (done.returncode, "--enroll" in done.stdout) == (0, True), done.stderr


def test_what_needs_the_analysis_says_how_to_get_it() -> None:
    done = lean("compare", "one", "two", "--store", "history")
    assert done.returncode == 2
    assert "loadgen compare needs scipy, which is not installed" in done.stderr
    assert "pip install loadgen[analysis]" in done.stderr
