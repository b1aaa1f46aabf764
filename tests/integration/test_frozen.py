"""A target that freezes breaks its objective while it is frozen, and the run that says so has failed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import datetime
from pathlib import Path
from time import time

import pytest

from tests.support.in_thread import in_thread
from tests.support.quiet import in_a_quiet_moment
from tests.support.run import ends_with, loadgen

pytestmark = pytest.mark.quiet

SCENARIO = """
from loadgen import Plan, User, arrivals, journey, p


@journey
async def shop(user: User) -> None:
    await user.http.get("/x")


plan = Plan(
    target="{url}",
    load=arrivals("50/s").hold("40s"),
    mix=shop,
    drain="1s",
    slos=[p(95, window="5s", abort=True) < "300ms"],
)
"""


class Freezing:
    """Answers at once until `after_s` after its first request; then it reads and says nothing."""

    def __init__(self, after_s: float) -> None:
        self.url = ""
        self.frozen_at = 0.0
        """Unix time."""
        self._after_s = after_s

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Freezing]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):  # the generator leaves
            while await reader.readuntil(b"\r\n\r\n"):
                self.frozen_at = self.frozen_at or time() + self._after_s
                if time() >= self.frozen_at:
                    await reader.read()
                    return
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.parametrize("after_s", [pytest.param(6.2, marks=pytest.mark.slow), 6.8])
@in_a_quiet_moment
def test_frozen_target_breaks_a_windowed_slo_within_2_s_and_stops_the_run(after_s: float, tmp_path: Path) -> None:
    with in_thread(Freezing(after_s).serve()) as target:
        scenario = tmp_path / "frozen.py"
        scenario.write_text(SCENARIO.format(url=target.url))
        run = loadgen("run", str(scenario), runs_dir=tmp_path / "runs")
    events = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    stopped = next(event for event in events if event["kind"] == "end")
    assert stopped["end"]["reason"] == "slo breached"
    late_s = datetime.fromisoformat(stopped["at"]).timestamp() - target.frozen_at
    assert 0 < late_s <= 2
    assert run.summary["duration_s"] < 20
    (slo,) = run.summary["slos"]
    assert (slo["verdict"], slo["unit"]) == ("failed", "ratio")
    assert slo["budget"] > 1
    assert ends_with(run.exit_code, run.summary, 1)
    assert any("stopped at 0:0" in reason for reason in run.summary["reasons"])
