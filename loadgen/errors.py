"""All exceptions of loadgen, with their exit codes.

    LoadgenError
    ├── UsageError            2   the command line is wrong
    │   ├── CredentialsError      credentials for the cloud are missing, wrong or expired
    │   ├── TargetNotAllowed      an agent's allow-list does not admit a target or the size of a plan
    │   └── TraceFormatError      a file or an answer with traces that cannot be read
    ├── ScenarioError         2   the scenario has errors: all of them at once, with file and line
    │   └── ProfileError      2   a load profile that cannot be driven
    ├── IterationEnded            raised inside a journey; a measurement, never an exit code
    │   ├── RequestFailed         the target did not answer: `refused`, `reset`, `timeout`, `tls`, `protocol` ...
    │   └── ExpectFailed          the answer was not the expected one: `expect status`, `pick $.token` ...
    ├── IncompleteError       3   measurements are missing
    ├── InvalidError          4   the generator itself was not able to measure
    ├── FleetError            5   controller, agents or the connection between them
    │   ├── AgentLost, BundleError, PortBusy
    │   ├── WireError             a message that cannot be read
    │   │   └── LimitExceeded     a readable message with a field beyond its limit
    │   └── CloudError            the cloud of the fleet: Throttled, NoCapacity, QuotaReached, CloudDenied, CloudGone
    ├── NotificationFailed    5   the receiver of a notification did not accept it
    ├── StorageError          5   the run folder cannot be written
    └── BugError             70   a bug of loadgen: an impossible transition, a broken invariant

A target's failure is a measurement, not an error. Inside a journey it is an
`IterationEnded`, which the journey may catch and which otherwise becomes the
iteration's outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    "NotificationFailed",
    "PortBusy",
    "ProfileError",
    "QuotaReached",
    "RequestFailed",
    "ScenarioError",
    "StorageError",
    "TargetNotAllowed",
    "Throttled",
    "TraceFormatError",
    "UsageError",
    "WireError",
    "errors_in",
]


class ExitCode(IntEnum):
    """The exit status of a command. No other table of exit codes exists."""

    PASSED = 0
    FAILED = 1
    """An SLO or a gate failed, or no request succeeded."""
    USAGE = 2
    """The command line or the scenario is wrong; nothing was started."""
    INCOMPLETE = 3
    """Measurements are missing, so the verdict is inconclusive; or with `--sure`, an objective is not sure."""
    INVALID = 4
    """The generator itself was not able to measure."""
    FLEET = 5
    """Controller, agents, their connection or storage failed."""
    BUG = 70
    """loadgen has a bug."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C or a signal."""


EXIT_PRECEDENCE = (
    ExitCode.BUG,
    ExitCode.USAGE,
    ExitCode.FLEET,
    ExitCode.INVALID,
    ExitCode.FAILED,
    ExitCode.INCOMPLETE,
    ExitCode.INTERRUPTED,
)
"""If several apply, the first of these is the exit code; the output lists all reasons."""


class LoadgenError(Exception):
    """Base class of all exceptions of loadgen. `hint` says what to do."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint

    @property
    def with_hint(self) -> str:
        """Message and hint as one text, for places that have room for one: logs, and reasons that travel."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(LoadgenError):
    """The command line is wrong."""

    exit_code = ExitCode.USAGE


class CredentialsError(UsageError):
    """Credentials for the cloud are missing, wrong or expired."""


class TargetNotAllowed(UsageError):
    """An allow-list that an agent applies does not admit the plan.

    refused: a sentence for each reason; those about a target name it.
    """

    def __init__(self, refused: Iterable[str], *, hint: str) -> None:
        self.refused = tuple(refused)
        super().__init__("; ".join(self.refused), hint=hint)


class TraceFormatError(UsageError):
    """A file or an answer contains no traces in a known format, or traces with invalid values.

    The message names the place, and never repeats a value: it may be a secret.
    """


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One error in a scenario, with its place and what to do."""

    file: str
    line: int
    """The line number from 1; 0 if unknown."""
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f"\n    {self.hint}" if self.hint else "")

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class ScenarioError(LoadgenError):
    """The scenario has errors. Carries all of them, sorted by place."""

    exit_code = ExitCode.USAGE

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        super().__init__("\n".join(map(str, self.faults)))


class ProfileError(ScenarioError):
    """A load profile that cannot be driven, for example with a negative rate, no duration or no iterations."""

    def __init__(self, message: str, *, hint: str = "", file: str = "<profile>", line: int = 0) -> None:
        super().__init__([Fault(file, line, message, hint)])


class IterationEnded(LoadgenError):
    """Ends the iteration that raises it, with `outcome`, unless the journey catches it."""

    def __init__(self, outcome: str, detail: str = "") -> None:
        super().__init__(f"{outcome}: {detail}" if detail else outcome)
        self.outcome, self.detail = outcome, detail


class RequestFailed(IterationEnded):
    """The target gave no usable answer. `outcome` is the kind of failure: `refused`, `reset`, `timeout` ..."""


class ExpectFailed(IterationEnded):
    """The target's answer was not the expected one. `outcome` names the failed expectation."""


class IncompleteError(LoadgenError):
    """Measurements are missing, so no verdict is possible."""

    exit_code = ExitCode.INCOMPLETE


class InvalidError(LoadgenError):
    """The generator itself was not able to measure."""

    exit_code = ExitCode.INVALID


class FleetError(LoadgenError):
    """The controller, an agent or the connection between them failed."""

    exit_code = ExitCode.FLEET


class AgentLost(FleetError):
    """`agent` sent nothing for `silent_s` seconds while the run needed it."""

    def __init__(self, agent: str, silent_s: float) -> None:
        hint = "check that the agent's machine and its network are up, and read the agent's log"
        super().__init__(f"agent {agent} silent for {silent_s:.1f} s", hint=hint)
        self.agent, self.silent_s = agent, silent_s


class BundleError(FleetError):
    """A bundle that must not be packed, does not verify, or is not safe to unpack."""


class WireError(FleetError):
    """A message that cannot be read: unknown, malformed, too large, or of another version."""

    def __init__(self, message: str, *, hint: str = "use the same version of loadgen on both sides") -> None:
        super().__init__(message, hint=hint)


class LimitExceeded(WireError):
    """A message with a field beyond its limit (`loadgen/measure/deltas/limits.py`). A correct peer never sends one.

    field: its name, for example "SeriesKey.request". found: its size or value. limit: the limit, in words.
    """

    def __init__(self, field: str, found: str, limit: str) -> None:
        super().__init__(f"{field} is {found}: the limit is {limit}")
        self.field, self.found, self.limit = field, found, limit


class PortBusy(FleetError):
    """The address to listen on is in use."""


class CloudError(FleetError):
    """The cloud in which the fleet runs refused a request or failed."""


class Throttled(CloudError):
    """The cloud refused a request because of too many requests, even after waits and repeats."""


class NoCapacity(CloudError):
    """The cloud has no machine of this kind at the moment."""


class QuotaReached(CloudError):
    """The account's quota does not allow another resource of this kind."""


class CloudDenied(CloudError):
    """The credentials do not permit this request."""


class CloudGone(CloudError):
    """The cloud resource does not exist any more, or the cloud does not answer."""


class NotificationFailed(LoadgenError):
    """The receiver of a notification did not accept it. Only `loadgen notify test` raises this; a run goes on."""

    exit_code = ExitCode.FLEET


class StorageError(LoadgenError):
    """The run folder cannot be written. Measurements written before are kept."""

    exit_code = ExitCode.FLEET


class BugError(LoadgenError):
    """loadgen has a bug."""

    exit_code = ExitCode.BUG


class IllegalTransition(BugError):
    """`event` cannot happen in `state`: the state machine's table has no such row."""

    def __init__(self, state: object, event: object) -> None:
        super().__init__(f"{event!r} is illegal in {state!r}", hint="please report this with the run folder")
        self.state, self.event = state, event


def errors_in(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception itself, or each exception in a group of exceptions and in the groups that it contains."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from errors_in(inner)
    else:
        yield error
