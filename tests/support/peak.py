"""How much memory a test took at most: the peak of this process since `start_of_peak`."""

from __future__ import annotations

import gc
from pathlib import Path

__all__ = ["peak_kib", "start_of_peak_kib"]


def start_of_peak_kib() -> int:
    """Memory now. `peak_kib` counts from here."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return peak_kib()


def peak_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
