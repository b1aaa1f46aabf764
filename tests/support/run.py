"""Runs `loadgen` as a person would: a process of its own, its exit code, what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.warm_commands import WarmPopen

__all__ = ["DATA", "Finished", "ends_with", "loadgen", "run_folder", "started"]

_PROGRAM = (sys.executable, "-m", "loadgen_controller.cli")
DATA = Path(__file__).parents[1] / "data" / "scenarios" / "runs"


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended."""

    exit_code: int
    out: str
    err: str
    runs_dir: Path

    @property
    def folder(self) -> Path:
        return run_folder(self.runs_dir)

    @property
    def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return summary

    def row(self, kind: str, *, region: str = "*", outcome: str = "*", **names: str | None) -> dict[str, Any]:
        """The one series row of these names."""
        found: list[dict[str, Any]] = [
            row
            for row in self.summary["series"]
            if (row["kind"], row["region"], row["outcome"]) == (kind, region, outcome)
            and all(row[name] == value for name, value in names.items())
        ]
        assert len(found) == 1, f"{len(found)} rows: {[(r['kind'], r['step'], r['request']) for r in found]}"
        return found[0]


def ends_with(exit_code: int, summary: dict[str, Any], expected: int) -> bool:
    """The expected exit code, or 4, which comes first, where the machine was too busy to measure.

    What comes before what is tested without a clock, in tests/controller/test_verdict.py.
    """
    return exit_code == expected or (exit_code == 4 and summary["validity"]["verdict"] == "invalid")


def run_folder(runs_dir: Path) -> Path:
    """The only run below `runs_dir`."""
    folders = [path for path in runs_dir.iterdir() if path.is_dir()]
    assert len(folders) == 1, folders
    return folders[0]


def _command(*args: str, runs_dir: Path) -> list[str]:
    where = ["--runs-dir", str(runs_dir)] if args[0] == "run" else []
    return [*_PROGRAM, *args, *where]


def loadgen(*args: str, runs_dir: Path, env: Mapping[str, str] | None = None, timeout_s: float = 240) -> Finished:
    """Run it to its end."""
    process = WarmPopen(
        _command(*args, runs_dir=runs_dir),
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException:  # also the time limit of pytest
            process.kill()
            raise
    return Finished(process.returncode, out, err, runs_dir)


@contextmanager
def started(*args: str, runs_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Run it beside the test; ended by the test, or killed when the block is left."""
    with subprocess.Popen(
        _command(*args, runs_dir=runs_dir),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
