"""The tables of the demo shop, its statements, and how the schema is created.

`loadgen_shop.items` has 100,000 rows of 1,000 tenants; its values follow from the id, so each shop has the same ones.
`loadgen_shop.ledger` has 8 pairs of accounts, "clearing-1" and "settlement-1" to "clearing-8" and "settlement-8".

A comment on the schema marks it as the shop's. A schema of this name without the mark is another one's, and is never
changed. A schema with the mark is used again, because 100,000 rows take half a second.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from loadgen.target.database.settings import ITEMS, LEDGER_PAIRS, SCHEMA

__all__ = [
    "CREATE",
    "CREATE_INDEX",
    "DROP_INDEX",
    "INDEX",
    "ITEM",
    "ITEMS_OF_TENANT",
    "LOCK",
    "MARK",
    "OWNER",
    "POST_BATCH",
    "READ_LEDGER",
    "TENANTS",
    "UPDATE_CLEARING",
    "UPDATE_SETTLEMENT",
    "Statement",
]

TENANTS: Final = 1_000
MARK: Final = "demo shop of loadgen, version 1"
INDEX: Final = "items_tenant_price_cents"
LOCK: Final = "SELECT pg_advisory_xact_lock(7233170)"
"""Lets one shop at a time create the schema. The number is ours and has no meaning."""
OWNER: Final = (
    "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace "  # noqa: S608 - constants only
    f"WHERE nspname = '{SCHEMA}'"
)
"""Returns the comment on the schema; no row if there is no such schema."""
CREATE: Final = (
    f"CREATE SCHEMA {SCHEMA}",
    # parallel_workers: without it, a scan of this table is parallel on some servers and not on others.
    f"CREATE TABLE {SCHEMA}.items (id integer PRIMARY KEY, tenant integer NOT NULL, sku text NOT NULL,"
    " price_cents integer NOT NULL, stock integer NOT NULL) WITH (parallel_workers = 0)",
    # 7919 is prime: rows of a tenant are spread over the table, as they are in a table that grew over time.
    f"INSERT INTO {SCHEMA}.items SELECT id, 1 + id::bigint * 7919 % {TENANTS}, 'item-' || lpad(id::text, 6, '0'),"  # noqa: S608
    f" 500 + id::bigint * 7919 % 9973, id % 50 FROM generate_series(1, {ITEMS}) AS id",
    f"CREATE TABLE {SCHEMA}.ledger (account text PRIMARY KEY, balance_cents bigint NOT NULL, entries bigint NOT NULL)"
    " WITH (fillfactor = 20)",
    f"INSERT INTO {SCHEMA}.ledger SELECT kind || '-' || n, 0, 0 FROM generate_series(1, {LEDGER_PAIRS}) AS n,"  # noqa: S608
    " unnest(ARRAY['clearing', 'settlement']) AS kind",
    f"ANALYZE {SCHEMA}.items",
    f"ANALYZE {SCHEMA}.ledger",
    f"COMMENT ON SCHEMA {SCHEMA} IS '{MARK}'",
)
CREATE_INDEX: Final = f"CREATE INDEX IF NOT EXISTS {INDEX} ON {SCHEMA}.items (tenant, price_cents)"
DROP_INDEX: Final = f"DROP INDEX IF EXISTS {SCHEMA}.{INDEX}"


class Statement(NamedTuple):
    """A statement of the shop.

    summary: its name in counts and spans, as in OpenTelemetry's `db.query.summary`.
    """

    summary: str
    text: str


ITEMS_OF_TENANT: Final = Statement(
    "SELECT items of tenant",
    f"SELECT id, sku, price_cents, stock FROM {SCHEMA}.items WHERE tenant = %s ORDER BY price_cents LIMIT 20",  # noqa: S608
)
ITEM: Final = Statement(
    "SELECT item",
    f"SELECT id, tenant, sku, price_cents, stock FROM {SCHEMA}.items WHERE id = %s",  # noqa: S608
)
_UPDATE: Final = (
    f"UPDATE {SCHEMA}.ledger SET balance_cents = balance_cents + %s, entries = entries + 1 WHERE account = %s"  # noqa: S608
)
POST_BATCH: Final = Statement("UPDATE ledger", _UPDATE)
UPDATE_CLEARING: Final = Statement("UPDATE clearing", _UPDATE)
UPDATE_SETTLEMENT: Final = Statement("UPDATE settlement", _UPDATE)
READ_LEDGER: Final = Statement(
    "SELECT ledger",
    f"SELECT sum(balance_cents) FROM {SCHEMA}.ledger WHERE starts_with(account, 'settlement')",  # noqa: S608
)
"""The last statement of `settle` before it works without a statement: it is not the one that took the lock."""
