"""The plan of a sweep, fixed before its first run: the file `sweep.json` in its folder.

A resumed sweep takes everything from this file. So it is the same sweep, with the same order and the same options.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from loadgen.analysis.factors.cells import Design
from loadgen.analysis.factors.order import Planned
from loadgen.atomic_files import atomic_write
from loadgen.errors import StorageError, UsageError

__all__ = [
    "FILE",
    "RUNS",
    "Noise",
    "SweepPlan",
    "levels_text",
    "plan_as_json",
    "plan_from_json",
    "read_plan",
    "write_plan",
]

FILE: Final = "sweep.json"
RUNS: Final = "runs"
"""The folder of the run folders, in the folder of the sweep."""
FORMAT: Final = 1
_MOST_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Noise:
    """The deviation between runs of the same cell, as it was known or assumed before the sweep."""

    sd: float
    """Standard deviation of the natural logarithm of the first response; 0.04 is 4 %."""
    df: int = 0
    """Degrees of freedom behind it; 0: assumed."""
    source: str = "assumed"
    """"assumed", or where it was measured: "14 accepted runs of 2 keys in history"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """A sweep as it was planned. Only its journal (`loadgen/sweep/journal.py`) grows afterwards."""

    sweep_id: str
    """Such as "20261129-143000-checkout-a1b2"."""
    file: str
    """The scenario file, as an absolute path."""
    plan: str
    """Name of the plan in it."""
    target: str
    bundle_sha256: str
    """Digest of all files that the agents get, in whichever cell."""
    files: Mapping[str, str]
    """Digest of each of them by its name, so that a refusal names the files that changed."""
    design: Design
    order: tuple[Planned, ...]
    """All runs, in the order in which they are made."""
    repeats: int
    seed: int
    responses: tuple[str, ...]
    """The responses of `--of`; the first one decides."""
    block: Literal["repeat", "day"] = "repeat"
    plan_values: tuple[str, ...] = ()
    """Names of the factors that are options of the run, such as "rate"; all others are params of the scenario."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options of the run that were given, by their names in `RunOptions`."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Params that are the same in all cells, from `--set`."""
    between: str = ""
    between_timeout_s: float = 300.0
    is_early: bool = False
    looks: tuple[int, ...] = ()
    """Blocks after which `--early` looks at the results."""
    noise: Noise = field(default_factory=lambda: Noise(0.04))
    created_at: str = ""
    """RFC 3339, UTC."""
    format: int = FORMAT

    def planned(self, number: int) -> Planned:
        """Return the run with this number (1 ..)."""
        return self.order[number - 1]

    def levels(self, cell: int) -> dict[str, str]:
        """Return {factor: level} of a cell (index in `design.cells`)."""
        return {one.name: level for one, level in zip(self.design.factors, self.design.cells[cell], strict=True)}

    @property
    def blocks(self) -> tuple[int, ...]:
        """Return the numbers of the blocks in the order of the runs."""
        return tuple(dict.fromkeys(one.block for one in self.order))


def levels_text(levels: Mapping[str, str]) -> str:
    """Return the levels of a cell as text: "settle 8, payout 0"."""
    return ", ".join(f"{name} {level}" for name, level in levels.items())


def plan_as_json(plan: SweepPlan) -> bytes:
    """Return the plan as an indented JSON document."""
    return msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n"


def plan_from_json(data: bytes, where: str = FILE) -> SweepPlan:
    """Return the plan in a JSON document that `plan_as_json` wrote.

    Raises:
        StorageError: the document is damaged, contradicts itself, or is of a newer loadgen.
    """
    hint = "the file is written once by `loadgen sweep` and must not be edited; start a new sweep"
    try:
        found = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        number = msgspec.json.decode(found.get("format", msgspec.Raw(b"0")))
        if isinstance(number, int) and number > FORMAT:
            raise StorageError(
                f"{where} has format {number}: this loadgen reads up to {FORMAT}", hint="use a newer loadgen"
            )
        plan = msgspec.json.decode(data, type=SweepPlan)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StorageError(f"{where} is damaged: {error}", hint=hint) from error
    if fault := next(_contradictions(plan), ""):
        raise StorageError(f"{where} is damaged: {fault}", hint=hint)
    return plan


def _contradictions(plan: SweepPlan) -> Iterator[str]:
    cells = len(plan.design.cells)
    if any(len(cell) != len(plan.design.factors) for cell in plan.design.cells):
        yield "a cell does not have one level of each factor"
    for n, one in enumerate(plan.order, 1):
        if one.number != n or not 0 <= one.cell < cells:
            yield f"run {n} of the order has number {one.number} and cell {one.cell} of {cells}"
    if not plan.order or not plan.responses:
        yield "it has no runs or no responses"


def write_plan(folder: Path, plan: SweepPlan) -> None:
    """Write `sweep.json` into the folder of a new sweep; it survives a crash of the machine.

    Raises:
        OSError: it cannot be written, or there is one already.
    """
    atomic_write(folder / FILE, plan_as_json(plan), 0o600, is_exclusive=True, is_durable=True, may_lack_links=True)


def read_plan(folder: Path) -> SweepPlan:
    """Return the plan of the sweep in a folder.

    Raises:
        UsageError: there is no sweep in it. StorageError: the file is damaged.
    """
    path = folder / FILE
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise StorageError(f"{path} is larger than {_MOST_BYTES >> 20} MB", hint="it is not a file of loadgen")
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{folder} has no sweep: {path.name} cannot be read ({error.strerror or error})",
            hint="--resume takes the folder that the sweep printed when it started, such as sweeps/20261129-143000",
        ) from error
    return plan_from_json(data, str(path))
