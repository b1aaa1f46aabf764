"""Scenarios for tests: written where a test says, and the faults that loading them gives."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import Fault, ScenarioError

__all__ = ["FAULTY", "HEAD", "browse_with", "faults_of", "told", "write"]

FAULTY = Path(__file__).parent.parent / "data" / "scenarios" / "faulty"
"""Files with known faults; each says which in its docstring, where it has one."""

HEAD = """\
from dataclasses import dataclass
from loadgen import Plan, User, arrivals, error_ratio, feed, iterations, journey, p, param, users

@journey
async def browse(user: User) -> None:
    async with user.step("list"):
        await user.http.get("/")

"""
"""Eight lines: what most scenarios begin with."""


def write(folder: Path, text: str, name: str = "scenario.py") -> Path:
    """A file in `folder`, its text dedented."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text))
    return path


def browse_with(folder: Path, **arguments: str) -> Path:
    """A scenario of one journey; `arguments` are the source text of the plan's, beside usual ones."""
    usual = {"target": '"http://127.0.0.1:8080"', "load": 'arrivals("10/s").hold("10s")', "mix": "browse"}
    lines = [f"    {name}={text},\n" for name, text in (usual | arguments).items()]
    path = folder / "scenario.py"
    path.write_text(f"{HEAD}plan = Plan(\n{''.join(lines)})\n")
    return path


def faults_of(path: Path, plan: str | None = None, overrides: Overrides | None = None) -> tuple[Fault, ...]:
    """What loading it finds wrong; empty when nothing."""
    try:
        load(path, plan, overrides)
    except ScenarioError as error:
        return error.faults
    return ()


def told(path: Path, plan: str | None = None, overrides: Overrides | None = None) -> list[str]:
    """The same as "file.py:12 message | hint"."""
    return [
        f"{Path(f.file).name}:{f.line} {f.message} | {f.hint}".removesuffix(" | ")
        for f in faults_of(path, plan, overrides)
    ]
