"""Runs against peers that refuse, stay silent, half-close, reset and lie: outcomes, and never a broken run.

All peers of a plan are in one run: each has a journey of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from loadgen.find_chromium import find_chromium
from tests.support.bad_peers import bad_peers
from tests.support.in_thread import in_thread
from tests.support.run import DATA, ends_with, loadgen

EACH = 5
KINDS = {"plan": ("grpc", "ws", "tcp", "udp"), "http3": ("http3",), "browser": ("browser",)}
"""By plan of the scenario: the first words of the names of its peers."""
ROWS = {
    "grpc_refusing": {"{}/Get": "refused"},
    "grpc_slow": {"{}/Get": "timeout"},
    "grpc_half_closing": {"{}/Get": "reset"},
    "grpc_reset": {"{}/Get": "reset"},
    "grpc_lying": {"{}/Get": "protocol"},
    "ws_refusing": {"{} (connect)": "refused"},
    "ws_slow": {"{} (connect)": "ok", "{} (ask)": "timeout", "{} (close)": "timeout"},
    "ws_half_closing": {"{} (connect)": "ok", "{} (ask)": "ws 1006", "{} (close)": "ws 1006"},
    "ws_reset": {"{} (connect)": "ok", "{} (ask)": "ws 1006", "{} (close)": "ws 1006"},
    "ws_lying": {"{} (connect)": "ok", "{} (ask)": "ws protocol", "{} (close)": "ws protocol"},
    "tcp_refusing": {"TCP {} (connect)": "refused"},
    "tcp_slow": {"TCP {} (connect)": "ok", "{} (ask)": "timeout"},
    "tcp_half_closing": {"TCP {} (connect)": "ok", "{} (ask)": "closed"},
    "tcp_reset": {"TCP {} (connect)": "ok", "{} (ask)": "reset"},
    "tcp_lying": {"TCP {} (connect)": "ok", "{} (ask)": "expect message"},
    "udp_refusing": {"{} (ask)": "refused"},
    "udp_slow": {"{} (ask)": "timeout"},
    "udp_lying": {"{} (ask)": "timeout"},
    "http3_refusing": {"{} (get)": "refused"},
    "http3_slow": {"{} (get)": "timeout"},
    "http3_half_closing": {"{} (get)": "protocol"},
    "http3_lying": {"{} (get)": "h3 frame_unexpected"},
    "browser_refusing": {"{}": "refused"},
    "browser_reset": {"{}": "reset"},
}
"""By peer: the outcomes of the rows of its journey; {} is the name of the peer."""


@contextmanager
def scenario_of(folder: Path) -> Iterator[Path]:
    """Yield the path of the scenario with the addresses of running peers."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    with in_thread(bad_peers(authority)) as urls:
        text = (DATA / "bad_peers.py").read_text()
        text = text.replace('{"tcp_slow": "tcp://127.0.0.1:7001"}', repr(urls))
        text = text.replace("str | None = None", 'str | None = "ca.pem"')
        path = folder / "bad_peers.py"
        path.write_text(text)
        yield path


PLANS = [
    "plan",
    "http3",
    pytest.param("browser", marks=pytest.mark.skipif(not find_chromium(), reason="this machine has no Chromium")),
]


@pytest.mark.parametrize("plan", PLANS)
def test_bad_peers_are_outcomes_and_the_run_ends_with_a_verdict(plan: str, tmp_path: Path) -> None:
    with scenario_of(tmp_path) as path:
        run = loadgen("run", f"{path}:{plan}", "--quiet", runs_dir=tmp_path / "runs", timeout_s=90)
    summary = run.summary
    peers = {name: rows for name, rows in ROWS.items() if name.startswith(KINDS[plan])}
    assert ends_with(run.exit_code, summary, 1), run.out + run.err  # 1: the objective on errors fails
    assert "Traceback" not in run.out + run.err
    assert "script" not in run.out + run.err
    iterations = summary["iterations"]
    assert iterations["finished"] == iterations["due"] == EACH * len(peers)
    assert iterations["cut_off"] == 0
    assert summary["agents"][0]["complete"]
    expected = {
        (name, row.format(name)): {outcome: EACH} for name, rows in peers.items() for row, outcome in rows.items()
    }
    assert outcomes_of(summary) == expected
    failed = sum(outcome != "ok" for rows in peers.values() for outcome in rows.values())
    assert summary["requests"]["errors"] == failed * EACH
    journeys = {name: list(rows.values()) for name, rows in peers.items()}
    for name, outcomes in journeys.items():
        outcome = next(one for one in outcomes if one != "ok")
        assert run.row("journey", journey=name, outcome=outcome)["count"] == EACH


def outcomes_of(summary: dict[str, Any]) -> dict[tuple[str, str], dict[str, int]]:
    """Return the counts by outcome of each row: {(journey, row): {outcome: count}}."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for row in summary["series"]:
        if row["kind"] == "request" and row["region"] == "*" and row["outcome"] != "*":
            found.setdefault((row["journey"], row["request"]), {})[row["outcome"]] = row["count"]
    return found


@pytest.mark.parametrize("plan", PLANS)
def test_check_shows_for_each_bad_peer_what_happened_and_what_was_sent(plan: str, tmp_path: Path) -> None:
    with scenario_of(tmp_path) as path:
        done = loadgen("check", f"{path}:{plan}", runs_dir=tmp_path / "runs", timeout_s=90, env={"COLUMNS": "200"})
    assert done.exit_code == 1
    assert "Traceback" not in done.out + done.err
    shown = re.split(r"^(\w+)\nrequest .*\n", done.out, flags=re.MULTILINE)
    sections = dict(zip(shown[1::2], shown[2::2], strict=True))
    peers = {name: rows for name, rows in ROWS.items() if name.startswith(KINDS[plan])}
    assert sections.keys() >= peers.keys()
    for name, rows in peers.items():
        outcome = next(one for one in rows.values() if one != "ok")
        assert f"{name}: failed: {outcome} after " in sections[name]
        assert re.search(r"bad_peers\.py:\d+ in \w+: .+", sections[name]), "the line of the journey, and why"
        for row, of_row in rows.items():
            assert re.search(rf"^{re.escape(row.format(name))} .* {of_row} ", sections[name], re.MULTILINE)
    if plan == "plan":
        assert "sent:\n    tcp_slow (127.0.0.1:" in sections["tcp_slow"]
        assert "\\x00\\x00\\x00\\x01who" in sections["udp_lying"]
        assert "POST /grpc_slow/Get" in sections["grpc_slow"]
        assert "<cut: 4096 of 80000 bytes>" in sections["tcp_lying"]
