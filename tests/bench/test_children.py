"""How the benchmarks start other programs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.children import next_line


def test_no_benchmark_forks_with_python_code_in_the_child_because_the_fork_handlers_of_grpcio_end_it() -> None:
    sources = {
        path.name: path.read_text(encoding="utf-8") for path in (Path(__file__).parents[2] / "bench").glob("*.py")
    }

    assert "children.py" in sources
    assert [name for name, text in sources.items() if "preexec_fn=" in text] == []


@pytest.mark.process
def test_a_program_that_prints_nothing_in_time_is_ended_with_a_message() -> None:
    with (
        subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one,
        pytest.raises(RuntimeError, match=r"^no figures: the program ended or printed nothing for 0.1 s$"),
    ):
        next_line(one, 0.1, "no figures")

    assert one.returncode == -signal.SIGKILL


@pytest.mark.process
def test_a_program_that_ended_is_not_waited_for() -> None:
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as one, pytest.raises(RuntimeError, match="no figures"):
        next_line(one, 60, "no figures")


@pytest.mark.process
def test_the_next_line_of_a_program_is_returned() -> None:
    with subprocess.Popen(["printf", "running\n7\n"], stdout=subprocess.PIPE) as one:
        assert [next_line(one, 60, "a line") for _ in range(2)] == [b"running\n", b"7\n"]
