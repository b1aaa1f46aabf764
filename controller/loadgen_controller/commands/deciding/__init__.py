"""The parts of `loadgen decide`: the question, and the answers that people record."""
