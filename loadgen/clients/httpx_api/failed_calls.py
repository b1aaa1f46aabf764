"""Finds the failed request behind a client library's own exception.

Many libraries raise an exception of their own after an answer such as 429, without httpx's exception as its cause and
without the response: mistralai's SDKError, postgrest's APIError, qdrant's UnexpectedResponse. When such an exception
leaves the journey, the target has failed and not the scenario.

A request and an exception belong together if both come from the same call of the library. So after a failed request the
transport notes the library's outermost frame on the stack: the function that the scenario has called. If that frame is
in the exception's traceback, the exception was raised while or after the request, within the same call. A later, good
answer within the call removes the note: the last row of the call decides. An exception that the scenario's own code
raised, below the library too, is never attributed to a request.

Requests that succeed cost nothing; a failed one costs a walk up the stack, 4 µs for 15 frames. The alternatives are in
docs/decisions/079-sdk-exceptions-by-the-call.md.
"""

from __future__ import annotations

import asyncio
import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

from loadgen.engine.recording.user_meter import Meter, Sample
from loadgen.measure.deltas.series_key import OK

__all__ = ["note_answer", "note_failure", "outcome_behind"]

_MOST_CALLS: Final = 16
"""The most calls of one iteration that are remembered."""
_FAR: Final = 400
"""The most stack frames to look at."""
_OUR_PACKAGES: Final = ("loadgen", "loadgen_agent", "loadgen_controller")
_PATHS: Final = sysconfig.get_paths()
_LIBRARIES: Final = tuple(_PATHS[name] for name in ("purelib", "platlib"))
_STDLIB: Final = tuple(_PATHS[name] for name in ("stdlib", "platstdlib"))
_LOOP_FILES: Final = tuple(
    str(Path(asyncio.__file__).with_name(name)) for name in ("events.py", "base_events.py", "runners.py")
)
"""Files whose frames are below all tasks."""
_OURS, _LOOP, _LIBRARY, _STANDARD, _SCENARIO = "ours", "loop", "library", "standard", "scenario"
_KINDS: Final[dict[CodeType, str]] = {}
"""Kinds of code, by the code of functions."""
_MOST_KINDS: Final = 4096


def note_failure(meter: Meter, sample: Sample) -> None:
    """Note that the request `sample`, whose call is on the stack, has failed."""
    call = _call_on_stack()
    if call is None:
        return
    calls = meter.failed_calls
    if calls is None:
        calls = meter.failed_calls = {}
    calls.pop(call, None)
    if len(calls) >= _MOST_CALLS:
        del calls[next(iter(calls))]
    calls[call] = sample


def note_answer(meter: Meter) -> None:
    """Note that a request of the call on the stack has succeeded. Only needed if `meter.failed_calls` is not empty."""
    calls, call = meter.failed_calls, _call_on_stack()
    if calls is not None and call is not None:
        calls.pop(call, None)


def outcome_behind(error: BaseException, meter: Meter) -> str | None:
    """Return the outcome of the failed request whose call raised `error`; None if there is none, or if the scenario's
    own code raised it.
    """
    calls = meter.failed_calls
    if not calls or not isinstance(error, Exception):
        return None
    found: Sample | None = None
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        sample = calls.get(frame)
        if sample is not None:
            found = sample
        elif (_KINDS.get(frame.f_code) or _kind_of(frame)) == _SCENARIO:
            found = None
        trace = trace.tb_next
    return found.outcome if found is not None and found.outcome != OK else None


def _call_on_stack() -> FrameType | None:
    """Return the outermost frame of an installed package between the scenario's code and this call; None if there is
    none.
    """
    frame: FrameType | None = sys._getframe(2)
    outermost: FrameType | None = None
    for _ in range(_FAR):
        if frame is None:
            break
        kind = _KINDS.get(frame.f_code) or _kind_of(frame)
        if kind in (_LOOP, _SCENARIO) or (kind == _OURS and outermost is not None):
            break
        if kind == _LIBRARY:
            outermost = frame
        frame = frame.f_back
    return outermost


def _kind_of(frame: FrameType) -> str:
    """Return the kind of code that a frame runs, and remember it for the code."""
    if len(_KINDS) >= _MOST_KINDS:
        _KINDS.clear()
    file = frame.f_code.co_filename
    name: str = frame.f_globals.get("__name__", "")
    if name.partition(".")[0] in _OUR_PACKAGES:
        kind = _OURS
    elif file in _LOOP_FILES:
        kind = _LOOP
    elif file.startswith(_LIBRARIES):
        kind = _LIBRARY
    elif file.startswith((*_STDLIB, "<")):
        kind = _STANDARD
    else:
        kind = _SCENARIO
    _KINDS[frame.f_code] = kind
    return kind
