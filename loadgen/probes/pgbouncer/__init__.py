"""A probe of PgBouncer: clients that wait for a connection, and times of queries, from its console."""
