"""The parts of `loadgen sweep`: reads factors, plans the runs, makes them, and resumes."""
