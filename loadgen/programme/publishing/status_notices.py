"""Sends the changes of promises, and remembers them in the history.

    notices/status-00000012.json      the state of each promise, and the message; never changed

A file is written before its message is sent. Of two commands at the same time only one can write the next file, so a
change is sent once. A message that a channel did not accept is tried again by the next command, for a day.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from loadgen.errors import StorageError
from loadgen.history.store.json_file import decoded_file
from loadgen.history.store.parquet_run import NewerFormat
from loadgen.history.store.write_once_storage import Place
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.notify.event import EventKind
from loadgen.notify.settings import Channel
from loadgen.outside_text import one_line
from loadgen.programme.publishing.deliver import deliver, message_of
from loadgen.programme.publishing.finished_steps import finished_steps, note_step
from loadgen.programme.publishing.published_text import PublishedText
from loadgen.programme.publishing.status_changes import Notice, Remembered, changes
from loadgen.programme.status import PromiseState
from loadgen.units import quantity

__all__ = ["notify_changes"]

FOLDER: Final = "notices/"
FORMAT: Final = 1
_NAME: Final = re.compile(r"notices/status-([0-9]{8})\.json")
_TRIED_FOR: Final = timedelta(days=1)
_MOST_OLD: Final = 20
"""The number of older files whose messages may still wait."""
_MOST_RACES: Final = 10


class _Remembered(msgspec.Struct, frozen=True):
    conditions: tuple[str, ...] = ()
    changed: tuple[int, ...] = ()
    said: tuple[str, ...] = ()
    is_flapping: bool = False


class _Notice(msgspec.Struct, frozen=True):
    slo: str
    change: str
    text: str


class _File(msgspec.Struct, frozen=True):
    format: int
    at: str
    promises: dict[str, _Remembered]
    notices: tuple[_Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class _Known:
    name: str
    file: _File


def notify_changes(
    states: Sequence[PromiseState],
    sentence: Callable[[PromiseState], str],
    channels: Sequence[Channel],
    place: Place,
    now: datetime,
    values: Mapping[str, str] | None = None,
    send: Callable[..., str] = deliver,
) -> list[str]:
    """Send the changes since the last command, and messages that still wait.

    Returns:
        A line for each message, and for each damaged file that was left out.

    sentence: returns the sentence of a promise. values: of the channels' secrets. send: as in `publish_week`.

    Raises:
        StorageError, CloudError: the history cannot be read or written; nothing is sent.
    """
    known, left_out = _remember(states, sentence, place, now)
    wanted = [one for one in channels if EventKind.STATUS in one.events]
    failed: set[str] = set()
    lines = list(left_out)
    for one in known:
        at = datetime.fromisoformat(one.file.at)
        if not one.file.notices or now - at > _TRIED_FOR:
            continue
        finished = finished_steps(place, one.name, at - timedelta(minutes=1))
        lines += [text for text in finished.unreadable if text not in lines]
        event = _text(one.file.notices).event(one.file.at, "", (values or {}).values())
        for channel in wanted:
            if ("channel", channel.name) in finished.notes or channel.name in failed:
                continue
            what = f"{quantity(len(one.file.notices), 'change')} of promises"
            if why := send(channel, values or {}, message_of(event, f"status {one.name} {one.file.at}")):
                failed.add(channel.name)
                lines.append(f"{what} not sent to {channel.name}: {one_line(why, 300)}; the next --notify tries again")
            else:
                note_step(place, one.name, "channel", channel.name, "", now)
                lines.append(f"{what} sent to {channel.name}")
    return lines


def _remember(
    states: Sequence[PromiseState], sentence: Callable[[PromiseState], str], place: Place, now: datetime
) -> tuple[list[_Known], list[str]]:
    """Write what changed, if anything did. Return the last files, oldest first, and a line for each that is damaged."""
    for _ in range(_MOST_RACES):
        names = [name for name in place.names(FOLDER) if _NAME.fullmatch(name)]
        known, left_out = _read(place, names[-_MOST_OLD:])
        last = known[-1].file if known else None
        before = {} if last is None else {name: _of_file(one) for name, one in last.promises.items()}
        after, notices = changes(before, states, int(now.timestamp()), sentence)
        # Promises of other files, which this command did not read, are kept.
        every = before | after
        if every == before or (last is None and not notices):
            return known, left_out
        number = 1 + max((int(match[1]) for name in names if (match := _NAME.fullmatch(name))), default=0)
        file = _file(every, notices, now)
        name = f"{FOLDER}status-{number:08d}.json"
        if place.put_new(name, msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"):
            return [*known, _Known(name, file)], left_out
    raise StorageError(
        f"{place}: {_MOST_RACES} other commands wrote {FOLDER} at the same time", hint="run the command again"
    )


def _read(place: Place, names: list[str]) -> tuple[list[_Known], list[str]]:
    """Return the files, and a line for each damaged one. A newer one is refused: its states would be lost."""
    found, left_out = [], []
    for name, data in zip(names, place.read(names), strict=True):
        if isinstance(data, str):
            # Without the last states, every promise that burns would look new, and would be sent again.
            raise StorageError(f"cannot read {name}: {one_line(data, 200)}", hint="run the command again")
        try:
            found.append(_Known(name, decoded_file(data, _File, FORMAT)))
        except NewerFormat as error:
            raise StorageError(f"{name}: {one_line(str(error), 200)}", hint="update loadgen") from None
        except ValueError as error:
            why = one_line(str(error), 200)
            left_out.append(f"{name} is left out: {why}; its changes may be sent again or not at all. Remove the file")
    return found, left_out


def _text(notices: Sequence[_Notice]) -> PublishedText:
    begun = sum(one.change != "recovered" for one in notices)
    recovered = len(notices) - begun
    parts = [f"{quantity(begun, 'promise')} not kept or burning"] if begun else []
    parts += [f"{quantity(recovered, 'promise')} recovered"] if recovered else []
    rows = tuple(one.text for one in notices)
    result = "bad" if begun else "good"
    return PublishedText(EventKind.STATUS, "Promises of production", ", ".join(parts), (), rows, result)


def _file(promises: Mapping[str, Remembered], notices: Sequence[Notice], now: datetime) -> _File:
    return _File(
        FORMAT,
        utc_text(now.astimezone(UTC)),
        {name: _Remembered(**asdict(one)) for name, one in sorted(promises.items())},
        tuple(_Notice(one.slo, one.change, one.text) for one in notices),
    )


def _of_file(one: _Remembered) -> Remembered:
    return Remembered(one.conditions, one.changed, one.said, one.is_flapping)
