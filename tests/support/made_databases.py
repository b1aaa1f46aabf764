"""Facts about a database as a run has them, made up without a server."""

from __future__ import annotations

from loadgen.probes.shown.database_facts import Chain, DatabaseFacts, OtherStatements, Statement, Wait
from loadgen.probes.shown.lock_chains import ChainTree, Deadlock, TreeRow

__all__ = ["FACTS", "UPDATE"]

UPDATE = "UPDATE ledger SET balance = balance + ? WHERE account = ?"
FACTS = DatabaseFacts(
    probe="shopdb",
    statements=(
        Statement("1", UPDATE, 1_496, 50.5, 75_600.0, 0.93, plan=("full scan of 100,000 rows",), is_search=True),
        Statement("-7", "", 10, 0.2, -2.0, -0.001, why_no_plan="permission denied"),
    ),
    others=OtherStatements(40, 400, 500.0, 0.071),
    baseline_s=10.0,
    during_s=60.0,
    evicted=3,
    own_ms=38.0,
    chains=(Chain("settle", "payout", "ledger", 61, 2, 0.414, 1.0, 59.0, text="payout is held up by settle"),),
    trees=(
        ChainTree(
            16.6,
            2,
            0.374,
            (
                TreeRow(
                    0,
                    11,
                    "settle",
                    "idle in transaction",
                    0.4,
                    statement="SELECT ?",
                    earlier=(UPDATE,),
                    holds=("ledger (RowExclusiveLock)",),
                ),
                TreeRow(1, 12, "payout", "active", waits_s=0.374, relation="ledger", statement=UPDATE),
                TreeRow(2, 13, "web", "active", waits_s=0.3, relation="ledger", in_deadlock=True),
            ),
            samples=45,
        ),
    ),
    deadlocks=(Deadlock(20.0, ("settle (11)", "payout (12)"), (UPDATE,)),),
    deadlock_count=2,
    samples=60,
    waits=(Wait("Lock:transactionid", 1.0), Wait("", 0.25)),
    by_time=1.3,
)
