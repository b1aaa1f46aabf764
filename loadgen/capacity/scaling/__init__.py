"""`loadgen capacity scale`: reads rate curves and policies, replays them, and writes policies."""
