"""The request to change a running run, and its reply: one type for the UNIX socket, the gRPC API and the page."""

from __future__ import annotations

from typing import Literal

import msgspec

from loadgen.errors import UsageError

__all__ = ["ControlAction", "ControlOptions", "ControlReply", "ControlRequest"]

ControlAction = Literal["pause", "resume", "scale", "skip", "stop", "kill"]


class ControlOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The options of a control request. The web page sends only these: run and action are in its URL."""

    load: str | None = None
    """Name of the load to change; None: all loads to which the action applies."""
    factor: float | None = None
    rate: float | None = None
    """Iterations/s."""
    users: float | None = None
    """A scale has exactly one of `factor`, `rate` and `users`."""
    now: bool = False
    """For stop: cut off iterations in flight instead of draining them."""


class ControlRequest(ControlOptions, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request to a running run. Socket, API and page all build this type, and `check` validates it for all."""

    run_id: str
    do: ControlAction

    def check(self) -> None:
        """Check that a request to scale has exactly one of `factor`, `rate` and `users`.

        Raises:
            UsageError: it has none or several of them.
        """
        if self.do == "scale" and sum(value is not None for value in (self.factor, self.rate, self.users)) != 1:
            raise UsageError(
                "scale needs exactly one of factor, rate and users", hint="give a factor, a rate or a number of users"
            )


class ControlReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The reply to a control request: what was done, or why it was rejected."""

    lines: tuple[str, ...] = ()
    """Lines for the operator that describe the result."""
    error: str = ""
    """Why the request was rejected; empty if it was not."""
    hint: str = ""
    exit_code: int = 0
