"""Behind `loadgen history`: which runs, what they have done, told on the terminal, as a page and as JSON."""
