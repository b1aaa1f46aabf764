"""A scripted AI inference server: it sends streams at known times, and logs when each send happened.

    loadgen target llm --ttft 200ms --itl 20ms
    python -m loadgen.target llm --script golden

It is the source of truth for tests of the client, so it imports nothing from `loadgen.clients` or `loadgen.measure`.
`docs/target-llm.md` describes options, scripts and the log.
"""
