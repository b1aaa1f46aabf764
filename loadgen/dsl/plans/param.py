"""`param("pool", int, default=4)`: a setting of the scenario that `-P pool=8` overrides.

Read while the scenario is loaded, so its value may shape anything in it. What is
given arrives as text and is converted; what does not convert, or is given and not
asked for, is a fault that the loader reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault

__all__ = ["Params", "param", "params_given"]

T = TypeVar("T", bool, int, float, str)

_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Params:
    """The settings that were given, those that were asked for, and what is wrong with them."""

    def __init__(self, given: Mapping[str, str], required: Iterable[str] | None = None) -> None:
        self.given = dict(given)
        self.required = set(given if required is None else required)
        """Those that are a fault unless they are asked for."""
        self.asked: dict[str, tuple[type, Any, Origin]] = {}
        """name -> (type, value, where it was asked for first)."""
        self.faults: list[Fault] = []

    @property
    def values(self) -> dict[str, Any]:
        """What each setting is; for the manifest."""
        return {name: value for name, (_, value, _) in self.asked.items()}


_params: ContextVar[Params | None] = ContextVar("loadgen_params", default=None)


@contextmanager
def params_given(given: Mapping[str, str], required: Iterable[str] | None = None) -> Iterator[Params]:
    """Within it, `param` reads `given`. required: those of them that have to be asked for; None: all."""
    params = Params(given, required)
    token = _params.set(params)
    try:
        yield params
    finally:
        _params.reset(token)


def param(name: str, kind: type[T], *, default: T | None = None) -> T:
    """The value of setting `name`: what `-P name=value` gave, or `default`. Without a default it must be given.

    `kind` is int, float, str or bool ("true", "no", "1" ...). Outside of a run (in pytest): the default.
    """
    origin = here()
    params = _params.get() or Params({})
    value: T = kind() if default is None else default
    if kind not in (bool, int, float, str):
        params.faults.append(origin.fault(f'param("{name}") of type {kind!r}', "int, float, str or bool"))
        return value
    if default is not None and not _is_a(default, kind):
        hint = f"write default={kind.__name__}(...) or another type"
        params.faults.append(origin.fault(f'param("{name}", {kind.__name__}) has the default {default!r}', hint))
        value = default = kind()
    before = params.asked.get(name)
    if before is not None and before[0] is not kind:
        params.faults.append(
            origin.fault(
                f'param("{name}") is {kind.__name__} here and {before[0].__name__} at {before[2]}',
                "one name is one setting: give both one type",
            )
        )
    text = params.given.get(name)
    if text is not None:
        try:
            value = _read(text, kind)
        except ValueError:
            params.faults.append(
                Fault(f"-P {name}={text}", 0, f"{text!r} is no {kind.__name__}", f"asked for at {origin}")
            )
    elif default is None:
        params.faults.append(
            origin.fault(f'param("{name}") has no default and none was given', f"run with -P {name}=...")
        )
    if before is None:
        params.asked[name] = kind, value, origin
    return value


def _is_a(value: object, kind: type) -> bool:
    """An int is also a float; a bool is only a bool."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _read(text: str, kind: type[T]) -> T:
    if kind is bool:
        if text.lower() not in _BOOLS:
            raise ValueError(text)
        return kind(_BOOLS[text.lower()])
    return kind(text)
