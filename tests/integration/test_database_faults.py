"""Faults of a real database, PgBouncer and Varnish: each is the first that the probes of a run name, and none is named
without a fault.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.database_run import DatabaseRun, Stack, change, database_stack
from tests.support.traced_shop.cases import FAULTS
from tests.support.traced_shop.faults import Faults
from tests.support.traced_shop.traced_run import Case, traced_run

pytestmark = pytest.mark.quiet
REPEATED, ENOUGH = 10, 9
STATEMENT_MS = 52.0
SCAN = "full scan of 100,000 rows of loadgen_shop.items"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with database_stack() as running:
        yield running


def _wrong_index(run: DatabaseRun, stack: Stack) -> str:
    """Return what is wrong with the diagnosis of the missing index; "" for the right one. Creates the index again."""
    first = run.statements()[0]
    if "loadgen_shop.items WHERE tenant" not in first.text:
        return f"first is {first.text}"
    if not any(SCAN in found for found in first.findings):
        return f"found in its plan: {first.findings}"
    change(stack.shop, missing_index=True)
    (advice,) = run.advice(first.key)
    change(stack.shop, missing_index=False)
    if advice.proposed is None or advice.proposed.candidate.columns[0] != "tenant":
        return f"the advice is {advice.proposed or advice.why}"
    (after,) = run.advice(first.key)
    return "" if after.proposed is None else f"with the index, {after.proposed} is proposed"


def _wrong_chain(run: DatabaseRun) -> str:
    """Return what is wrong with the lock chains of two pools: `settle` is the first root, and batches wait for it."""
    chains = run.chains()
    if not chains or (chains[0].root, chains[0].root_state) != ("shop-settle", "idle in transaction"):
        return f"first is {chains[0].text if chains else 'no chain'}"
    waiters = {one.waiter for one in chains if one.root == "shop-settle"}
    if waiters != {"shop-payout", "shop-web"}:
        return f"{sorted(waiters)} wait for shop-settle"
    # The last statement of the root is a SELECT. That it has changed rows of the ledger is seen in its locks.
    held = {text for one in chains if one.root == "shop-settle" for text in one.root_holds}
    return "" if any("ledger (RowExclusive" in text for text in held) else f"the root holds {sorted(held)}"


def _wrong_nothing(run: DatabaseRun) -> str:
    """Return what is named although nothing is wrong."""
    if chains := run.chains():
        return f"lock chains are named: {chains[0].text}"
    worst = run.statements()[:3]
    if found := [text for one in worst for text in one.findings]:
        return f"plans are named: {found}"
    if proposed := [one.proposed for one in run.advice(*(one.key for one in worst)) if one.proposed is not None]:
        return f"indexes are proposed: {proposed}"
    return "" if not any(run.pool_values("cl_waiting")) else "clients of PgBouncer waited"


def _wrong_bouncer(run: DatabaseRun) -> str:
    """Return what is wrong with a PgBouncer of two connections: clients wait there, and not in the database."""
    if not any(run.pool_values("cl_waiting")):
        return "no client waited for a connection"
    longest_ms = max(run.pool_values("wait_time"), default=0.0) * 1e3
    statement_ms = next(one.mean_ms for one in run.statements() if "items WHERE tenant" in one.text)
    if statement_ms * 10 > longest_ms:
        return f"statements took {statement_ms:.2f} ms, and the longest mean wait is {longest_ms:.2f} ms"
    return "" if not run.chains() else f"lock chains are named: {run.chains()[0].text}"


def _index(stack: Stack, folder: Path) -> str:
    if wrong := _wrong_index(stack.run(folder / "without", missing_index=True), stack):
        return wrong
    again = stack.run(folder / "again", seconds=8)
    first = again.statements()[0]
    return f"the rerun has {first.findings}" if first.findings else ""


def _pools(stack: Stack, folder: Path) -> str:
    """One pool alone holds up nobody. Both together do, and p95 of a batch rises by more than the sum of both."""
    settle = stack.run(folder / "settle", seconds=8, settle=4)
    payout = stack.run(folder / "payout", seconds=8, payout=4)
    if alone := [chain.text for run in (settle, payout) for chain in run.chains() if chain.root == "shop-settle"]:
        return f"one pool alone: {alone}"
    both = stack.run(folder / "both", settle=4, payout=4)
    interaction_ms = both.p95_ms("batch") - settle.p95_ms("batch") - payout.p95_ms("batch")
    return _wrong_chain(both) or ("" if interaction_ms > 50 else f"the interaction is {interaction_ms:.0f} ms")


def _bouncer(stack: Stack, folder: Path) -> str:
    return _wrong_bouncer(stack.run(folder / "pooled", by="pooled", settle=3))


def _nothing(stack: Stack, folder: Path) -> str:
    return _wrong_nothing(stack.run(folder / "none"))


def _cache(stack: Stack, folder: Path) -> str:
    """Each URL is a miss at the start, and once more after the cache was emptied; between, all are hits."""
    tenants = 20
    stack.varnish.empty()
    stack.shop.reset()
    thread = stack.empty_cache_when(tenants, 4.0)
    run = stack.run(folder / "cache", by="varnish", tenants=tenants)
    thread.join()
    results, behind = run.results(), stack.items_asked()
    if results.get("miss") != behind or set(results) != {"hit", "miss"} or behind != 2 * tenants:
        return f"{results}, and {behind} requests came to the shop"
    by_second = [run.results(at_s, at_s + 1.0).get("miss", 0) for at_s in range(12)]
    gaps = [at for at, misses in enumerate(by_second) if not misses and any(by_second[at:])]
    return "" if gaps else f"misses by second are {by_second}"


def _application_pool(stack: Stack, folder: Path) -> str:
    """Stock waits for its own pool of two: its time before the statement, which is as fast as before."""
    faults = Faults(database=stack.postgres.url(), pool=2, statement_ms=STATEMENT_MS)
    case = Case(slos='p(95, request="checkout") < "110ms"', faults=faults)
    stack.postgres.sql("SELECT pg_stat_statements_reset()")
    folder.mkdir(parents=True, exist_ok=True)
    done, causes = traced_run(folder, case).cause()
    if wrong := FAULTS["pool of two"].wrong(causes):
        return f"{wrong}\n{done.out}"
    mean = stack.postgres.sql("SELECT mean_exec_time FROM pg_stat_statements WHERE query LIKE '%pg_sleep(%'")
    return "" if float(mean) < 1.5 * STATEMENT_MS else f"the mean of statements is {mean} ms"


CASES: dict[str, Callable[[Stack, Path], str]] = {
    "missing index": _index,
    "two pools": _pools,
    "PgBouncer pool of two": _bouncer,
    "emptied cache": _cache,
    "application pool of two": _application_pool,
    "no fault": _nothing,
}


def test_a_missing_index_and_two_pools_are_named_in_one_run(stack: Stack, tmp_path: Path) -> None:
    run = stack.run(tmp_path, seconds=8, missing_index=True, settle=4, payout=4)

    assert _wrong_chain(run) == ""
    # The batches that wait for locks have the most added time of all, and their plans are good.
    assert "ledger" in run.statements()[0].text
    found = {text for one in run.statements() for text in one.findings}
    assert len(found) == 1
    assert SCAN in found.pop()


def test_nothing_is_named_without_a_fault(stack: Stack, tmp_path: Path) -> None:
    assert _wrong_nothing(stack.run(tmp_path, seconds=6)) == ""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_named_in_nine_of_ten_runs(name: str, stack: Stack, tmp_path: Path) -> None:
    wrongs = []
    for number in range(REPEATED):
        began_s = time.monotonic()
        wrong = CASES[name](stack, tmp_path / str(number))
        print(f"{name} {number}: {wrong or 'right'} ({time.monotonic() - began_s:.0f} s)")
        wrongs += [wrong] if wrong else []
    assert len(wrongs) <= REPEATED - ENOUGH, wrongs
