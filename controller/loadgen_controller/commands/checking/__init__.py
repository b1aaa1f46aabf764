"""The watch of `loadgen check --watch`: waits for saved files, and checks the scenario again."""
