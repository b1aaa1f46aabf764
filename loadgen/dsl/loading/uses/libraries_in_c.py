"""Finds the client libraries of a scenario that open their connections in C, by its imports.

    import confluent_kafka                       the library, also within a function
    import google.cloud.pubsub_v1                gRPC, by the modules that this import loads
    grpc.aio.insecure_channel("cart:50051")      gRPC, by the call: generated files import `grpc` for `user.grpc`

What an installed package imports later, in the run, is not seen here; the fence of the workers refuses it
(`loadgen/clients/libraries/fence.py`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from loadgen.clients.libraries.connects_in_c import CHANNELS_OF_GRPC, library_of
from loadgen.dsl.loading.source_analysis import Source

__all__ = ["libraries_in_c"]


def libraries_in_c(sources: Iterable[Source], imported: Iterable[str]) -> tuple[str, ...]:
    """Return the libraries that a scenario uses and that connect in C, sorted.

    sources: the files of the scenario. imported: the modules that running them has loaded.
    """
    found = {library for module in imported if (library := library_of(module)) is not None}
    for source in sources:
        found |= set(_of_source(source))
    return tuple(sorted(found))


def _of_source(source: Source) -> Iterator[str]:
    uses_grpc = False
    for one in source.imports():
        if one.level:
            continue
        uses_grpc = uses_grpc or one.module.partition(".")[0] == "grpc"
        for module in (one.module, *(f"{one.module}.{name}" for name in one.names)):
            if (library := library_of(module)) is not None:
                yield library
    if uses_grpc and any(_opens_channel(node) for node in ast.walk(source.tree)):
        yield "grpc"


def _opens_channel(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name) | ast.alias(name=name):
            return name in CHANNELS_OF_GRPC
        case _:
            return False
