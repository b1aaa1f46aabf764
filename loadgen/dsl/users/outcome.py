"""What an exception that leaves a journey or step means as an outcome, where it came from, and what to do about it.

A frame is the scenario's own when its module is none of ours and its file is not
installed. Frames are told apart by their module, not by their path: a project may
well stand in a folder named loadgen.
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

from loadgen.clients import failure_in
from loadgen.errors import IterationEnded, LoadgenError
from loadgen.measure.deltas.series import CUT_OFF, TIMEOUT

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
"""Of a traceback, the innermost; a recursion has thousands."""
_OURS: Final = ("loadgen", "loadgen_agent", "loadgen_controller")
_INSTALLED: Final = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def outcome_of(error: BaseException) -> str:
    """The target's failures by their own names; anything else is a fault of the scenario: `script KeyError`.

    A group of exceptions (`asyncio.TaskGroup`) is what `cause_of` finds in it. What a library made of the failure of
    a request on `user.httpx` (`openai.NotFoundError`) is that request's: `http 404`.
    """
    if isinstance(error, IterationEnded):
        return error.outcome
    if isinstance(error, asyncio.CancelledError):
        return CUT_OFF
    if isinstance(error, BaseExceptionGroup):
        return outcome_of(cause_of(error))
    return failure_in(error) or f"script {type(error).__name__}"


def cause_of(error: BaseException) -> BaseException:
    """The error itself; of a group the first fault of the scenario in it, else the first of all."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [cause_of(one) for one in error.exceptions]
    return next((one for one in leaves if outcome_of(one).startswith("script ")), leaves[0])


def is_bound(outcome: str) -> bool:
    """True when the time taken is only a lower bound of what it would have been."""
    return outcome in (CUT_OFF, TIMEOUT)


def is_ours(module: str) -> bool:
    return module.partition(".")[0] in _OURS


def is_installed(file: str) -> bool:
    """A file of the standard library or of a package, or no file at all: `<frozen importlib>`."""
    return file.startswith((*_INSTALLED, "<"))


def place(frame: FrameType, line: int | None = None) -> str:
    """ "checkout.py:14 in checkout"."""
    code = frame.f_code
    return f"{Path(code.co_filename).name}:{line or frame.f_lineno} in {code.co_name}"


def where_of(error: BaseException) -> str:
    """ "checkout.py:14 in checkout": the innermost line of the scenario's own code; "" where none is in it."""
    where = ""
    for frame, line in _own(cause_of(error)):
        where = place(frame, line)
    return where


def traceback_of(error: BaseException) -> str:
    """The scenario's own frames, the innermost last, as Python shows them, and what was raised.

    At most MAX_FRAMES of them, the innermost. Cost: 50 µs and more, for it reads source lines.
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
    """ "checkout.py:14 in checkout: KeyError: 'sku'; ...": where, what, and what to do where that is known."""
    cause = cause_of(error)
    where, hint = where_of(cause), advice(cause)
    return f"{where + ': ' if where else ''}{type(cause).__name__}: {cause}{'; ' + hint if hint else ''}"


def advice(error: BaseException) -> str:
    """What to do about a fault of the scenario, in a few words; "" where nothing better than the error is known."""
    if isinstance(error, LoadgenError):
        return error.hint
    text = str(error)
    for kind, part, hint in _ADVICE:
        if isinstance(error, kind) and part in text:
            return hint
    if isinstance(error, AttributeError | NameError):
        return _did_you_mean(error)
    if isinstance(error, TypeError) and (call := _CALL.match(text)):
        return _signature(call[1], call[2])
    return ""


_AWAIT = "write `await` before the call: without it nothing is sent"
_STATUS_FIRST = "say what is right before reading it, `reply.expect(status=200)`: then it is the target's failure"
_ADVICE: Final[tuple[tuple[type[BaseException], str, str], ...]] = (
    (AttributeError, "'coroutine' object", _AWAIT),
    (TypeError, "'coroutine' object", _AWAIT),
    (TypeError, "can't be used in 'await' expression", "leave out the `await`: there is nothing to wait for"),
    (TypeError, "object does not support the context manager protocol", "write `async with`, not `with`"),
    (TypeError, "cannot unpack non-iterable coroutine", _AWAIT),
    (json.JSONDecodeError, "", _STATUS_FIRST),
    (
        KeyError,
        "",
        'what an answer may lack is taken with `reply.pick("$.key", str)`: then it is the target\'s failure',
    ),
    (
        IndexError,
        "",
        'what an answer may lack is taken with `reply.pick("$.items[0]", str)`: then it is the target\'s failure',
    ),
    (
        AssertionError,
        "",
        "an assert is a fault of the script; of a wrong answer say `reply.expect(...)`, "
        '`user.check("name", ok)` or `user.fail("reason")`',
    ),
    (
        TimeoutError,
        "",
        "give the call a time-out of its own, `timeout=2`, or wait with `user.poll`: then it is the target's outcome",
    ),
    (
        FileNotFoundError,
        "",
        "put the file beside the scenario and name it from there: nothing else travels",
    ),
    (AttributeError, "object has no attribute 'strip'", 'durations are seconds, 2, or text, "500ms"'),
    (
        ValueError,
        "must be finite and at least 0",
        'think times, paces and time-outs are 0 or more: seconds, or text as "500ms"',
    ),
    (ModuleNotFoundError, "", "put the module beside the scenario, or install it where the agents run"),
    (RuntimeError, "asyncio.run() cannot be called", "a journey runs in a loop already: `await` it"),
    (RuntimeError, "loop is already running", "a journey runs in a loop already: `await` it"),
    (RuntimeError, "threads can only be started once", "a journey awaits; blocking work goes into `asyncio.to_thread`"),
    (RecursionError, "", "a function calls itself without end"),
    (SystemExit, "", "a journey ends with `return`, `user.fail(...)` or `user.skip(...)`"),
    (KeyboardInterrupt, "", "a journey ends with `return`, `user.fail(...)` or `user.skip(...)`"),
    (
        asyncio.CancelledError,
        "",
        "nobody stopped this iteration: the journey raised it, or awaited a task that was cancelled",
    ),
)


_CALL: Final = re.compile(r"(\w+)\.(\w+)\(\) (?:got an unexpected|missing|takes|got multiple)")
_WORDS: Final = {
    "User": "loadgen.dsl.users.user",
    "UserWith": "loadgen.dsl.users.user",
    "HttpClient": "loadgen.clients.http",
    "Reply": "loadgen.clients.response.replies",
}
"""Where the classes are whose methods a journey calls."""


def _signature(kind: str, method: str) -> str:
    """ "it is think(low, high=None)"."""
    module = sys.modules.get(_WORDS.get(kind, ""))
    function = getattr(getattr(module, kind, None), method, None)
    if function is None:
        return ""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    plain = [one.replace(annotation=inspect.Parameter.empty) for one in parameters]
    return f"it is {method}{inspect.Signature(plain)}"


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
    near = get_close_matches(name, names, n=1)
    if near:
        return f'did you mean "{near[0]}"?'
    if isinstance(error, AttributeError) and type(error.obj).__name__.startswith("User") and name in _HTTP:
        return f'did you mean "user.http.{name}"?'
    return ""


_HTTP: Final = ("get", "post", "put", "patch", "delete", "head", "options", "request", "headers", "cookies", "stream")


def _own(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """The scenario's own frames of a traceback, the outermost first."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if not is_ours(frame.f_globals.get("__name__", "")) and not frame.f_code.co_filename.startswith(_INSTALLED):
            yield frame, line


def _source(frame: FrameType, line: int) -> str | None:
    import linecache

    text: Any = linecache.getline(frame.f_code.co_filename, line, frame.f_globals).strip()
    return text or None
