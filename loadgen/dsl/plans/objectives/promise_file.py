"""Objectives from a file of promises: `slos=[*openslo("slos/checkout.yaml", tighten=0.8)]`.

The command line reads the file, and packs the parsed promises into the bundle in its place, because agents have no
YAML. So this module decodes only the packed form; `read_promises_by` gives it the reader of the original form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from os import PathLike, fspath
from pathlib import Path
from typing import Final

import msgspec

from loadgen.dsl.data.named_files import name_file
from loadgen.dsl.plans.objectives.slo import error_ratio, p
from loadgen.dsl.plans.objectives.slo_expression import Slo
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ScenarioError
from loadgen.similar_names import did_you_mean

__all__ = ["PackedPromise", "PackedPromises", "PromiseFile", "openslo", "read_promises_by"]

_PACKED: Final = b'{"loadgen_promises":'
_MOST_BYTES: Final = 10_000_000


class PackedPromise(msgspec.Struct, frozen=True, kw_only=True):
    """One promise as agents need it. target: a share, such as "0.995". limit_ms: "" if it is about errors only.

    why_not: why a load test cannot test it; "" if it can.
    """

    name: str
    target: str
    journey: str = ""
    limit_ms: str = ""
    why_not: str = ""


class PackedPromises(msgspec.Struct, frozen=True, kw_only=True):
    """The promises of a file. revision: the first 12 digits of the file's SHA-256."""

    loadgen_promises: int
    revision: str
    promises: tuple[PackedPromise, ...]


Reader = Callable[[Path], PackedPromises]
_readers: list[Reader] = []


def read_promises_by(reader: Reader) -> None:
    """Read files of promises with this function from now on. Only the command line calls this.

    reader: raises ScenarioError with the faults of a file.
    """
    _readers[:] = [reader]


@dataclass(frozen=True, slots=True)
class PromiseFile:
    """A file that a scenario named, and its packed form, which takes its place in a bundle; b"" with faults."""

    path: Path
    origin: Origin
    faults: tuple[Fault, ...]
    packed: bytes = b""


def openslo(path: str | PathLike[str], *, tighten: float = 1.0, only: Iterable[str] = ()) -> list[Slo]:
    """Return the promises of a file as objectives, for `slos=[*openslo("slos/checkout.yaml", tighten=0.8)]`.

    A promise with the target 0.995 and the threshold 300 ms becomes `p(99.5) < "300ms"`, one without a threshold
    `error_ratio() < "0.5%"`. Each is for the journey that the file names, and its text names the file and its revision.

    Args:
        path: a file of OpenSLO or sloth, in the scenario's folder or below; relative to the calling file.
        tighten: factor on thresholds, above 0 and at most 1: 0.8 tests against 240 ms instead of 300 ms.
        only: names of promises. Empty: all of the file.
    """
    origin = here()
    file = origin.beside(path)
    if file is None:
        return [Slo(origin, faults=(origin.fault(f"openslo: {path!r} is not a path", 'write openslo("slos/a.yaml")'),))]
    shown = fspath(path)
    if isinstance(tighten, bool) or not isinstance(tighten, int | float) or not 0 < tighten <= 1:
        fault = origin.fault(f"openslo: tighten={tighten!r} must be above 0 and at most 1", "write tighten=0.8")
        return [Slo(origin, faults=(fault,))]
    try:
        packed = _read(file, shown, origin)
    except ScenarioError as error:
        name_file(PromiseFile(file, origin, error.faults))
        return []
    chosen, faults = _chosen(packed, tuple(only), shown, origin)
    name_file(PromiseFile(file, origin, faults, msgspec.json.encode(packed)))
    return [_slo(one, Decimal(str(tighten)), f"{shown} {packed.revision}") for one in chosen]


def _read(file: Path, shown: str, origin: Origin) -> PackedPromises:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MOST_BYTES)
    except OSError as exc:
        message = f"{shown}: cannot be read: {exc.strerror or exc}"
        raise ScenarioError([origin.fault(message, "write one with: loadgen slo new NAME")]) from None
    if data.startswith(_PACKED):
        try:
            return msgspec.json.decode(data, type=PackedPromises)
        except msgspec.MsgspecError as exc:
            raise ScenarioError(
                [origin.fault(f"{shown}: damaged promises: {exc}", "pack the scenario again")]
            ) from None
    if not _readers:
        message = f"{shown}: only the command line reads files of promises"
        raise ScenarioError([origin.fault(message, "load this scenario with the program loadgen")])
    return _readers[0](file)


def _chosen(
    packed: PackedPromises, only: tuple[str, ...], shown: str, origin: Origin
) -> tuple[list[PackedPromise], tuple[Fault, ...]]:
    """Return the promises that the scenario asks for, and faults for names and promises that cannot be tested."""
    names = [one.name for one in packed.promises]
    faults = [
        origin.fault(f'{shown} has no promise named "{name}"', did_you_mean(name, names))
        for name in only
        if name not in names
    ]
    asked = [one for one in packed.promises if not only or one.name in only]
    for one in asked:
        if one.why_not:
            hint = "choose others with only=[...]" if len(names) > 1 else "write the objective in the scenario"
            faults.append(origin.fault(f'{shown}: "{one.name}" cannot be tested by a load: {one.why_not}', hint))
    if not asked and not faults:
        faults.append(origin.fault(f"{shown} has no promise", "add one with: loadgen slo new NAME"))
    return [one for one in asked if not one.why_not], tuple(faults)


def _slo(one: PackedPromise, tighten: Decimal, source: str) -> Slo:
    target, journey = Decimal(one.target), one.journey or None
    if one.limit_ms:
        limit = (Decimal(one.limit_ms) * tighten).normalize()
        made = p(float(target * 100), journey=journey) < f"{limit:f}ms"
    else:
        made = error_ratio(journey=journey) < f"{((1 - target) * 100).normalize():f}%"
    if made.objective is None:
        return made
    text = f"{made.objective.text} ({source})"
    return replace(made, objective=msgspec.structs.replace(made.objective, text=text))
