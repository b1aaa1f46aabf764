"""Series of the target that go with slow requests: read from a run folder, stored in `goes_with.json`, as lines."""
