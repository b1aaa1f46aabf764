"""Every error of loadgen, its exit code, and what to do about it.

    LoadgenError
    ├── UsageError            2   the command line is wrong
    │   └── CredentialsError      those for the cloud are missing, wrong or over
    ├── ScenarioError         2   the scenario is wrong: all its faults at once, with file and line
    │   └── ProfileError      2   a load profile that cannot be driven
    ├── IterationEnded            raised inside a journey; a measurement, never an exit code
    │   ├── RequestFailed         the target did not answer: `refused`, `reset`, `timeout`, `tls`, `protocol` ...
    │   └── ExpectFailed          the answer was not the expected one: `expect status`, `pick $.token` ...
    ├── IncompleteError       3   data are missing
    ├── InvalidError          4   the generator was not fit to measure
    ├── FleetError            5   controller, agents or the wire between them
    │   ├── AgentLost, BundleError, PortBusy
    │   ├── WireError             a message that cannot be read
    │   │   └── LimitExceeded     a message that could be read, and holds more than a sound peer ever sends
    │   └── CloudError            where the fleet is kept: Throttled, NoCapacity, QuotaReached, CloudDenied, CloudGone
    ├── StorageError          5   the run folder cannot be written
    └── BugError             70   ours: an impossible transition, a broken invariant

A target's failure is a measurement, not an error: inside a journey it is an
`IterationEnded`, which the journey may catch and which otherwise becomes the
iteration's outcome.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

__all__ = [
    "EXIT_PRECEDENCE",
    "AgentLost",
    "BugError",
    "BundleError",
    "CloudDenied",
    "CloudError",
    "CloudGone",
    "CredentialsError",
    "ExitCode",
    "ExpectFailed",
    "Fault",
    "FleetError",
    "IllegalTransition",
    "IncompleteError",
    "InvalidError",
    "IterationEnded",
    "LimitExceeded",
    "LoadgenError",
    "NoCapacity",
    "PortBusy",
    "ProfileError",
    "QuotaReached",
    "RequestFailed",
    "ScenarioError",
    "StorageError",
    "Throttled",
    "UsageError",
    "WireError",
]


class ExitCode(IntEnum):
    """What a command tells the shell. The one table of exit codes."""

    PASSED = 0
    FAILED = 1
    """An SLO or a gate failed, or no request succeeded."""
    USAGE = 2
    """The command line or the scenario is wrong; nothing was started."""
    INCOMPLETE = 3
    """Data are missing, so the verdict is inconclusive."""
    INVALID = 4
    """The generator was not fit to measure."""
    FLEET = 5
    """Controller, agents, wire or storage failed."""
    BUG = 70
    INTERRUPTED = 130


EXIT_PRECEDENCE = (
    ExitCode.BUG,
    ExitCode.USAGE,
    ExitCode.FLEET,
    ExitCode.INVALID,
    ExitCode.FAILED,
    ExitCode.INCOMPLETE,
    ExitCode.INTERRUPTED,
)
"""Where several hold, the first of these is the exit code; all reasons are listed."""


class LoadgenError(Exception):
    """Base of all errors of loadgen. `hint` says what to do about it."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class UsageError(LoadgenError):
    """The command line is wrong."""

    exit_code = ExitCode.USAGE


class CredentialsError(UsageError):
    """Credentials for the cloud are missing, wrong or over."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong in a scenario, where, and what to do."""

    file: str
    line: int
    """From 1; 0 where no line is known."""
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f"\n    {self.hint}" if self.hint else "")

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class ScenarioError(LoadgenError):
    """The scenario is wrong. Carries every fault that was found, sorted by place."""

    exit_code = ExitCode.USAGE

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        super().__init__("\n".join(map(str, self.faults)))


class ProfileError(ScenarioError):
    """A load profile that cannot be driven: a negative rate, no duration, nothing to do."""

    def __init__(self, message: str, *, hint: str = "", file: str = "<profile>", line: int = 0) -> None:
        super().__init__([Fault(file, line, message, hint)])


class IterationEnded(LoadgenError):
    """Ends the iteration it is raised in with `outcome`, unless the journey catches it."""

    def __init__(self, outcome: str, detail: str = "") -> None:
        super().__init__(f"{outcome}: {detail}" if detail else outcome)
        self.outcome, self.detail = outcome, detail


class RequestFailed(IterationEnded):
    """The target gave no usable answer. `outcome` names how: `refused`, `reset`, `timeout` ..."""


class ExpectFailed(IterationEnded):
    """The target's answer was not the expected one. `outcome` names what was expected."""


class IncompleteError(LoadgenError):
    """Data are missing, so no verdict is possible."""

    exit_code = ExitCode.INCOMPLETE


class InvalidError(LoadgenError):
    """The generator was not fit to measure."""

    exit_code = ExitCode.INVALID


class FleetError(LoadgenError):
    """The controller, an agent or the wire between them failed."""

    exit_code = ExitCode.FLEET


class AgentLost(FleetError):
    """Nothing was heard from `agent` for `silent_s` seconds while the run needed it."""

    def __init__(self, agent: str, silent_s: float) -> None:
        super().__init__(f"agent {agent} silent for {silent_s:.1f} s")
        self.agent, self.silent_s = agent, silent_s


class BundleError(FleetError):
    """A bundle that may not be packed, or that does not verify, or that is not safe to unpack."""


class WireError(FleetError):
    """A message that cannot be read: unknown, malformed, too large, of another version."""


class LimitExceeded(WireError):
    """A message with a field beyond its limit (`loadgen/measure/deltas/limits.py`). A sound peer never sends one.

    field: its name, e.g. "SeriesKey.request". found: its size or value. limit: what is allowed, in words.
    """

    def __init__(self, field: str, found: str, limit: str) -> None:
        super().__init__(f"{field} is {found}: the limit is {limit}")
        self.field, self.found, self.limit = field, found, limit


class PortBusy(FleetError):
    """The address to listen on is taken."""


class CloudError(FleetError):
    """The cloud in which a fleet is kept refuses, or fails."""


class Throttled(CloudError):
    """Asked too often, also after waiting and asking again."""


class NoCapacity(CloudError):
    """The cloud has no such machine just now."""


class QuotaReached(CloudError):
    """The account may have no more of it."""


class CloudDenied(CloudError):
    """Who asks may not do this."""


class CloudGone(CloudError):
    """Nothing answers there."""


class StorageError(LoadgenError):
    """The run folder cannot be written; what was measured before is kept."""

    exit_code = ExitCode.FLEET


class BugError(LoadgenError):
    """We have a bug."""

    exit_code = ExitCode.BUG


class IllegalTransition(BugError):
    """`event` cannot happen in `state`: the state machine's table has no such row."""

    def __init__(self, state: object, event: object) -> None:
        super().__init__(f"{event!r} is illegal in {state!r}", hint="please report this with the run folder")
        self.state, self.event = state, event
