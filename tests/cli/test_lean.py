"""The commands of a machine that goes without the extra `analysis`, as those of a fleet and its images do."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "one", "two"),
        ("gate", "one"),
        ("history",),
        ("history", "control", "--last"),
    ],
)
def test_what_needs_the_analysis_says_how_to_get_it(words: tuple[str, ...]) -> None:
    done = lean(*words)
    assert done.returncode == 2
    what = " ".join(word for word in words if word in ("compare", "gate", "history", "control"))
    assert f"loadgen {what} needs scipy, which is not installed" in done.stderr
    assert "install the extra `analysis`, see docs/install.md" in done.stderr
