"""In which order the cells are run: random within blocks, with control runs that show drift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadgen.analysis.factors.cells import Design
from loadgen.analysis.factors.fitting.model import model_of

__all__ = ["Planned", "control_cell", "run_order"]


@dataclass(frozen=True, slots=True)
class Planned:
    """One run of the order."""

    number: int
    """1, 2, ... in the order in which the runs start, control runs included."""
    cell: int
    """Index in the cells of the design."""
    repeat: int
    """1, 2, ...: the number of the run within its cell. Control runs are counted separately."""
    block: int
    """1, 2, ...: runs of one block are close in time, on one day or on one host."""
    is_control: bool = False
    """A run of the reference cell that only shows drift. The analysis leaves it out."""


def run_order(
    design: Design, repeats: int, seed: int, *, blocks: int | None = None, control_every: int | None = None
) -> tuple[Planned, ...]:
    """Return the runs in a random order within blocks. The same arguments give the same order.

    Args:
        repeats: how often each cell is run; at least 1.
        blocks: the number of blocks. Default: one whole repeat a block. Fewer blocks hold several whole repeats.
            More blocks split each repeat at random.
        control_every: a control run before the first run, after every n runs, and at the end. Default: none.

    Raises:
        ValueError: repeats below 1, control_every below 1, or blocks that split repeats unevenly.
    """
    blocks = repeats if blocks is None else blocks
    if repeats < 1:
        raise ValueError(f"invalid number of repeats {repeats}: must be at least 1")
    if control_every is not None and control_every < 1:
        raise ValueError(f"invalid control_every {control_every}: must be at least 1")
    if blocks < 1 or (repeats % blocks and blocks % repeats) or blocks > repeats * len(design.cells):
        raise ValueError(
            f"{blocks} blocks do not divide {repeats} repeats of {len(design.cells)} cells evenly: "
            f"the number of blocks must divide the repeats, or be a multiple of them"
        )
    rng = np.random.default_rng(seed)
    runs: list[Planned] = []
    controls, since = 0, 0
    control = control_cell(design)

    def add_control(block: int) -> None:
        nonlocal controls, since
        controls, since = controls + 1, 0
        runs.append(Planned(len(runs) + 1, control, controls, block, is_control=True))

    for block, members in enumerate(_blocks(len(design.cells), repeats, blocks, rng), start=1):
        for cell, repeat in members:
            if control_every is not None and (not runs or since >= control_every):
                add_control(block)
            since += 1
            runs.append(Planned(len(runs) + 1, cell, repeat, block))
    if control_every is not None and since:
        add_control(blocks)
    return tuple(runs)


def control_cell(design: Design) -> int:
    """Return the cell of control runs: the reference cell, or the one nearest to the middle of all ranges."""
    if design.kind != "lhs":
        return 0
    codes = model_of(design).codes
    squares = [
        sum(
            float(code[one.levels.index(level), 0]) ** 2
            for code, one, level in zip(codes, design.factors, cell, strict=True)
        )
        for cell in design.cells
    ]
    return squares.index(min(squares))


def _blocks(cells: int, repeats: int, blocks: int, rng: np.random.Generator) -> list[list[tuple[int, int]]]:
    """Return (cell, repeat) of each run, block by block. Each block is shuffled."""
    found: list[list[tuple[int, int]]] = []
    if blocks <= repeats:
        each = repeats // blocks
        for block in range(blocks):
            members = [(cell, block * each + part + 1) for part in range(each) for cell in range(cells)]
            found.append([members[at] for at in rng.permutation(len(members))])
        return found
    for repeat in range(1, repeats + 1):
        shuffled = rng.permutation(cells)
        found += [[(int(cell), repeat) for cell in part] for part in np.array_split(shuffled, blocks // repeats)]
    return found
