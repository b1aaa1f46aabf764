"""Statistics after a run: whether its results differ from earlier runs. It works on plain numpy arrays."""
