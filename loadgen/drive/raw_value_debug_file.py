"""Writes every single value to files, a debug switch for checking the histograms.

Set `LOADGEN_DEBUG_RAW=DIR` for the agents, and each worker writes one JSON line for each series and
interval. This costs far more than measuring; do not use it in real runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadgen.measure.deltas.series_key import SeriesKey

__all__ = ["RAW_VARIABLE", "RawFile", "read_raw"]

RAW_VARIABLE = "LOADGEN_DEBUG_RAW"


class RawFile:
    """A `RawSink` of the recorder that writes to DIR/<region>-<pid>.jsonl."""

    def __init__(self, folder: Path, region: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / f"{region}-{os.getpid()}.jsonl").open("a", encoding="utf-8")

    def keep(self, key: SeriesKey, values_ns: list[int]) -> None:
        """Write all values of one series in one interval to the file."""
        self._file.write(json.dumps({"key": asdict(key), "values_ns": values_ns}) + "\n")
        self._file.flush()


def read_raw(folder: Path) -> Iterator[tuple[str, dict[str, Any], list[int]]]:
    """Yield (region, series key as a dict, values in ns) of each line in the raw files of `folder`."""
    for path in sorted(folder.glob("*.jsonl")):
        region = path.stem.rsplit("-", 1)[0]
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            yield region, entry["key"], entry["values_ns"]
