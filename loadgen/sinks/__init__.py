"""Live outputs: what a run measures, told each second to Prometheus, OpenTelemetry, InfluxDB, StatsD or a file.

All of it is on the controller's side, from counts that are merged, and off the loop that merges them.
"""

from __future__ import annotations

from loadgen.sinks.options import KINDS, Wanted, open_outputs, read_outputs
from loadgen.sinks.outputs import Outputs, RunOutputs, Sight
from loadgen.sinks.snapshot import RunName

__all__ = ["KINDS", "Outputs", "RunName", "RunOutputs", "Sight", "Wanted", "open_outputs", "read_outputs"]
