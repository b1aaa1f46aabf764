"""Records requests, steps and iterations, and makes one delta of them per interval."""
