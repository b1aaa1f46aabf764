"""Makes the contents of `metrics.json`: lanes, marks and facts about databases. Its keys are in docs/run-folder.md.

The file has the lanes and marks of the run's probes, and those of other sources, such as CloudWatch. Whoever writes it
again keeps the parts of the others: those of probes have the key `probe`, and are always made again from the journals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from loadgen.probes.recorded import Recorded
from loadgen.probes.shown.database_facts import DatabaseFacts, databases_of

__all__ = ["FORMAT", "NAME", "foreign_parts", "metrics_document"]

NAME: Final = "metrics.json"
FORMAT: Final = 1


def metrics_document(
    recorded: Recorded,
    *,
    metrics: Iterable[object] = (),
    marks: Iterable[object] = (),
    other: str = "",
    end_s: float | None = None,
    about: Mapping[str, object] | None = None,
    databases: Sequence[DatabaseFacts] | None = None,
) -> dict[str, Any]:
    """Return the file for the probes of a run, and for metrics and marks of another source, which come first.

    other: the name of that source. end_s: the end of the run from T0; default: the last note of each probe.
    about: further keys. databases: the facts, if they are known already.
    """
    lanes, foreign = recorded.lanes(), list(metrics)
    found_marks = [*marks, *recorded.marks()]
    found = databases_of(recorded, end_s) if databases is None else databases
    sources = [name for name, is_there in ((other, bool(other)), ("probes", bool(lanes))) if is_there]
    return {
        "format": FORMAT,
        "source": ", ".join(sources) or "probes",
        **(about or {}),
        "metrics": [*foreign, *lanes],
        **({"marks": found_marks} if found_marks else {}),
        **({"databases": msgspec.to_builtins(found)} if found else {}),
    }


def foreign_parts(document: Mapping[str, Any]) -> tuple[list[Any], list[Any], str]:
    """Return the metrics and marks of a file that are not of probes, and the name of their source.

    Raises:
        KeyError, TypeError: the document has another form.
    """
    metrics = [one for one in document["metrics"] if "probe" not in one]
    marks = [one for one in document.get("marks", ()) if "probe" not in one]
    names = [name for name in str(document.get("source", "")).split(", ") if name != "probes"]
    return metrics, marks, ", ".join(names) if metrics or marks else ""
