"""Format the figures of kept streams by the definitions of other tools: a table for each, and a JSON document.

Below every table stands the number of its streams, and the number of requests of which they are a sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from loadgen.errors import UsageError
from loadgen.measure.conventions import Convention
from loadgen.measure.results.kept_stream_figures import ConventionFigure, KeptFigures, kept_figures
from loadgen.measure.run_folder.kept_stream_log import KeptOfRun, read_streams
from loadgen.report.report_parts import Table, milliseconds
from loadgen.report.summary_reader import Summary
from loadgen.units import NS_PER_S, format_count, format_share, quantity

__all__ = [
    "convention_document",
    "convention_figures_of",
    "convention_tables",
    "cut_ns_of",
    "kept_note",
    "kept_streams_of",
]

_COLUMNS: Final = ("", "count", "mean", "p50", "p90", "p95", "p99", "max")


def cut_ns_of(summary: Summary | None) -> int:
    """Return the end of the warm-up of a run, ns from T0; 0 without one."""
    return 0 if summary is None or summary.warmup is None else round(summary.warmup.cut_s * NS_PER_S)


def kept_streams_of(folder: Path) -> KeptOfRun:
    """Return the kept streams of a run.

    Raises:
        UsageError: the run kept no streams. StorageError: their file cannot be read.
    """
    found = read_streams(folder)
    if found is None:
        raise UsageError(
            f"{folder} has no kept streams, so figures by other definitions cannot be computed",
            hint="run a plan with streamed requests to AI models and Llm(keep_streams=0.01); 0 keeps no streams",
        )
    return found


def convention_figures_of(folder: Path, summary: Summary, conventions: Sequence[Convention]) -> list[KeptFigures]:
    """Return the figures of a run's kept streams by each convention.

    Raises:
        UsageError: the run kept no streams. StorageError: their file cannot be read.
    """
    kept = kept_streams_of(folder)
    sample = kept.sample(cut_ns_of(summary))
    of = 0 if summary.llm is None else summary.llm.ok
    return [
        kept_figures(sample, one, of=of, share=kept.share, left_out=kept.left_out) for one in dict.fromkeys(conventions)
    ]


def kept_note(found: KeptFigures) -> str:
    """Return a sentence with the number of streams from which the figures were computed, and of all requests."""
    text = (
        f"Computed from {quantity(found.streams, 'kept stream')} of {quantity(found.of, 'request')} to AI models that"
        f" ended ok after the warm-up; each stream was kept with a chance of {format_share(found.share)}."
    )
    if found.left_out:
        text += (
            f" {quantity(found.left_out, 'chosen stream')} {'is' if found.left_out == 1 else 'are'} missing, because a"
            " limit was reached."
        )
    return text


def convention_tables(found: Sequence[KeptFigures]) -> Iterator[Table]:
    """Yield a table for each convention."""
    for one in found:
        rows = tuple(
            (f.name, format_count(f.count), *map(milliseconds, (f.mean, f.p50, f.p90, f.p95, f.p99, f.max)))
            for f in one.figures
        )
        yield Table(f"By the definitions of {one.convention}, ms", _COLUMNS, rows, note=kept_note(one))


def convention_document(found: Sequence[KeptFigures], run_id: str) -> dict[str, object]:
    """Return the same figures as a JSON document."""
    return {
        "run_id": run_id,
        "conventions": [
            {
                "convention": one.convention,
                "kept_streams": one.streams,
                "of_requests": one.of,
                "share": one.share,
                "left_out": one.left_out,
                "convention_note": kept_note(one),
                "figures_ms": {f.name: _values(f) for f in one.figures},
            }
            for one in found
        ],
    }


def _values(figure: ConventionFigure) -> dict[str, object]:
    found: dict[str, object] = msgspec.to_builtins(figure)
    return {
        name: round(value, 6) if isinstance(value, float) else value for name, value in found.items() if name != "name"
    }
