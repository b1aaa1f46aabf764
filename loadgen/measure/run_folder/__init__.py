"""The folder of a run: its files, how they are written durably, and how they are copied."""
