"""Which client libraries open their connections in C, where the fence of `fence.py` cannot check them.

The table has the libraries that people use for load on databases, brokers and services. Other libraries are
not found. `grpc` is an exception: generated stubs import it, and `user.grpc` does not send by it. So its import is
allowed, and only the creation of a channel is refused.

Pure: it reads names of modules, and imports none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

__all__ = ["CHANNELS_OF_GRPC", "LIBRARIES", "library_of", "list_refused", "why_refused"]

_MODULES: Final[Mapping[str, str]] = {
    "adbc_driver_flightsql": "adbc_driver_flightsql",
    "adbc_driver_postgresql": "adbc_driver_postgresql",
    "aerospike": "aerospike",
    "awscrt": "awscrt",
    "confluent_kafka": "confluent_kafka",
    "couchbase": "couchbase",
    "curl_cffi": "curl_cffi",
    "cx_Oracle": "cx_Oracle",
    "glide": "glide",
    "google.api_core.grpc_helpers": "grpc",
    "google.api_core.grpc_helpers_async": "grpc",
    "ibm_db": "ibm_db",
    "ibmmq": "ibmmq",
    "mariadb": "mariadb",
    "MySQLdb": "MySQLdb",
    "nanomsg": "nanomsg",
    "primp": "primp",
    "psycopg": "psycopg",
    "psycopg2": "psycopg2",
    "pulsar": "pulsar",
    "pyarrow.flight": "pyarrow.flight",
    "pycurl": "pycurl",
    "pylibmc": "pylibmc",
    "pymqi": "pymqi",
    "pymssql": "pymssql",
    "pynng": "pynng",
    "pyodbc": "pyodbc",
    "rnet": "rnet",
    "temporalio": "temporalio",
    "tritonclient.grpc": "grpc",
    "ydb": "grpc",
    "zmq": "zmq",
}
"""The name of a module -> that of the library, as a plan names it. Modules within it count as well."""

CHANNELS_OF_GRPC: Final = frozenset({"insecure_channel", "secure_channel"})
"""The functions that open connections of the library `grpc`; also those of `grpc.aio`."""

LIBRARIES: Final = frozenset({*_MODULES.values(), "grpc"})
"""The names that a plan may give in `unchecked_libraries=`."""


def library_of(module: str) -> str | None:
    """Return the library in the table to which a module belongs: "confluent_kafka" for "confluent_kafka.admin"; None
    for all other modules, also for `grpc` itself.
    """
    parts = module.split(".")
    for upto in range(len(parts), 0, -1):
        if (library := _MODULES.get(".".join(parts[:upto]))) is not None:
            return library
    return None


def list_refused(used: Collection[str], unchecked: Collection[str]) -> tuple[str, ...]:
    """Return the libraries that a run with an allow-list refuses, sorted.

    used: those that the scenario uses. unchecked: those that its plan names.
    """
    return tuple(sorted(set(used) - set(unchecked)))


def why_refused(library: str) -> str:
    """Return the sentence for a library that a run with an allow-list refuses."""
    return (
        f"the scenario uses {library}, which opens its connections in C, where the allow-list cannot check them; to"
        f' permit it, name it in the plan: unchecked_libraries=["{library}"]'
    )
