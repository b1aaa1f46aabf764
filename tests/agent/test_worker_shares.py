"""A real worker process of an agent that joins late: which arrivals it starts."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from loadgen.engine.load.share import Share
from loadgen.engine.load.share_changes import Change, Deal
from loadgen.units import NS_PER_S
from loadgen.wire.messages import Fin, Prepare, Ready, Reassign, StartAt
from loadgen_agent.supervisor.worker_process import WORKER, Child

pytestmark = pytest.mark.process


TOTAL = 100
SCENARIO = """
from dataclasses import dataclass
from pathlib import Path

from loadgen import Plan, User, arrivals, feed, journey


@dataclass(frozen=True)
class Row:
    n: int


@journey(data=feed.rows([Row(n) for n in range(100)]).unique())
async def once(user: User, row: Row) -> None:
    with Path({started!r}).open("a") as out:
        out.write(f"{{row.n}} ")


plan = Plan(target="http://127.0.0.1:1", load=arrivals("100/s").hold("1s"), mix=once, drain="1s")
"""


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(((1.0, 0.0, 1.0), (1.0, 0.0, 2.0, 1.0)), id="one left before it joined"),
        pytest.param(((1.0, 0.0, 1.0), (0.0, 0.0, 1.0), (1.0, 0.0, 2.0, 1.0)), id="two changes before it joined"),
        pytest.param(((1.0, 0.0, 2.0, 1.0), (1.0,), (0.0, 1.0)), id="fewer weights than before"),
    ],
)
async def test_a_late_joiner_follows_changes_that_have_no_weight_for_it(
    tmp_path: Path, changes: tuple[tuple[float, ...], ...]
) -> None:
    started, weights = tmp_path / "started", (1.0, 1.0, 2.0, 0.0)
    (tmp_path / "s.py").write_text(SCENARIO.format(started=str(started)))
    started.touch()
    child = await Child.start(WORKER, "eu")
    try:
        child.write(Prepare("r1", 9, "", 0, "s.py", "", b"{}", 1, 3, weights, NS_PER_S, bundle_dir=str(tmp_path)))
        while not isinstance(await child.read(), Ready):
            pass
        deal = Deal(Share.of(3, weights, (1.0,)))
        for number, one in enumerate(changes, 1):
            child.write(Reassign("r1", number, number + 1, number * NS_PER_S // 10, one))
            whole = (*one, *[0.0] * (len(weights) - len(one)))
            deal = deal.changed(Change(number + 1, number * TOTAL // 10, whole))
        child.write(StartAt("r1", time.perf_counter_ns() + NS_PER_S // 5))
        while not isinstance(message := await child.read(), Fin):
            assert message is not None
        due = [n for block, _ in deal.blocks(0, TOTAL, TOTAL) for n in block.tolist()]
        assert sorted(map(int, started.read_text().split())) == due
        assert message.totals.iterations_missed == 0
    finally:
        await child.end()
