"""The scenarios of docs/sdk-under-load.md: two SDKs as they are, and each request at the server is one of our rows."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from functools import reduce
from operator import add
from pathlib import Path
from time import perf_counter_ns

import pytest

from loadgen.drive.plan_share_driver import Drive
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.series_key import SeriesKey
from tests.support.sdk_api import fake_api

PAGE = Path(__file__).resolve().parents[2] / "docs/sdk-under-load.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
SCENARIOS = [block for block in BLOCKS if "plan = Plan(" in block]


@pytest.mark.parametrize(("at", "sdk"), [(0, "notion_client"), (1, "openai")])
async def test_each_request_of_the_sdk_that_the_server_got_is_a_row(at: int, sdk: str, tmp_path: Path) -> None:
    path = tmp_path / "scenario.py"
    path.write_text(SCENARIOS[at])
    assert f"from {sdk} import" in SCENARIOS[at]
    deltas: list[Delta] = []
    async with fake_api(busy=5) as api:
        scenario = load(path, overrides=Overrides(target=api.url))
        drive = Drive(scenario, seed=7, interval_ns=100_000_000, emit=deltas.append)
        totals = await drive.run(perf_counter_ns() + 20_000_000)
        await asyncio.sleep(0)

    counters = totals.counters
    assert counters.requests_started == counters.requests_finished == len(api.requests)
    assert counters.requests_errors == len(api.requests) // 5  # those that were told to come again
    assert counters.requests_errors > 5
    assert counters.iterations_finished == counters.iterations_due
    assert counters.iterations_errors == counters.script_faults == 0

    rows: Counter[tuple[str | None, str]] = Counter()
    keys: dict[int, SeriesKey] = {}
    for delta in deltas:
        keys |= {series: key for series, key in enumerate(delta.new_series, len(keys))}
        for stats in delta.stats:
            key = keys[stats.series]
            if key.kind == "request" and key.metric == "response":
                rows[key.request, key.outcome] += stats.n
    assert sum(rows.values()) == len(api.requests)
    got = Counter(re.sub(r"/page-\d+$", "/{id}", f"{request.method} {request.target}") for request in api.requests)
    assert reduce(add, (Counter({name: n}) for (name, _), n in rows.items())) == got
