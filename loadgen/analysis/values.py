"""What is handed over from a notebook or a history, as one kind of array; or what is wrong with it, in words.

Right are lists, tuples, ranges, numpy arrays of integers or floats, and pandas Series, whose index does not matter.
Wrong are nan, infinities, NA and masked values, since what is left out is for the caller to decide; texts,
booleans, dates and complex numbers; a single number; and tables.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "read_values", "setting_wrong", "values_wrong"]

Array = npt.NDArray[np.float64]

_MOST: Final = 1e100
"""The squares of some thousand of them are still numbers."""


def read_values(given: npt.ArrayLike, what: str, *, least: int = 0, finite: bool = True) -> Array:
    """One value a run, of shape (runs,).

    Args:
        what: how an error calls it: "history has values that are not finite".
        least: so many there have to be.
        finite: nan and infinities are wrong.

    Raises:
        ValueError: it is none of what is right.
    """
    array, wrong = _read(given, finite)
    if not wrong and len(array) < least:
        wrong = f"shape {array.shape}, and one value a run is wanted"
    if wrong:
        raise ValueError(f"{what} has {wrong}")
    return array


def values_wrong(given: npt.ArrayLike) -> tuple[Array, str]:
    """The same for who collects faults: the array, and what it "has" that is wrong, empty where nothing is."""
    return _read(given, finite=True)


def setting_wrong(name: str, value: object, wanted: str, is_right: Callable[[float], bool]) -> str:
    """What to say of a setting that is wrong; empty where it is right."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if is_number and is_right(float(value)):  # type: ignore[arg-type]
        return ""
    return f"{name} is {f'{value:g}' if is_number else repr(value)}, and has to be {wanted}"


def _read(given: npt.ArrayLike, finite: bool) -> tuple[Array, str]:
    nothing = np.zeros(0)
    try:
        raw = np.asarray(given)
        if raw.dtype.kind not in "iufO" or any(isinstance(one, str | bytes | bool) for one in _objects(raw)):
            return nothing, "values that are no numbers"
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return nothing, "values that are no numbers, or rows that are not equally long"
    if array.ndim != 1:
        return nothing, f"shape {array.shape}, and one value a run is wanted"
    if np.ma.is_masked(given):
        return nothing, "masked values: leave them out first"
    if finite and not np.isfinite(array).all():
        return nothing, "values that are not finite"
    if (np.abs(array[np.isfinite(array)]) > _MOST).any():
        return nothing, "values that are too large to be any time's logarithm"
    return array, ""


def _objects(raw: npt.NDArray[np.generic]) -> list[object]:
    return list(raw.flat) if raw.dtype.kind == "O" else []
