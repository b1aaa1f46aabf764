"""Checks the arguments that name a gRPC service, for two callers: the methods of `user.grpc`, and the loader.

The loader passes arguments that a scenario writes literally, so a wrong one is found before a run.
"""

from __future__ import annotations

import re
from inspect import getattr_static
from typing import Final

from loadgen.errors import UsageError

__all__ = ["WRITE_DESCRIPTORS", "check_descriptors", "check_service_name"]

_SERVICE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
WRITE_DESCRIPTORS: Final = 'write SHOP = descriptor_set("shop.binpb") at the top of the file, and service(name, SHOP)'


def check_service_name(word: str, name: object) -> None:
    """Raise UsageError unless `name` can be the full name of a gRPC service: "shop.v1.Cart"."""
    if not isinstance(name, str) or not _SERVICE.fullmatch(name):
        service = str(name).strip("/ ").partition("/")[0]
        meant = service if _SERVICE.fullmatch(service) and isinstance(name, str) else "shop.v1.Cart"
        raise UsageError(f"{word}: {name!r} is not the full name of a gRPC service", hint=f'write {word}("{meant}")')


def check_descriptors(descriptors: object) -> None:
    """Raise UsageError unless `descriptors` was made by `descriptor_set`."""
    if getattr_static(descriptors, "schema", None) is None:
        raise UsageError(f"grpc.service: {descriptors!r} is not a descriptor set", hint=WRITE_DESCRIPTORS)
