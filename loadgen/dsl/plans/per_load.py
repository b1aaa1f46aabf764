"""`per_load("depth", int, default=3)`: a setting that each load of a plan may set for its own users.

    depth = per_load("depth", int, default=3)

    @journey
    async def search(user: User) -> None:
        await user.http.get("/search", params={"depth": user.setting(depth)})

    loads=[Load(search, day, name="day"), Load(search, peak, name="spike", params={depth: 8})]

The default is a `param`: `-P depth=5` changes it for loads that do not set it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

from loadgen.dsl.plans.argument_validation import Wrong
from loadgen.dsl.plans.param import is_a, param
from loadgen.dsl.source_location import Origin, here

__all__ = ["PerLoad", "per_load", "read_settings_of_load"]

T = TypeVar("T", bool, int, float, str)


class PerLoad(Generic[T]):
    """A setting of loads, made by `per_load`. `default` is its value for loads that do not set it."""

    __slots__ = ("default", "kind", "name", "origin")

    def __init__(self, name: str, kind: type[T], default: T, origin: Origin) -> None:
        self.name: Final = name
        self.kind: Final[type[T]] = kind
        self.default: Final[T] = default
        self.origin: Final = origin

    def __repr__(self) -> str:
        return f"<per_load {self.name} at {self.origin}>"


def per_load(name: str, kind: type[T], *, default: T) -> PerLoad[T]:
    """Declare and return a setting whose value `user.setting(...)` returns for the load of the user.

    Args:
        name: the name in `-P name=value`, which replaces the default.
        kind: int, float, str or bool.
        default: the value for loads without `params={...}` for it, and for plans with a single load.

    Errors do not raise; the loader reports them with the others.
    """
    return PerLoad(name, kind, param(name, kind, default=default), here())


def read_settings_of_load(params: object, wrong: list[Wrong]) -> dict[str, Any]:
    """Return the values of a load's `params={depth: 8}` by the names of the settings; {} for None.

    Each key that is not a `PerLoad`, and each value of another type, adds an error to `wrong`.
    """
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        wrong.append(Wrong("params", f"params: {params!r} is not a dictionary", "write params={depth: 8}"))
        return {}
    found: dict[str, Any] = {}
    for setting, value in params.items():
        if not isinstance(setting, PerLoad):
            hint = f'declare it: {setting} = per_load("{setting}", int, default=3), and use {setting} without quotes'
            wrong.append(Wrong("params", f"params: {setting!r} is not a setting of loads", hint))
        elif not is_a(value, setting.kind):
            hint = f'write a value of this type, or declare another type: per_load("{setting.name}", ...)'
            message = f"params: {setting.name} must be of type {setting.kind.__name__}, got {value!r}"
            wrong.append(Wrong("params", message, hint))
        else:
            found[setting.name] = value
    return found
