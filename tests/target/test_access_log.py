"""The access log of the demo shop: a line for each answer, as `loadgen model` reads it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from loadgen.errors import UsageError
from loadgen.target.config import TargetConfig
from loadgen.target.server import serve
from loadgen.traffic.names.naming import NameRules
from loadgen.traffic.read_logs import read_logs
from loadgen.traffic.reading.log_options import LogOptions


async def test_each_answer_is_a_line_that_a_model_can_read(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    paths = ["/", "/search?q=lamp", "/products/sku-0007", "/nowhere"]
    async with (
        serve(TargetConfig(access_log=log)) as target,
        httpx.AsyncClient(base_url=target.url, trust_env=False, headers={"User-Agent": 'a "b"'}) as http,
    ):
        answers = [await http.get(path) for path in paths]

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["request"] for line in lines] == [f"GET {path} HTTP/1.1" for path in paths]
    assert [line["status"] for line in lines] == [answer.status_code for answer in answers]
    assert [line["http_user_agent"] for line in lines] == ['a "b"'] * 4
    assert all(line["body_bytes_sent"] >= len(answer.content) for line, answer in zip(lines, answers, strict=True))
    assert all(0 < line["duration"] < 60 for line in lines)
    traffic = read_logs([log], LogOptions(names=NameRules(least_users=1, coverage=1.0)))
    assert {name.name for name in traffic.names.kept} == {
        "GET /",
        "GET /search",
        "GET /products/sku-0007",
        "GET /nowhere",
    }
    assert traffic.has_fractions


async def test_a_log_goes_on_after_a_restart(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    for _ in range(2):
        async with (
            serve(TargetConfig(access_log=log, latency=False)) as target,
            httpx.AsyncClient(base_url=target.url, trust_env=False) as http,
        ):
            await http.get("/")

    assert len(log.read_text().splitlines()) == 2


async def test_a_log_that_cannot_be_written_is_an_error_before_the_shop_opens(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--access-log: cannot write"):
        async with serve(TargetConfig(access_log=tmp_path / "no/such/folder.log")):
            pass
