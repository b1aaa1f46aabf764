"""Opens the backend of a source of traces, with the values of its secrets. X-Ray's is in `loadgen/aws/target`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from loadgen.backends.backend import Backend
from loadgen.backends.fetch import Fetcher
from loadgen.backends.settings import TraceSource
from loadgen.errors import UsageError
from loadgen.secret_variable import variable_of

__all__ = ["open_backend"]


def open_backend(
    source: TraceSource,
    secrets: Mapping[str, str],
    window: tuple[float, float] | None = None,
    *,
    pause: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Backend:
    """Return the backend of a source, which is not xray. Nothing is sent yet.

    Args:
        secrets: values by name.
        window: begin and end of the run, Unix time in s.
        pause, clock: for tests.

    Raises:
        UsageError: a secret is not set or is not a header's value, or the certificate cannot be used.
    """
    headers = {one.header: _value(source, one.secret, secrets) for one in source.auth}
    values = list(headers.values())
    if source.tenant:
        headers["X-Scope-OrgID"] = source.tenant
    fetcher = Fetcher(source.url, headers, values, source.ca)
    of_tests: dict[str, Any] = {"pause": pause, "clock": clock}
    # Imported here, because a command uses one of them.
    match source.backend:
        case "tempo":
            from loadgen.backends.tempo import TempoBackend

            return TempoBackend(fetcher, source.keep, window, **of_tests)
        case "zipkin":
            from loadgen.backends.zipkin import ZipkinBackend

            return ZipkinBackend(fetcher, source.keep, **of_tests)
        case "datadog":
            from loadgen.backends.datadog import DatadogBackend

            return DatadogBackend(fetcher, source.keep, window, **of_tests)
        case "collector":
            from loadgen.backends.jaeger import CollectorBackend

            return CollectorBackend(fetcher, source.keep, **of_tests)
        case "jaeger":
            from loadgen.backends.jaeger import JaegerBackend

            return JaegerBackend(fetcher, source.keep, **of_tests)
    raise UsageError(f"{source.name}: {source.backend} is not read over HTTP", hint="this is a bug; please report it")


def _value(source: TraceSource, name: str, secrets: Mapping[str, str]) -> str:
    value = secrets.get(name)
    if value is None:
        raise UsageError(
            f'trace.{source.name}: secret "{name}" is not set', hint=f"set {variable_of(name)} on this machine"
        )
    if not value.isprintable() or not value.isascii():
        # The value is not shown.
        raise UsageError(
            f'trace.{source.name}: the value of secret "{name}" cannot be sent in a header',
            hint="it must be one line of ASCII characters; check the end of the file for a line break",
        )
    return value
