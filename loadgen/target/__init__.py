"""The demo shop: a target whose latencies are known, to try scenarios and to check the measurement against.

    async with serve(TargetConfig(seed=7)) as target:
        ...  # target.url, target.stats()

As a process: `loadgen target`, or `python -m loadgen.target`.
"""

from loadgen.target.config import LATENCIES, LogNormal, Stall, TargetConfig
from loadgen.target.draws import failures, latencies_ns
from loadgen.target.program import run
from loadgen.target.server import Target, serve

__all__ = ["LATENCIES", "LogNormal", "Stall", "Target", "TargetConfig", "failures", "latencies_ns", "run", "serve"]
