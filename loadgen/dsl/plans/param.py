"""`param("pool", int, default=4)`: a setting of the scenario that `-P pool=8` overrides.

Settings are read while the scenario is loaded, so their values may shape anything in
it. Values from the command line are text, which `param` converts. The loader reports
values that cannot be converted, and settings that no `param` call reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault

__all__ = ["Params", "is_a", "param", "params_given"]

T = TypeVar("T", bool, int, float, str)

_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Params:
    """The settings given for one loading of a scenario, the settings it has read, and the errors found."""

    def __init__(self, given: Mapping[str, str], required: Iterable[str] | None = None) -> None:
        self.given = dict(given)
        self.required = set(given if required is None else required)
        """Names whose values must be read by the scenario; an unread one is an error."""
        self.defaults: dict[str, Any] = {}
        """Default of each setting, from the first place that read it."""
        self.asked: dict[str, tuple[type, Any, Origin]] = {}
        """Settings read so far: name -> (type, value, first place that read it)."""
        self.faults: list[Fault] = []

    @property
    def values(self) -> dict[str, Any]:
        """Return the value of each setting that the scenario has read, by name. The run's manifest stores them."""
        return {name: value for name, (_, value, _) in self.asked.items()}


_params: ContextVar[Params | None] = ContextVar("loadgen_params", default=None)


@contextmanager
def params_given(given: Mapping[str, str], required: Iterable[str] | None = None) -> Iterator[Params]:
    """Let `param` read its values from `given` within this `with` block; the returned `Params` collects what it reads.

    required: names that the scenario must read, or else the loader reports an error; None: all of `given`.
    """
    params = Params(given, required)
    token = _params.set(params)
    try:
        yield params
    finally:
        _params.reset(token)


def param(name: str, kind: type[T], *, default: T | None = None) -> T:
    """Return the value of setting `name`: from `-P name=value` on the command line, else `default`.

    Args:
        name: the name in `-P name=value`.
        kind: int, float, str or bool. A bool is given as "true", "yes", "on", "1" or their opposites.
        default: used if none is given, and always outside of loadgen, as in pytest. Without a default, running the
            scenario without `-P name=...` is an error.

    Errors do not raise; the loader reports them with the others.
    """
    origin = here()
    params = _params.get() or Params({})
    value: T = kind() if default is None else default
    if kind not in (bool, int, float, str):
        params.faults.append(origin.fault(f'param("{name}"): unsupported type {kind!r}', "use int, float, str or bool"))
        return value
    if default is not None and not is_a(default, kind):
        value = kind()
        right = f"write a default of type {kind.__name__}"
        with suppress(ValueError):
            value = _read(str(default), kind)  # most likely what was meant: "10" for 10. No error then follows from it
            right = f"write default={value!r}"
        hint = f"{right}, or declare another type"
        params.faults.append(origin.fault(f'param("{name}", {kind.__name__}) has the default {default!r}', hint))
        default = value
    before = params.asked.get(name)
    if before is not None and before[0] is not kind:
        params.faults.append(
            origin.fault(
                f'param("{name}") is {kind.__name__} here and {before[0].__name__} at {before[2]}',
                "declare the same type at both places",
            )
        )
    elif before is not None and before[2] != origin and params.defaults[name] != default:
        params.faults.append(
            origin.fault(
                f'param("{name}") has the default {default!r} here and {params.defaults[name]!r} at {before[2]}',
                "read it once and use the variable, or write the same default at both places",
            )
        )
    text = params.given.get(name)
    if text is not None:
        try:
            value = _read(text, kind)
        except ValueError:
            params.faults.append(
                Fault(f"-P {name}={text}", 0, f"{text!r} is not a valid {kind.__name__}", f"declared at {origin}")
            )
    elif default is None:
        params.faults.append(
            origin.fault(f'param("{name}") has no default and no value was given', f"run with -P {name}=...")
        )
    if before is None:
        params.asked[name] = kind, value, origin
        params.defaults[name] = default
    return value


def is_a(value: object, kind: type) -> bool:
    """Return True if a value has the type `kind`. An int is also a valid float; a bool is only a bool."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _read(text: str, kind: type[T]) -> T:
    if kind is bool:
        if text.lower() not in _BOOLS:
            raise ValueError(text)
        return kind(_BOOLS[text.lower()])
    return kind(text)
