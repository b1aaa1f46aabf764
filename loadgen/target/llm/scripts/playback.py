"""Turns a script into writes: renders its events in the format of the request's API, and cuts the bytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from loadgen.target.llm.formats.stream_format import Event, StreamFormat
from loadgen.target.llm.http1 import LAST_CHUNK, chunk, head
from loadgen.target.llm.scripts.script import Script, ScriptEvent, ScriptWrite
from loadgen.target.llm.send_log import Events
from loadgen.target.llm.send_loop import End, Write

__all__ = ["head_of", "writes_of"]


_ENDS: Final = {
    "complete": End.DONE,
    "close": End.CLOSE,
    "cut": End.CLOSE,
    "reset": End.RESET,
    "stall": End.STALL,
}


def head_of(script: Script, request_id: str) -> bytes:
    """Return the head of the response."""
    headers = {**script.headers, "x-request-id": request_id}
    if script.is_gzip:
        headers["content-encoding"] = "gzip"
    return head(script.status, {**headers, "transfer-encoding": "chunked"})


def writes_of(script: Script, form: StreamFormat) -> Iterator[Write]:
    """Yield the writes of a script. The last one has the script's end."""
    packer = zlib.compressobj(wbits=31) if script.is_gzip else None
    last = Write(0, b"", ())
    for write in _body_writes(script, form, packer):
        if last.data:
            yield last
        last = write
    match script.end:
        case "complete":
            tail = (chunk(packer.flush()) if packer is not None else b"") + LAST_CHUNK
        case "cut":
            tail = b"400\r\ndata: {"  # A chunk of 1 KiB that ends after 7 bytes.
        case _:
            tail = b""
    yield last._replace(data=last.data + tail, end=_ENDS[script.end])


def _body_writes(script: Script, form: StreamFormat, packer: zlib._Compress | None) -> Iterator[Write]:
    free_ns = 0
    for write in script.writes:
        for number in range(write.repeat):
            # The pieces of the write before may need longer than until this write.
            at_ns = max(write.at_ns + number * write.every_ns, free_ns)
            events = [one for event in write.events for one in _rendered(event, form)]
            pieces, kinds = _pieces(script, write, events)
            if packer is not None:
                pieces = [packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
            if script.cuts_wire:
                pieces = _cut(chunk(b"".join(pieces)), write.cut_at, script.cut_every)
                # Only the last piece completes the chunk, so it has all events.
                kinds = [()] * (len(pieces) - 1) + [tuple(k for one in kinds for k in one)]
            for at, (piece, some) in enumerate(zip(pieces, kinds, strict=True)):
                data = piece if script.cuts_wire else chunk(piece)
                free_ns = at_ns + at * script.cut_gap_ns
                yield Write(free_ns, data, some)


def _rendered(event: ScriptEvent, form: StreamFormat) -> list[Event]:
    if event.data is not None:
        name = f"event: {event.name}\n".encode() if event.name else b""
        return [(event.kind, event.tokens, name + b"data: " + event.data + b"\n\n")]
    match event.kind:
        case "role":
            return form.begin(event.choice)
        case "finish":
            return form.finish(event.choice, event.reason)
        case "usage":
            return form.usage(event.tokens if event.has_tokens else None)
        case "done":
            return form.done()
        case "error":
            return form.error(event.text or "the engine failed on purpose", 500)
        case "comment":
            return [("comment", 0, f": {event.text}\n\n".encode())]
        case "other":
            return [("other", event.tokens, f"data: {event.text}\n\n".encode())]
        case kind:
            return form.piece(event.choice, (kind, event.text, event.tokens))


def _pieces(script: Script, write: ScriptWrite, events: Sequence[Event]) -> tuple[list[bytes], list[Events]]:
    """Return the bytes of a write, cut, and for each piece the events whose last byte it has."""
    raw = write.data * write.fill
    rendered = [data.replace(b"\n", script.line_end) for _, _, data in events]
    body = raw + b"".join(rendered)
    if script.cuts_wire or not (write.cut_at or script.cut_every):
        return [body], [tuple((kind, tokens) for kind, tokens, _ in events)]
    pieces = _cut(body, write.cut_at, script.cut_every)
    kinds: list[list[tuple[str, int]]] = [[] for _ in pieces]
    end, at, piece_end = len(raw), 0, len(pieces[0])
    for (kind, tokens, _), data in zip(events, rendered, strict=True):
        end += len(data)
        while piece_end < end:
            at += 1
            piece_end += len(pieces[at])
        kinds[at].append((kind, tokens))
    return pieces, [tuple(some) for some in kinds]


def _cut(data: bytes, cut_at: Sequence[int], cut_every: int) -> list[bytes]:
    places = {at for at in cut_at if at < len(data)}
    if cut_every:
        places.update(range(cut_every, len(data), cut_every))
    edges = [0, *sorted(places), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]
