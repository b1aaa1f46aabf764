"""The demo shop's database: PostgreSQL behind some of its routes, with faults whose effects are known.

Only `loadgen target --database URL` imports this package's other modules than `settings`, and with them psycopg.
"""
