"""A run with gRPC: published stubs, unchanged, and the server's counts are ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loadgen.clients.grpc_schema.schema import Schema
from tests.support.grpc_services import HEALTH, running_services
from tests.support.run import DATA, ends_with, loadgen


def test_published_stubs_are_used_unchanged_and_each_call_is_counted_by_the_server(tmp_path: Path) -> None:
    with running_services() as services:
        scenario, runs = f"{DATA}/grpc_services.py", tmp_path / "runs"
        run = loadgen("run", scenario, "--target", services.url, "--quiet", runs_dir=runs)
    assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
    assert run.summary["iterations"]["finished"] == run.summary["iterations"]["due"] == 20
    calls = services.calls
    assert calls == {
        f"{HEALTH}/Check": 40,
        f"{HEALTH}/Watch": 20,
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": 20,
        "opentelemetry.proto.collector.trace.v1.TraceService/Export": 20,
    }
    assert run.summary["requests"]["finished"] == sum(calls.values())
    assert [(one["verdict"], one["count"]) for one in run.summary["slos"]] == [("passed", 20), ("passed", 20)]
    assert run.summary["requests"]["errors"] == 20  # NOT_FOUND, which the journey asks for


@pytest.mark.slow  # mypy reads loadgen from the beginning: 15 s of CPU
def test_the_scenario_passes_a_strict_type_check(tmp_path: Path) -> None:
    # Generated code has no types unless stubs are installed.
    settings = tmp_path / "mypy.ini"
    settings.write_text("[mypy]\nignore_missing_imports = true\n[mypy-opentelemetry.*]\nfollow_imports = skip\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(settings), "--cache-dir", str(tmp_path)]
    scenario = f"{DATA}/grpc_services.py"
    done = subprocess.run([*command, scenario], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout


def test_reflection_in_the_set_up_is_one_call_for_the_fleet_and_stays_in_the_run_folder(tmp_path: Path) -> None:
    with running_services() as services:
        scenario, runs = f"{DATA}/grpc_reflected.py:plan", tmp_path / "runs"
        run = loadgen("run", scenario, "--target", services.url, "--quiet", runs_dir=runs)
    assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
    assert services.calls == {
        # The server has v1alpha only, and v1 is asked for first.
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo": 1,
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": 1,
        f"{HEALTH}/Check": 10,
        f"{HEALTH}/Watch": 10,
    }
    assert run.summary["requests"]["finished"] == 20
    checks = [one for one in run.summary["custom"] if one["region"] == "*"]
    assert [(one["hits"], one["n"]) for one in checks] == [(10, 10)] * 3
    kept = Schema.from_set((run.folder / "descriptors" / f"{HEALTH}.binpb").read_bytes())
    assert sorted(kept.service(HEALTH).methods) == ["Check", "List", "Watch"]
    watch = run.row("request", request=f"{HEALTH}/Watch")
    assert watch["message_ms"]["first_message"]["count"] == 10


def test_check_prints_the_messages_of_a_failed_call_without_secrets(tmp_path: Path) -> None:
    with running_services() as services:
        scenario = f"{DATA}/grpc_reflected.py:failing"
        checked = loadgen("check", scenario, "--target", services.url, runs_dir=tmp_path / "runs")
    assert checked.exit_code == 1
    shown = checked.out
    assert '{"service": "unknown"}' in shown
    assert '{"status": "UNKNOWN"}' in shown
    assert "grpc-status: 5" in shown
    assert "abcdefgh12345678" not in shown
    assert "(gRPC health): ok after 1 request" in shown
    assert "note: the target: SERVING" in shown


def test_a_target_without_reflection_ends_the_run_before_its_load(tmp_path: Path) -> None:
    with running_services(reflects=False) as services:
        scenario, runs = f"{DATA}/grpc_reflected.py:plan", tmp_path / "runs"
        run = loadgen("run", scenario, "--target", services.url, "--quiet", runs_dir=runs)
    assert run.exit_code not in (0, 1)
    assert "cannot find grpc.health.v1.Health: the server does not offer gRPC reflection" in " ".join(run.out.split())
    assert f"{HEALTH}/Check" not in services.calls
