"""A server of grpcio with published services: health, reflection and OpenTelemetry's collector of traces."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

__all__ = ["HEALTH", "Services", "running_services"]

HEALTH = "grpc.health.v1.Health"


@dataclass
class Services:
    """calls: how often each method was called."""

    url: str
    calls: Counter[str]


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
def running_services(*, reflects: bool = True, serves: bool = True) -> Iterator[Services]:
    counting = _Counting()
    server = grpc.server(ThreadPoolExecutor(32), interceptors=[counting])
    checked = health.HealthServicer()
    statuses = health_pb2.HealthCheckResponse
    checked.set("", statuses.SERVING if serves else statuses.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checked, server)
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(_Collector(), server)
    if reflects:
        reflection.enable_server_reflection([HEALTH], server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield Services(f"http://127.0.0.1:{port}", counting.calls)
    finally:
        server.stop(None).wait()
