"""The rate that one core of this machine drives, measured now or in the last run, and the workers that a plan needs."""
