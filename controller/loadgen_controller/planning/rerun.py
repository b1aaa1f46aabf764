"""An earlier run, to be run again, in whole or one iteration of it: its scenario as it was, overrides and seed.

Everything comes from the run folder: `manifest.json` and `bundle.tar`. Secrets are
in neither, so they have to be given again.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from loadgen.bundle import unpack
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import StorageError, UsageError
from loadgen.measure.run_folder.rundir import RunDir, find_run
from loadgen.units import format_count

__all__ = ["Earlier", "arrival_of", "arrival_text", "earlier_run"]

_CLOSED = 1 << 32
"""In closed loads iteration i of user u has the number (u << 32) + i."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A run, unpacked. `file` is FILE:PLAN within a folder that is gone with the block."""

    run_id: str
    file: str
    overrides: Overrides
    seed: int
    version: str
    """Of the loadgen that made it."""


@contextmanager
def earlier_run(run: str, runs_dir: Path) -> Iterator[Earlier]:
    """
    Args:
        run: an id, the beginning of one, a folder, or "last".

    Raises:
        StorageError: no such run, or its folder cannot be read.
    """
    folder = RunDir.open(find_run(run, runs_dir))
    manifest: dict[str, Any] = folder.read_manifest()
    try:
        data = folder.bundle_path.read_bytes()
    except OSError as exc:
        raise StorageError(f"cannot read {folder.bundle_path}: {exc.strerror or exc}") from exc
    with tempfile.TemporaryDirectory(prefix="loadgen-again-") as unpacked:
        unpack(data, manifest["bundle"]["sha256"], Path(unpacked))
        plan = f":{manifest['plan']}" if manifest.get("plan") else ""
        yield Earlier(
            run_id=folder.run_id,
            file=f"{Path(unpacked) / manifest['scenario']}{plan}",
            overrides=msgspec.convert(manifest.get("overrides", {}), Overrides),
            seed=manifest["seed"],
            version=str(manifest.get("versions", {}).get("loadgen", "")),
        )


def arrival_text(n: int) -> str:
    """4711, or of a closed load USER.I: 12.3."""
    return f"{n // _CLOSED}.{n % _CLOSED}" if n >= _CLOSED else str(n)


def arrival_of(text: str) -> int:
    """
    Raises:
        UsageError: neither "4711" nor "12.3".
    """
    match = re.fullmatch(r"(\d{1,10})(?:\.(\d{1,10}))?", text.strip().replace(",", ""))
    if match is None:
        raise UsageError(f'--arrival: "{text}" is no arrival', hint=f"write {format_count(4711)}, or USER.I: 12.3")
    return int(match[1]) if match[2] is None else int(match[1]) * _CLOSED + int(match[2])
