"""The demo shop: a target with known latencies, to try out scenarios and to check measurements.

    async with serve(TargetConfig(seed=7)) as target:
        ...  # target.url, target.stats()

As a process: `loadgen target`, or `python -m loadgen.target`.
"""

from loadgen.target.config import LATENCIES, LogNormal, Stall, TargetConfig
from loadgen.target.draws import failures, latencies_ns
from loadgen.target.program import run
from loadgen.target.server import Target, serve

__all__ = ["LATENCIES", "LogNormal", "Stall", "Target", "TargetConfig", "failures", "latencies_ns", "run", "serve"]
