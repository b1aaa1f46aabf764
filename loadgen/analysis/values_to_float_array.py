"""Converts values from a notebook or a history into float arrays, and describes what is wrong with them.

Valid are lists, tuples, ranges, numpy arrays of integers or floats, and pandas Series, whose index is ignored.
Invalid are nan, infinities, NA and masked values, because the caller must decide which values to leave out.
Texts, booleans, dates, complex numbers, a single number and tables are invalid too.
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
"""The largest valid value: the squares of some thousand of such values still have a finite sum."""


def read_values(given: npt.ArrayLike, what: str, *, least: int = 0, finite: bool = True) -> Array:
    """Check the values of runs and return them as a float array of shape (runs,).

    Args:
        what: the name in error messages, as in "history has values that are not finite".
        least: the minimum number of values.
        finite: whether nan and infinities are invalid.

    Raises:
        ValueError: the values are invalid.
    """
    array, wrong = _read(given, finite)
    if not wrong and len(array) < least:
        wrong = f"shape {array.shape}: it must have one value per run, at least {least}"
    if wrong:
        raise ValueError(f"{what} has {wrong}")
    return array


def values_wrong(given: npt.ArrayLike) -> tuple[Array, str]:
    """Return the values as an array, and what is wrong with them; "" if they are valid.

    This is for callers that collect errors. The text continues a sentence with "has": "values that are not finite".
    """
    return _read(given, finite=True)


def setting_wrong(name: str, value: object, wanted: str, is_right: Callable[[float], bool]) -> str:
    """Return the error message for an invalid setting; "" if `is_right` accepts it.

    wanted: the valid range as text, such as "above 0".
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if is_number and is_right(float(value)):  # type: ignore[arg-type]
        return ""
    return f"{name} is {f'{value:g}' if is_number else repr(value)}, but must be {wanted}"


def _read(given: npt.ArrayLike, finite: bool) -> tuple[Array, str]:
    nothing = np.zeros(0)
    try:
        raw = np.asarray(given)
        if raw.dtype.kind not in "iufO" or any(isinstance(one, str | bytes | bool) for one in _objects(raw)):
            return nothing, "values that are not numbers"
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return nothing, "values that are not numbers, or rows of different lengths"
    if array.ndim != 1:
        return nothing, f"shape {array.shape}: it must be one-dimensional, with one value per run"
    if np.ma.is_masked(given):
        return nothing, "masked values: leave them out first"
    if finite and not np.isfinite(array).all():
        return nothing, "values that are not finite"
    if (np.abs(array[np.isfinite(array)]) > _MOST).any():
        return nothing, "values that are too large for the logarithm of a time"
    return array, ""


def _objects(raw: npt.NDArray[np.generic]) -> list[object]:
    return list(raw.flat) if raw.dtype.kind == "O" else []
