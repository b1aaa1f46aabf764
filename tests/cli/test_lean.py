"""What programs import: not the extra `analysis` on machines of a fleet, and nothing that a command does not use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
        ("sweep", "shop.py", "-P", "a=1,2"),
    ],
)
def test_what_needs_the_analysis_says_how_to_get_it(words: tuple[str, ...]) -> None:
    done = lean(*words)
    assert done.returncode == 2
    what = " ".join(word for word in words if word in ("compare", "gate", "history", "control", "sweep"))
    assert f"loadgen {what} needs scipy, which is not installed" in done.stderr
    assert f"install the extra `analysis`: {sys.executable} -m pip install" in done.stderr
    assert "scipy>=" in done.stderr


def imported(code: str, **variables: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint()\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | variables,
    )
    return set(done.stdout.splitlines()[-1].split())


def imported_by(*words: str, **variables: str) -> set[str]:
    """The modules that are loaded when `loadgen WORDS` has ended."""
    code = f"""
sys.argv = {["loadgen", *words]!r}
from loadgen_controller.__main__ import main
try:
    main()
except SystemExit:
    pass
"""
    return imported(code, **variables)


ENTRY = {
    "loadgen_controller",
    "loadgen_controller.__main__",
    "loadgen_controller.launch",
    "loadgen_controller.launch.import_signals",
}
HEAVY = {"numpy", "grpc", "httpx", "zmq", "msgspec", "cryptography", "google.protobuf", "loadgen.dsl", "loadgen.aws"}


def test_the_version_is_shown_without_the_command_line() -> None:
    assert {name for name in imported_by("--version") if name.startswith("loadgen")} == ENTRY
    assert imported_by("--version").isdisjoint({*HEAVY, "typer", "rich"})


def test_a_shell_is_answered_without_the_command_line() -> None:
    names = imported_by(_LOADGEN_COMPLETE="bash", _LOADGEN_LINE="loadgen run scenarios/checkout.py:")

    completion = {name for name in names if name.startswith("loadgen_controller.completion")}
    assert {name for name in names if name.startswith("loadgen")} == ENTRY | completion
    assert names.isdisjoint({*HEAVY, "typer", "rich"})


@pytest.mark.parametrize("words", [(), ("--help",), ("rnu",)])
def test_help_and_typos_import_no_command(words: tuple[str, ...]) -> None:
    names = imported_by(*words)

    assert names.isdisjoint(HEAVY)
    assert not any(name.startswith("loadgen_controller.commands.") for name in names)


def test_a_list_of_runs_needs_no_part_that_loads_or_measures(tmp_path: Path) -> None:
    names = imported_by("runs", "list", "--runs-dir", str(tmp_path))

    assert names.isdisjoint(HEAVY - {"msgspec"})


def test_the_state_of_promises_needs_no_channel_and_no_source() -> None:
    names = imported("import loadgen_controller.commands.slo")

    assert names.isdisjoint({"httpx", "boto3", "scipy", "pandas", "pyarrow"})


def test_promises_need_nothing_of_plans_and_measurements() -> None:
    names = imported("import loadgen_controller.commands.slo")

    assert names.isdisjoint({"loadgen.dsl.plans", "loadgen.measure.merging", "hdrh", "asyncio", "importlib.metadata"})


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
