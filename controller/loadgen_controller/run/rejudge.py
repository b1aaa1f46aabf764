"""A verdict told again from a run's folder, long after the controller is gone."""

from __future__ import annotations

import msgspec

from loadgen.errors import StorageError
from loadgen.measure.merging.merge import Merge
from loadgen.measure.run_folder.rundir import RunDir, storage_error
from loadgen.measure.statistics.warmup import Recount
from loadgen_controller.judging.verdict import Facts, Verdict, judge
from loadgen_controller.run.finish import deltas_of

__all__ = ["read_facts", "read_merge", "reread"]


class _FactsLine(msgspec.Struct):
    kind: str
    facts: Facts | None = None


def read_facts(folder: RunDir) -> Facts:
    """The last facts in events.jsonl.

    Raises:
        StorageError: the run was ended by force before it was judged, or the file cannot be read.
    """
    try:
        lines = folder.events_path.read_bytes().splitlines()
    except OSError as exc:
        raise storage_error(folder.events_path, exc, doing="read") from exc
    for line in reversed(lines):
        try:
            found = msgspec.json.decode(line, type=_FactsLine)
        except msgspec.DecodeError:
            continue  # a torn last line, or another kind whose `facts` are not ours
        if found.kind == "facts" and found.facts is not None:
            return found.facts
    raise StorageError(f"cannot judge {folder.path}: the run was ended by force before its end")


def read_merge(folder: RunDir, facts: Facts, interval_ns: int) -> Merge:
    """All deltas of the folder, merged anew."""
    merge = Recount(interval_ns, facts.warmup_ns) if facts.warmup_found else Merge(interval_ns)
    if facts.assignment is not None:
        merge.read(deltas_of(folder, facts.assignment))
    return merge


def reread(folder: RunDir) -> Verdict:
    facts = read_facts(folder)
    interval_ns = folder.read_manifest()["interval_ns"]
    assert isinstance(interval_ns, int)
    return judge(facts, read_merge(folder, facts, interval_ns))
