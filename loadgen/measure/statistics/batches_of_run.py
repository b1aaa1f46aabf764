"""Makes the batches of a run that is over, from its deltas or its stored intervals, without the warm-up.

The length of the warm-up is stated in the plan, or it is found (`warmup.py`); then the measured time is counted again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from loadgen.measure.deltas.delta import Delta
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.stored_interval import Cell
from loadgen.measure.objectives.terms import Objective
from loadgen.measure.statistics.batch_means import Batches
from loadgen.measure.statistics.warmup import Cut, found_cut, found_cut_in_cells
from loadgen.units import NS_PER_S

__all__ = ["read_batches", "recounted", "recounted_cells"]


def read_batches(
    deltas: Iterable[tuple[str, Delta]],
    start_ns: int,
    end_ns: int,
    interval_ns: int = NS_PER_S,
    *,
    recount: bool = False,
    steady_ns: int = 0,
    objectives: Sequence[Objective] = (),
) -> Batches:
    """Return a new Batches of all (region, delta) pairs, which must be in the order in which they were merged.

    start_ns, end_ns, recount, steady_ns, objectives: as in `Batches`.
    """
    batches = Batches(start_ns, end_ns, interval_ns, recount=recount, steady_ns=steady_ns, objectives=objectives)
    batches.read(deltas)
    return batches


def recounted_cells(
    live: Merge,
    cells: Callable[[], Iterable[Cell]],
    *,
    end_ns: int | None,
    interval_ns: int = NS_PER_S,
    warmup_ns: int = 0,
    is_found: bool = False,
    steady: Callable[[int, int], int] = lambda start_ns, end_ns: start_ns,
    objectives: Sequence[Objective] = (),
) -> tuple[Batches, Cut | None]:
    """Return the same as `recounted`, computed from the cells of the run (its stored intervals), which is faster.

    live: the merge of all deltas of the run. cells: returns all cells in order each time it is called.
    """
    if end_ns is None:
        end_ns = max((cell.end_ns for cell in cells()), default=0)
    cut = found_cut_in_cells(cells(), end_ns, interval_ns) if is_found else None
    start_ns = warmup_ns if cut is None else cut.cut_ns
    steady_ns = steady(start_ns, end_ns)
    batches = Batches(
        start_ns, end_ns, interval_ns, recount=cut is not None, steady_ns=steady_ns, objectives=objectives
    )
    batches.add_cells(live, cells())
    return batches, cut


def recounted(
    deltas: Callable[[], Iterable[tuple[str, Delta]]],
    *,
    end_ns: int | None,
    interval_ns: int = NS_PER_S,
    warmup_ns: int = 0,
    is_found: bool = False,
    steady: Callable[[int, int], int] = lambda start_ns, end_ns: start_ns,
    objectives: Sequence[Objective] = (),
) -> tuple[Batches, Cut | None]:
    """Return (the batches of a run that is over, the cut of its warm-up). The cut is None unless it had to be found.

    Args:
        deltas: returns all of (region, delta) each time it is called, in the order in which they were merged.
        end_ns: end of the load; None: when the last delta ended, for loads whose end depends on the target.
        warmup_ns: length of the warm-up as stated in the plan.
        steady: returns from when on the load is steady, given start and end of the measured time, in ns from T0.
        is_found: the plan has `warmup="auto"`; the batches then replace the merge of the run, without the warm-up.

    Cost: a pass over the deltas, and a second one if the warm-up or the end has to be found.
    """
    if end_ns is None:
        end_ns = max((delta.end_ns for _, delta in deltas()), default=0)
    cut = found_cut(deltas(), end_ns, interval_ns) if is_found else None
    start_ns = warmup_ns if cut is None else cut.cut_ns
    steady_ns = steady(start_ns, end_ns)
    batches = read_batches(
        deltas(), start_ns, end_ns, interval_ns, recount=cut is not None, steady_ns=steady_ns, objectives=objectives
    )
    return batches, cut
