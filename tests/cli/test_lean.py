"""What programs import: not the extra `analysis` on machines of a fleet, and nothing that a command does not use."""

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


def imported(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("name", ["feed", "Plan"])
def test_a_public_name_can_be_the_first_that_a_program_imports(name: str) -> None:
    assert "loadgen.dsl.data.feed" in imported(f"from loadgen import {name}")


def test_the_program_starts_without_its_commands() -> None:
    assert not any(
        name.startswith("loadgen_controller.commands.") for name in imported("import loadgen_controller.cli")
    )


def test_the_agents_supervisor_starts_without_clients_and_plans() -> None:
    names = imported("import loadgen_agent.cli")

    assert names.isdisjoint({"httpx", "loadgen.clients.http", "loadgen.dsl.plans.plan"})
