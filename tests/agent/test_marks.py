"""Marks outlive the process that made them, and cost no file."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from loadgen_agent.shared_progress import Progress, progress_at

_CHILD = """
import sys
from loadgen_agent.shared_progress import progress_at
marks = progress_at(int(sys.argv[1]))
print(marks[0], marks[49], flush=True)
marks[0] += 7
"""


def test_what_one_process_marked_the_next_one_reads() -> None:
    marks = Progress()
    command = [sys.executable, "-c", _CHILD, str(marks.fd)]
    said = [
        subprocess.run(command, pass_fds=[marks.fd], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert said == [["0", "0"], ["7", "0"]]
    assert progress_at(os.dup(marks.fd))[0] == 14
    marks.close()
    marks.close()


def test_where_there_is_no_memory_file_a_file_without_a_name_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    marks = Progress()
    again = os.dup(marks.fd)
    progress_at(os.dup(marks.fd))[3] = 5
    assert progress_at(again)[3] == 5
    marks.close()
