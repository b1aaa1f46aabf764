"""Live outputs: send a run's figures every second to Prometheus, OpenTelemetry, InfluxDB, StatsD or a file.

They run in the controller, on merged counts, and in threads beside the event loop that merges.
"""
