"""Reads and checks the settings of a `Trace`: yields all errors at once, each with what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, Protocol

from loadgen.clients.request.trace_formats import FORMATS, id_headers
from loadgen.clients.span_export.endpoint import wrong_with

if TYPE_CHECKING:
    from loadgen.clients.request.tracing import Trace

__all__ = ["Named", "rate_of", "share_of", "wrongs_of"]

_SHARE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,20})?)\s*(%?)", re.ASCII)
_RATE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,20})?)\s*/\s*s", re.ASCII)
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_UNITS: Final = ("iteration", "trace", "request")
_BAGGAGE: Final = ("run", "journey", "region", "load")


class Named(Protocol):
    """A `secret("name")`, whose value is revealed only where it is used."""

    @property
    def name(self) -> str: ...

    def reveal(self) -> str: ...


def share_of(given: object) -> float:
    """Return a share from 0.01, "1%" or "0.01"; 0 for anything else, such as a rate."""
    if isinstance(given, str):
        found = _SHARE.fullmatch(given.strip())
        return 0.0 if found is None else float(found[1]) / (100 if found[2] else 1)
    return float(given) if isinstance(given, int | float) else 0.0


def rate_of(given: object) -> float | None:
    """Return the decisions per second of "20/s"; None for anything else."""
    found = _RATE.fullmatch(given.strip()) if isinstance(given, str) else None
    return None if found is None else float(found[1])


def wrongs_of(trace: Trace) -> Iterator[tuple[str, str]]:
    """Yield each error of the settings as (message, what to write instead)."""
    yield from _sample_wrong(trace)
    yield from _formats_wrong(trace.formats)
    link: object = trace.link
    if not isinstance(link, str) or (link and "{trace_id}" not in link):
        yield (
            f'link must contain "{{trace_id}}", got {_short(link)}',
            'write link="https://traces.example/{trace_id}"',
        )
    if trace.per not in _UNITS:
        yield f"per must be one of {', '.join(_UNITS)}, got {_short(trace.per)}", 'write per="iteration"'
    baggage: object = trace.baggage
    if not isinstance(baggage, tuple | list) or any(key not in _BAGGAGE for key in baggage):
        yield (
            f"baggage must be some of {', '.join(_BAGGAGE)}, as a tuple, got {_short(baggage)}",
            'write baggage=("run", "journey")',
        )
    yield from _export_wrong(trace)
    timing: object = trace.server_timing
    if not isinstance(timing, bool):
        yield f"server_timing must be True or False, got {_short(timing)}", "write server_timing=True"


def _sample_wrong(trace: Trace) -> Iterator[tuple[str, str]]:
    hint = 'write sample="1%" or sample="20/s"'
    sample: object = trace.sample
    rate = rate_of(sample)
    if rate is not None:
        if rate == 0:
            yield f"sample: the rate must be above 0, got {_short(sample)}", hint
    elif not _is_share(sample):
        yield f'sample must be a share from 0 to 1 ("1%" is 0.01), or a rate ("20/s"), got {_short(sample)}', hint
    boost: object = trace.boost
    if boost is None:
        return
    hint = 'write boost="20%"'
    if not _is_share(boost) or share_of(boost) == 0:
        yield f"boost must be a share above 0 and up to 1, got {_short(boost)}", hint
    elif rate is None and _is_share(sample) and share_of(boost) <= share_of(sample):
        yield f"boost must be above sample, got boost={_short(boost)} with sample={_short(sample)}", hint


def _is_share(given: object) -> bool:
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return False
    if isinstance(given, str) and _SHARE.fullmatch(given.strip()) is None:
        return False
    return isfinite(share_of(given)) and 0 <= share_of(given) <= 1


def _formats_wrong(formats: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(formats, tuple | list) or not formats or any(one not in FORMATS for one in formats):
        yield f"formats must be some of {', '.join(FORMATS)}, got {_short(formats)}", 'write formats=("w3c", "b3")'
    elif not id_headers(tuple(formats)):
        yield (
            'formats: "dynatrace-test" has no trace ids; write formats=("w3c", "dynatrace-test")',
            'write formats=("w3c", "dynatrace-test")',
        )


def _export_wrong(trace: Trace) -> Iterator[tuple[str, str]]:
    export: object = trace.export
    if export != "":
        for message, hint in wrong_with(export):
            yield f"export: {message}", hint
    auth: object = trace.export_auth
    if auth is not None:
        if not (hasattr(auth, "name") and hasattr(auth, "reveal")):  # its value is not shown: it may be the secret
            yield "export_auth: must be a secret", 'write export_auth=secret("otlp-token")'
        if export == "":
            yield "export_auth: needs export", 'write export="otlp:https://otlp.example", or leave out export_auth'
    header: object = trace.export_header
    if not isinstance(header, str) or _HEADER.fullmatch(header) is None:
        yield f"export_header must be the name of a header, got {_short(header)}", 'write export_header="api-key"'


def _short(given: object) -> str:
    text = repr(given)
    return text if len(text) <= 60 else f"{text[:57]}..."
