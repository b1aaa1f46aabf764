"""A run with gRPC: published stubs, unchanged, and the server's counts are ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
