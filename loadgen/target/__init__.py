"""The demo shop: a target with known latencies, to try out scenarios and to check measurements.

    async with loadgen.target.server.serve(TargetConfig(seed=7)) as target:
        ...  # target.url, target.stats()

As a process: `loadgen target`, or `python -m loadgen.target`.
"""
