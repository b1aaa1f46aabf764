"""A checked probe of a plan. Pure values: agents have them too, and ignore them."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from loadgen.units import NS_PER_S

__all__ = ["ProbeSpec", "SecretName", "Where"]

Where = Literal["controller", "apart"]
"""The reader of a probe. apart: `loadgen probe run`, whose journal is added to the run later."""
T = TypeVar("T", bound=msgspec.Struct)


class SecretName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`{ secret = "shopdb-password" }`: the name of a secret, whose value is set where the probe runs."""

    secret: str


class ProbeSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One probe of a plan, checked. Secrets are names."""

    name: str
    kind: str = "metrics"
    """One of `KINDS` in `kinds.py`."""
    url: str = ""
    """The URL of the page or server; empty for kinds without one."""
    preset: str = ""
    metrics: tuple[str, ...] = ()
    """Names of metrics besides those of the preset."""
    every_ns: int = NS_PER_S
    auth_secret: str = ""
    """The name of the secret whose value is sent in `auth_header`; empty: the header is not sent."""
    auth_header: str = "Authorization"
    at: Where = "controller"
    stop_when: str = ""
    """The condition that drains the run, as written: "connections > 95% for 30s"; empty: none."""
    own: dict[str, Any] = {}
    """The other settings of its kind, checked, as they were written."""

    def table(self, of: type[T]) -> T:
        """Return `own` as the table that the kind declares; keys that are fields of the spec have their defaults."""
        return msgspec.convert(self.own, of)
