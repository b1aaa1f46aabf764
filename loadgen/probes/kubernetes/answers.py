"""Answers of the Kubernetes API, with limits. Pure: bytes in, values out.

Only the fields that a probe shows are decoded, and unknown ones are skipped. Source: Kubernetes API reference v1.31:
EventList v1, HorizontalPodAutoscalerList autoscaling/v2, PodList v1.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

import msgspec

from loadgen.outside_text import one_line
from loadgen.probes.reader import NotRead

__all__ = ["Autoscaler", "Event", "Pod", "autoscalers_of", "events_of", "pods_of", "time_ns", "why_refused"]

T = TypeVar("T")


class _Meta(msgspec.Struct, frozen=True):
    name: str = ""
    uid: str = ""
    resourceVersion: str = ""
    creationTimestamp: str | None = None


class _ListMeta(msgspec.Struct, frozen=True, rename={"rest": "continue"}):
    rest: str = ""


class _Object(msgspec.Struct, frozen=True):
    kind: str = ""
    name: str = ""


class _Series(msgspec.Struct, frozen=True):
    count: int = 0
    lastObservedTime: str | None = None


class Event(msgspec.Struct, frozen=True):
    """One event, which may stand for several occurrences."""

    metadata: _Meta
    involvedObject: _Object = _Object()
    type: str = ""
    reason: str = ""
    message: str = ""
    count: int | None = None
    firstTimestamp: str | None = None
    lastTimestamp: str | None = None
    eventTime: str | None = None
    series: _Series | None = None

    @property
    def at(self) -> str:
        """Return the time of the last occurrence, RFC 3339; "" if the event has none."""
        seen = self.series.lastObservedTime if self.series is not None else None
        return seen or self.lastTimestamp or self.eventTime or self.metadata.creationTimestamp or ""

    @property
    def times(self) -> int:
        """Return the number of occurrences."""
        return (self.series.count if self.series is not None else self.count) or 1


class _Current(msgspec.Struct, frozen=True):
    averageUtilization: int | None = None


class _Resource(msgspec.Struct, frozen=True):
    name: str = ""
    current: _Current = _Current()
    target: _Current = _Current()


class _Metric(msgspec.Struct, frozen=True):
    resource: _Resource | None = None


class _ScalerSpec(msgspec.Struct, frozen=True):
    minReplicas: int = 1
    maxReplicas: int = 0
    metrics: tuple[_Metric, ...] = ()


class _ScalerStatus(msgspec.Struct, frozen=True):
    currentReplicas: int = 0
    desiredReplicas: int = 0
    currentMetrics: tuple[_Metric, ...] | None = None


class Autoscaler(msgspec.Struct, frozen=True):
    """One HorizontalPodAutoscaler."""

    metadata: _Meta
    spec: _ScalerSpec = _ScalerSpec()
    status: _ScalerStatus = _ScalerStatus()


class _Terminated(msgspec.Struct, frozen=True):
    reason: str = ""
    exitCode: int = 0
    finishedAt: str | None = None


class _State(msgspec.Struct, frozen=True):
    terminated: _Terminated | None = None


class _Container(msgspec.Struct, frozen=True):
    name: str = ""
    restartCount: int = 0
    ready: bool = False
    lastState: _State = _State()


class _PodStatus(msgspec.Struct, frozen=True):
    phase: str = ""
    containerStatuses: tuple[_Container, ...] | None = None


class Pod(msgspec.Struct, frozen=True):
    """One pod."""

    metadata: _Meta
    status: _PodStatus = _PodStatus()

    @property
    def containers(self) -> tuple[_Container, ...]:
        """Return the states of its containers."""
        return self.status.containerStatuses or ()


class _Status(msgspec.Struct, frozen=True):
    message: str = ""
    reason: str = ""


class _Listed(msgspec.Struct, Generic[T], frozen=True):
    kind: str = ""
    metadata: _ListMeta = _ListMeta()
    items: tuple[T, ...] = ()


_events: Final = msgspec.json.Decoder(_Listed[Event])
_autoscalers: Final = msgspec.json.Decoder(_Listed[Autoscaler])
_pods: Final = msgspec.json.Decoder(_Listed[Pod])


def events_of(body: bytes) -> tuple[tuple[Event, ...], str]:
    """Return the events of an answer, and the token of the next one; "" at the end."""
    return _list(body, "EventList", _events)


def autoscalers_of(body: bytes) -> tuple[tuple[Autoscaler, ...], str]:
    """Return the autoscalers of an answer, and the token of the next one."""
    return _list(body, "HorizontalPodAutoscalerList", _autoscalers)


def pods_of(body: bytes) -> tuple[tuple[Pod, ...], str]:
    """Return the pods of an answer, and the token of the next one."""
    return _list(body, "PodList", _pods)


def why_refused(body: bytes) -> str:
    """Return the reason of an answer that is a Status, as one line; "" if it has none."""
    try:
        return one_line(" ".join(msgspec.json.decode(body, type=_Status).message.split()), 200)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def time_ns(text: str) -> tuple[int, int] | None:
    """Return (Unix time in ns, resolution in ns) of a time of the API; None if it is missing or invalid.

    Times with a fraction are exact to 1 µs; the others are whole seconds, cut off.
    """
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    if not 1970 <= at.year < 2262:  # ns of other years do not fit into 64 bits
        return None
    whole = round(at.timestamp() * 1_000_000) * 1_000
    return whole, 1_000 if "." in text else 1_000_000_000


def _list(body: bytes, kind: str, decoder: msgspec.json.Decoder[_Listed[T]]) -> tuple[tuple[T, ...], str]:
    try:
        found = decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotRead(f"the answer is not a {kind}: {one_line(str(error), 120)}") from None
    if found.kind != kind:
        raise NotRead(f"the answer is not a {kind}, but {one_line(found.kind, 40) or 'something else'}")
    return found.items, found.metadata.rest
