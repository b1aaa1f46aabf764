"""A probe of PostgreSQL: statements, sessions, locks, plans, and the state of the server, on the clock of a run.

`connection` has the only I/O of this package, and `reader` calls it. All other modules are pure.
"""
