"""Finds the failed request behind a client library's own exception.

Many libraries raise an exception of their own after an answer such as 429, without httpx's exception as its cause and
without the response: mistralai's SDKError, postgrest's APIError, qdrant's UnexpectedResponse. When such an exception
leaves the journey, the target has failed and not the scenario.

A request and an exception belong together if both come from the same call of the library. So after a failed request the
transport notes the library's outermost frame on the stack: the function that the scenario has called. If that frame is
in the exception's traceback, the exception was raised while or after the request, within the same call. A later, good
answer within the call removes the note: the last row of the call decides. An exception that the scenario's own code
raised, below the library too, is never attributed to a request.

Requests that succeed cost nothing, a failed one some 5 µs.
"""

from __future__ import annotations

import asyncio
import sys
import sysconfig
from pathlib import Path
from types import FrameType
from typing import Final

from loadgen.engine.recording.user_meter import Meter, Sample
from loadgen.measure.deltas.series_key import OK

__all__ = ["note_answer", "note_failure", "outcome_behind"]

_MOST_CALLS: Final = 16
"""The most calls of one iteration that are remembered."""
_FAR: Final = 400
"""The most stack frames to look at."""
_OURS: Final = ("loadgen", "loadgen_agent", "loadgen_controller")
_PATHS: Final = sysconfig.get_paths()
_LIBRARIES: Final = tuple(_PATHS[name] for name in ("purelib", "platlib"))
_STDLIB: Final = tuple(_PATHS[name] for name in ("stdlib", "platstdlib"))
_LOOP: Final = tuple(
    str(Path(asyncio.__file__).with_name(name)) for name in ("events.py", "base_events.py", "runners.py")
)
"""Files whose frames are below all tasks."""


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
        elif _is_scenario(frame):
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
        if frame is None or frame.f_code.co_filename in _LOOP:
            break
        if _is_ours(frame):
            if outermost is not None:
                break
        elif _is_scenario(frame):
            break
        elif frame.f_code.co_filename.startswith(_LIBRARIES):
            outermost = frame
        frame = frame.f_back
    return outermost


def _is_ours(frame: FrameType) -> bool:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] in _OURS


def _is_scenario(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return not (_is_ours(frame) or file.startswith((*_LIBRARIES, *_STDLIB, "<")))
