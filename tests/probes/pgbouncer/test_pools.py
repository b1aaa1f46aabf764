"""A probe of PgBouncer: its rows from the answers of its console."""

from __future__ import annotations

from loadgen.probes.pgbouncer.pools import pool_rows, settings_body, values_of
from loadgen.probes.rows import Series


def pool(database: str, user: str = "shop", **values: str) -> dict[str, str | None]:
    columns = ("cl_active", "cl_waiting", "sv_active", "sv_idle", "maxwait", "maxwait_us")
    return {"database": database, "user": user, **dict.fromkeys(columns, "0"), **values}


def test_the_console_s_own_pool_is_not_counted_and_the_longest_wait_is_that_of_all_pools() -> None:
    pools = [
        pool("shop", cl_waiting="3", maxwait="1", maxwait_us="250000", sv_active="2"),
        pool("bank", cl_waiting="1", maxwait_us="500", sv_active="1"),
        pool("pgbouncer", cl_waiting="7", cl_active="1"),
    ]
    values = values_of(pools, [], max_clients=100)

    assert values[Series("cl_waiting", "value", "cl_waiting")] == 4
    assert values[Series("maxwait", "value", "maxwait")] == 1.25
    assert values[Series("clients", "value", "clients")] == 0.04
    assert {row.key for row in pool_rows(pools)} == {
        "cl_waiting[database=shop,user=shop]",
        "maxwait[database=shop,user=shop]",
        "cl_waiting[database=bank,user=shop]",
        "maxwait[database=bank,user=shop]",
    }
    assert {series.row for series in values} >= {row.key for row in pool_rows(pools)}


def test_one_pool_has_no_rows_of_its_own() -> None:
    assert pool_rows([pool("shop"), pool("pgbouncer")]) == ()


def test_of_many_pools_the_first_eight_have_rows_and_hostile_names_are_harmless() -> None:
    rows = pool_rows([pool(f"db{n:02}\x1b[31m") for n in range(50)])

    assert len(rows) == 16
    assert all("\x1b" not in row.key for row in rows)


def test_means_are_times_divided_by_counts_of_all_databases() -> None:
    stats = [
        {"database": "shop", "total_query_count": "10", "total_query_time": "2000000", "total_xact_count": "5"},
        {"database": "bank", "total_query_count": "30", "total_query_time": "1000000", "total_wait_time": "500000"},
        {"database": "pgbouncer", "total_query_count": "99", "total_query_time": "99"},
    ]
    values = values_of([], stats, 0)

    assert values[Series("query_time", "value", "query_time_s")] == 3.0
    assert values[Series("query_time", "of", "queries")] == 40
    assert (values[Series("wait_time", "value", "wait_time_s")], values[Series("wait_time", "of", "transactions")]) == (
        0.5,
        5,
    )
    assert Series("clients", "value", "clients") not in values


def test_settings_that_limit_pools_are_kept_and_no_others() -> None:
    config = [{"key": "pool_mode", "value": "transaction"}, {"key": "auth_query", "value": "SELECT secret"}]

    assert settings_body(config, [pool("shop", pool_mode="session")]) == {
        "pool_mode": "transaction",
        "pools": [{"database": "shop", "user": "shop", "mode": "session"}],
    }
