"""Live outputs: send a run's figures every second to Prometheus, OpenTelemetry, InfluxDB, StatsD or a file.

They run in the controller, on merged counts, and in threads beside the event loop that merges.
"""

from __future__ import annotations

from loadgen.sinks.live_outputs import Outputs, RunOutputs, Sight
from loadgen.sinks.options import KINDS, Wanted, open_outputs, read_outputs
from loadgen.sinks.snapshot import RunName

__all__ = ["KINDS", "Outputs", "RunName", "RunOutputs", "Sight", "Wanted", "open_outputs", "read_outputs"]
