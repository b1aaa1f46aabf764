"""Translates an exception that leaves a journey or step: its outcome, its place in the scenario, and advice.

A frame belongs to the scenario if its module is not part of loadgen and its file is not
installed. Modules, not paths, decide what is part of loadgen, because a user's project
may be in a folder named loadgen.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import Any, Final

from loadgen.clients.httpx_api.errors import failure_in
from loadgen.clients.httpx_api.failed_calls import outcome_behind
from loadgen.dsl.users.named_outcomes import outcome_given
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import IterationEnded, LoadgenError
from loadgen.measure.deltas.series_key import CUT_OFF, TIMEOUT

__all__ = [
    "advice",
    "cause_of",
    "fault_text",
    "is_bound",
    "is_installed",
    "is_ours",
    "outcome_of",
    "place",
    "traceback_of",
    "where_of",
]

MAX_FRAMES: Final = 20
"""Maximum number of frames of a traceback to keep, the innermost ones; a recursion has thousands."""
_OURS: Final = ("loadgen", "loadgen_agent", "loadgen_controller")
_INSTALLED: Final = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def outcome_of(error: BaseException, meter: Meter | None = None) -> str:
    """Return the outcome for an exception: a failure of the target (`http 404`) or a script error (`script KeyError`).

    A library's exception for a failed request on `user.httpx`, such as `openai.NotFoundError`, gets the outcome of
    that request: `http 404`. An exception that `user.measure(outcomes=)` names gets the outcome given there. For
    exception groups (`asyncio.TaskGroup`), `cause_of` chooses the exception.

    meter: the user's, which finds the request behind an exception that does not name it (`failed_calls.py`).
    """
    if isinstance(error, IterationEnded):
        return error.outcome
    if isinstance(error, asyncio.CancelledError):
        return CUT_OFF
    if isinstance(error, BaseExceptionGroup):
        return outcome_of(cause_of(error, meter), meter)
    found = outcome_given(error) or failure_in(error)
    if found is None and meter is not None:
        found = outcome_behind(error, meter)
    return found or f"script {type(error).__name__}"


def cause_of(error: BaseException, meter: Meter | None = None) -> BaseException:
    """Return the exception itself; for a group, its first script error, or else its first exception."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [cause_of(one, meter) for one in error.exceptions]
    return next((one for one in leaves if outcome_of(one, meter).startswith("script ")), leaves[0])


def is_bound(outcome: str) -> bool:
    """Return True if an outcome (`timeout`, `cut off`) means that the measured time is only a lower bound.

    The call was stopped then, so its real time would have been longer.
    """
    return outcome in (CUT_OFF, TIMEOUT)


def is_ours(module: str) -> bool:
    return module.partition(".")[0] in _OURS


def is_installed(file: str) -> bool:
    """Return True if a file belongs to the standard library or an installed package.

    Also True for pseudo files such as `<frozen importlib>`.
    """
    return file.startswith((*_INSTALLED, "<"))


def place(frame: FrameType, line: int | None = None) -> str:
    """Return file, line and function of a stack frame as text: "checkout.py:14 in checkout".

    line: the line to show; None: the one that the frame is executing.
    """
    code = frame.f_code
    return f"{Path(code.co_filename).name}:{line or frame.f_lineno} in {code.co_name}"


def where_of(error: BaseException) -> str:
    """Return where in the scenario's own code an exception was raised: "checkout.py:14 in checkout".

    The place is that of the innermost frame that is not loadgen's or a package's; "" without such a frame.
    """
    where = ""
    for frame, line in _own(cause_of(error)):
        where = place(frame, line)
    return where


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an exception as text, with only the frames of the scenario's own code, innermost last.

    At most MAX_FRAMES frames. Cost: 50 µs and more, because it reads source lines.
    """
    cause = cause_of(error)
    frames = [
        traceback.FrameSummary(
            Path(frame.f_code.co_filename).name, line, frame.f_code.co_name, line=_source(frame, line)
        )
        for frame, line in list(_own(cause))[-MAX_FRAMES:]
    ]
    lines = traceback.format_list(frames) if frames else []
    return "".join([*lines, f"{type(cause).__name__}: {cause}"])


def fault_text(error: BaseException) -> str:
    """Return place, exception and hint as one text: "checkout.py:14 in checkout: KeyError: 'sku'; ...".

    An error of loadgen has no class in its text, because its message is a sentence.
    """
    cause = cause_of(error)
    where, hint = where_of(cause), advice(cause)
    kind = "" if isinstance(cause, LoadgenError) else f"{type(cause).__name__}: "
    return f"{where + ': ' if where else ''}{kind}{cause}{'; ' + hint if hint else ''}"


def advice(error: BaseException) -> str:
    """Return a short hint for fixing a script error; "" if the exception's text says enough."""
    if isinstance(error, LoadgenError):
        return error.hint
    text = str(error)
    if outcome_given(error) is not None:
        return ""  # the scenario maps it to an outcome, so it is no error of the script
    for kind, part, hint in _ADVICE:
        if isinstance(error, kind) and part in text:
            return hint
    if isinstance(error, AttributeError | NameError):
        return _did_you_mean(error)
    if isinstance(error, TypeError) and (call := _CALL.match(text)):
        return _signature(call[1], call[2])
    return ""


_AWAIT = "write `await` before the call; without it, nothing is sent"
_STATUS_FIRST = (
    "write `reply.expect(status=200)` before reading the body, so that a wrong reply counts as the target's failure"
)
_RUNS_ALREADY = (
    "use `await`: a journey already runs in an event loop; a constructor cannot await, so connect in a method"
)
_CONNECT_LATER = "a constructor cannot be async: connect in a method that the journey awaits"
_ADVICE: Final[tuple[tuple[type[BaseException], str, str], ...]] = (
    (AttributeError, "'coroutine' object", _AWAIT),
    (TypeError, "'coroutine' object", _AWAIT),
    (TypeError, "can't be used in 'await' expression", "remove the `await`: the value cannot be awaited"),
    (TypeError, "object does not support the context manager protocol", "write `async with`, not `with`"),
    (TypeError, "cannot unpack non-iterable coroutine", _AWAIT),
    (json.JSONDecodeError, "", _STATUS_FIRST),
    (
        KeyError,
        "",
        'read optional values with `reply.pick("$.key", str)`, so that a missing one counts as the target\'s failure',
    ),
    (
        IndexError,
        "",
        'read optional values with `reply.pick("$.a[0]", str)`, so that a missing one counts as the target\'s failure',
    ),
    (
        AssertionError,
        "",
        "an assert counts as a script error; for a wrong reply use `reply.expect(...)`, "
        '`user.check("name", ok)` or `user.fail("reason")`',
    ),
    (
        TimeoutError,
        "",
        "pass `timeout=2` to the call, or wait with `user.poll`, so that it counts as the target's time-out",
    ),
    (
        FileNotFoundError,
        "",
        "put the file into the scenario's folder and use a relative path: agents get no other files",
    ),
    (AttributeError, "object has no attribute 'strip'", 'write durations as seconds, 2, or as text, "500ms"'),
    (
        ValueError,
        "must be finite and at least 0",
        'write 0 or more for think times, paces and time-outs: seconds, or text like "500ms"',
    ),
    (ModuleNotFoundError, "", "put the module into the scenario's folder, or install it on the agents"),
    (RuntimeError, "asyncio.run() cannot be called", _RUNS_ALREADY),
    (RuntimeError, "loop is already running", _RUNS_ALREADY),
    (TypeError, "__init__() should return None, not 'coroutine'", _CONNECT_LATER),
    (RuntimeError, "threads can only be started once", "run blocking work with `await asyncio.to_thread(...)`"),
    (RecursionError, "", "end the recursion: a function calls itself too often"),
    (SystemExit, "", "end a journey with `return`, `user.fail(...)` or `user.skip(...)`"),
    (KeyboardInterrupt, "", "end a journey with `return`, `user.fail(...)` or `user.skip(...)`"),
    (
        asyncio.CancelledError,
        "",
        "do not raise CancelledError, and do not await cancelled tasks: this iteration was not stopped by loadgen",
    ),
)


_CALL: Final = re.compile(r"(\w+)\.(\w+)\(\) (?:got an unexpected|missing|takes|got multiple)")
_WORDS: Final = {
    "User": "loadgen.dsl.users.user",
    "UserWith": "loadgen.dsl.users.user",
    "HttpClient": "loadgen.clients.http",
    "Reply": "loadgen.clients.response.replies",
}
"""Modules of the classes whose methods a journey calls."""


def _signature(kind: str, method: str) -> str:
    """Return the signature of a method as a hint: "the signature is think(low, high=None)"; "" for unknown classes."""
    module = sys.modules.get(_WORDS.get(kind, ""))
    function = getattr(getattr(module, kind, None), method, None)
    if function is None:
        return ""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    plain = [one.replace(annotation=inspect.Parameter.empty) for one in parameters]
    return f"the signature is {method}{inspect.Signature(plain)}"


def _did_you_mean(error: AttributeError | NameError) -> str:
    name = error.name
    if not isinstance(name, str):
        return ""
    names: list[str] = []
    if isinstance(error, AttributeError):
        names = [n for n in dir(error.obj) if not n.startswith("_")]
    elif error.__traceback__ is not None:
        last = error.__traceback__
        while last.tb_next is not None:
            last = last.tb_next
        names = [*last.tb_frame.f_locals, *last.tb_frame.f_globals]
    if isinstance(error, AttributeError) and type(error.obj).__name__.startswith("User") and name in _HTTP:
        return f'did you mean "user.http.{name}"?'
    near = get_close_matches(name, names, n=1)
    return f'did you mean "{near[0]}"?' if near else ""


_HTTP: Final = ("get", "post", "put", "patch", "delete", "head", "options", "request", "headers", "cookies", "stream")


def _own(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Yield (frame, line) of a traceback's frames in the scenario's own code, the outermost first."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if not is_ours(_module_of(frame)) and not frame.f_code.co_filename.startswith(_INSTALLED):
            yield frame, line


def _module_of(frame: FrameType) -> str:
    """Return the name of a frame's module. A worker process runs as `__main__`, but is part of loadgen_agent."""
    name: str = frame.f_globals.get("__name__", "")
    spec = frame.f_globals.get("__spec__") if name == "__main__" else None
    return name if spec is None else str(spec.name)


def _source(frame: FrameType, line: int) -> str | None:
    import linecache

    text: Any = linecache.getline(frame.f_code.co_filename, line, frame.f_globals).strip()
    return text or None
