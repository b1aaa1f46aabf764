"""Judges a run again from its folder, independently of the controller that ran it."""

from __future__ import annotations

import msgspec

from loadgen.errors import StorageError
from loadgen.measure.merging.merge import Merge
from loadgen.measure.run_folder.rundir import RunDir, storage_error
from loadgen.measure.statistics.batch_means import Batches
from loadgen.measure.statistics.batches_of_run import recounted
from loadgen.measure.statistics.warmup import Recount
from loadgen_controller.judging.verdict import Facts, Verdict, judge
from loadgen_controller.run.finish import deltas_of

__all__ = ["reread"]


class _FactsLine(msgspec.Struct):
    kind: str
    facts: Facts | None = None


def _read_facts(folder: RunDir) -> Facts:
    """Return the facts about a run, on which its verdict is based, from the last such line in events.jsonl.

    Raises:
        StorageError: the controller was killed before it judged the run, or the file cannot be read.
    """
    try:
        lines = folder.events_path.read_bytes().splitlines()
    except OSError as exc:
        raise storage_error(folder.events_path, exc, doing="read") from exc
    for line in reversed(lines):
        try:
            found = msgspec.json.decode(line, type=_FactsLine)
        except msgspec.DecodeError:
            continue  # an incomplete last line, or another kind of line with a field `facts`
        if found.kind == "facts" and found.facts is not None:
            return found.facts
    raise StorageError(
        f"cannot judge {folder.path}: the controller was killed before the run ended", hint="start the run again"
    )


def _read_merge(folder: RunDir, facts: Facts, interval_ns: int) -> Merge:
    """Merge all deltas in the run folder again, and return the merge."""
    merge = Recount(interval_ns, facts.warmup_ns) if facts.warmup_found else Merge(interval_ns)
    if facts.assignment is not None:
        merge.read(deltas_of(folder, facts.assignment))
    return merge


def _read_batches(folder: RunDir, facts: Facts, interval_ns: int) -> Batches | None:
    """Merge all deltas again in batches, for the intervals of objectives; None if nothing was measured."""
    assignment = facts.assignment
    if assignment is None or not facts.has_started:
        return None
    found, _ = recounted(
        lambda: deltas_of(folder, assignment),
        end_ns=facts.load_ns,
        interval_ns=interval_ns,
        warmup_ns=facts.warmup_ns,
        is_found=bool(facts.warmup_found),
        steady=lambda _start_ns, _end_ns: facts.steady_ns,
        objectives=facts.objectives,
    )
    return found


def reread(folder: RunDir) -> Verdict:
    """Judge a run again from the facts and the deltas in its folder, and return the verdict."""
    facts = _read_facts(folder)
    interval_ns = folder.read_manifest()["interval_ns"]
    assert isinstance(interval_ns, int)
    return judge(facts, _read_merge(folder, facts, interval_ns), _read_batches(folder, facts, interval_ns))
