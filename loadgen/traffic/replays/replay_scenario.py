"""Writes the scenario of a replay. Its text is the same for line lengths of 88 and 120 in `ruff format`, and it passes
`mypy --strict`.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Final

from loadgen.traffic.replays.session_lines import Timing
from loadgen.traffic.scenario.python_texts import in_comment, python_text

__all__ = ["ReplayText", "replay_text"]

_WIDTH: Final = 88


@dataclass(frozen=True)
class ReplayText:
    """The texts and numbers of one scenario."""

    title: str
    notes: tuple[str, ...]
    """Sentences for the docstring: what the replay does and what it leaves out."""
    command: str
    target: str
    file: str
    """The file of sessions, relative to the scenario."""
    rows: int
    timing: Timing
    speed: float
    drain_s: int


_BODY: Final = '''
from dataclasses import dataclass
from typing import NamedTuple

from loadgen import {words}

SPEED = {speed}
{speed_note}


class Call(NamedTuple):
    """A request. It starts `at_s` after the start of its step."""

    at_s: float
    method: str
    url: str
    name: str
    accept: tuple[int, ...] = ()
    """A status from 400 to 499 that the log has too, so it is not a failure."""


class Step(NamedTuple):
    """Requests that were sent without waiting for each other, after a pause."""

    pause_s: float
    calls: list[Call]


@dataclass
class Session:
    """A row of the file. start: seconds since the first minute of the log."""

    start: float
    steps: list[Step]


async def send(user: User, call: Call) -> None:
    """Send a request. If it fails, the session goes on, as in the log."""
    if call.at_s:
        await user.think(call.at_s / SPEED)
    try:
        await user.http.request(
            call.method,
            call.url,
            name=call.name,
            accept=call.accept,
            discard=True,
        )
    except RequestFailed:
        pass  # The row of the request has the failure.


@journey(data=feed.jsonl({file}, Session))
async def session(user: User, row: Session) -> None:
    """Send the requests of a session."""
    for step in row.steps:
        if step.pause_s:
            await user.think(step.pause_s / SPEED)
        await user.gather(*(send(user, call) for call in step.calls))


plan = Plan(
    target={target},
    load={load},
    mix=session,
    drain="{drain_s}s",  # the longest time from the last start to the end of a session
)
'''


def replay_text(text: ReplayText) -> str:
    """Return the text of the scenario."""
    if text.rows > 1:
        load = f'replay.timestamps({python_text(text.file)}, column="start", speed=SPEED)'
        words = "Plan, RequestFailed, User, feed, journey, replay"
    else:
        load, words = "iterations(1)", "Plan, RequestFailed, User, feed, iterations, journey"
    speed_note = (
        '"""2.0 plays the log twice as fast: starts, pauses and offsets."""'
        if text.speed == 1
        else '"""Starts, pauses and offsets are this many times as fast as in the log."""'
    )
    body = _BODY.format(
        words=words,
        speed=repr(text.speed),
        speed_note=speed_note,
        file=python_text(text.file),
        target=python_text(text.target),
        load=load,
        drain_s=text.drain_s,
    )
    return _docstring(text) + body


def _docstring(text: ReplayText) -> str:
    parts = [text.title, f"Made by `{text.command}`.", *text.notes]
    wrapped = (
        "\n".join(textwrap.wrap(in_comment(part), _WIDTH, break_on_hyphens=False, break_long_words=False))
        for part in parts
    )
    return '"""' + "\n\n".join(wrapped) + '\n"""\n'
