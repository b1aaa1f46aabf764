"""The scenario: its draft, its text, its data files, and its updates."""
