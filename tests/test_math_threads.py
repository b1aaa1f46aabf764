"""Both programs limit numerical libraries to one thread, before one of these is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from loadgen.math_threads import VARIABLES

_SHOW = "import os, sys; print('numpy' in sys.modules, *(os.environ.get(name) for name in {!r}))"


def shown(code: str, **more: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), **more}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("program", ["loadgen_controller.cli", "loadgen_agent.cli"])
def test_programs_set_one_thread_before_numpy_is_loaded(program: str) -> None:
    limits = "import loadgen.math_threads; " + _SHOW.format(VARIABLES)
    assert shown(limits) == "False 1 1"
    assert shown(f"import {program}; " + _SHOW.format(VARIABLES)).endswith(" 1 1")
    first = next(line for line in _source(program) if "import " in line and "__future__" not in line)
    assert first.startswith("import loadgen.math_threads")


def test_variables_of_the_user_stay() -> None:
    code = "import loadgen.math_threads; " + _SHOW.format(VARIABLES)
    assert shown(code, OPENBLAS_NUM_THREADS="2") == "False 2 1"
    assert shown(code, OMP_NUM_THREADS="4") == "False None None"


def _source(program: str) -> list[str]:
    code = f"import {program} as one; print(open(one.__file__).read())"
    return shown(code).splitlines()
