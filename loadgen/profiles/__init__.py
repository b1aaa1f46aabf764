"""Load profiles as pure values: due times of arrivals, numbers of users, and how both are changed during a run."""
