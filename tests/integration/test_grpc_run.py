"""A run with gRPC: published stubs, unchanged, and the server's counts are ours."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.support.run import DATA, ends_with, loadgen

HEALTH = "grpc.health.v1.Health"


class _Counting(grpc.ServerInterceptor):  # type: ignore[misc]  # grpcio has no types
    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        with self._lock:
            self.calls[details.method[1:]] += 1
        return continuation(details)


class _Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request: Any, context: Any) -> Any:
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def running_services() -> Iterator[tuple[str, Counter[str]]]:
    counting = _Counting()
    server = grpc.server(ThreadPoolExecutor(32), interceptors=[counting])
    checked = health.HealthServicer()
    checked.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checked, server)
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(_Collector(), server)
    reflection.enable_server_reflection([HEALTH], server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}", counting.calls
    finally:
        server.stop(None).wait()


def test_published_stubs_are_used_unchanged_and_each_call_is_counted_by_the_server(tmp_path: Path) -> None:
    with running_services() as (url, calls):
        run = loadgen("run", f"{DATA}/grpc_services.py", "--target", url, "--quiet", runs_dir=tmp_path / "runs")
    assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
    assert run.summary["iterations"]["finished"] == run.summary["iterations"]["due"] == 20
    assert calls == {
        f"{HEALTH}/Check": 40,
        f"{HEALTH}/Watch": 20,
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": 20,
        "opentelemetry.proto.collector.trace.v1.TraceService/Export": 20,
    }
    assert run.summary["requests"]["finished"] == sum(calls.values())
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
