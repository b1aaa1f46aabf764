"""The scales on which responses are compared, and intervals of changes in the units of the response.

- log: latency and throughput. Changes act as factors, and the spread between runs is a share of the value.
- share: error ratios. The arcsine of the square root (M. Bartlett, 1936) is finite at 0 and 1, unlike log and logit, so
  cells without an error need no made-up half error, whose size would depend on the number of requests and would decide
  the result. The spread of a binomial ratio on this scale does not depend on the ratio.
- plain: the value itself.
"""

from __future__ import annotations

from math import isfinite, pi
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Scale", "change_interval", "from_scale", "to_scale", "value_faults"]

Floats = npt.NDArray[np.float64]
Scale = Literal["log", "share", "plain"]
_ANGLES = np.linspace(0.0, 2 * pi, 721)


def to_scale(values: Floats, scale: Scale) -> Floats:
    """Return responses on the scale of the analysis."""
    if scale == "log":
        return np.asarray(np.log(values))
    return np.asarray(np.arcsin(np.sqrt(values))) if scale == "share" else values


def from_scale(values: npt.ArrayLike, scale: Scale) -> Floats:
    """Return values of the scale in the units of the response. Beyond the ends of a share: 0 or 1."""
    values = np.asarray(values, dtype=np.float64)
    if scale == "log":
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(values))
    if scale == "share":
        share: Floats = np.sin(np.clip(values, 0.0, pi / 2)) ** 2
        return share
    return values


def value_faults(values: Floats, scale: Scale) -> list[str]:
    """Return a sentence for each kind of value that the scale cannot have."""
    faults = []
    if not np.isfinite(values).all():
        faults.append("a response is not finite. Leave out runs without a value")
    elif scale == "log" and (values <= 0).any():
        faults.append(f"a response is {values.min():g}; it must be above 0 for a log scale")
    elif scale == "share" and ((values < 0) | (values > 1)).any():
        faults.append("a share is outside 0 to 1")
    return faults


def change_interval(
    base: float, difference: float, cov: Floats, reach: float, scale: Scale
) -> tuple[float, float | None, float | None]:
    """Return the change in units from `base` to `base + difference`, both on the scale, with its interval.

    cov: the covariance of (base, difference), shape (2, 2). reach: standard errors, as of `critical`.

    The interval is the range of the change over the ellipse of all (base, difference) within `reach` standard errors:
    the profile-likelihood interval. It includes 0 exactly if the interval of the difference on the scale does (but at
    the ends of a share). Ends that are not finite are None.
    """
    values, vectors = np.linalg.eigh(cov)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    points = np.array([[base], [difference]]) + reach * root @ np.stack((np.cos(_ANGLES), np.sin(_ANGLES)))
    ends = from_scale(points[0] + points[1], scale) - from_scale(points[0], scale)
    change = float(from_scale(base + difference, scale) - from_scale(base, scale))
    low, high = float(ends.min()), float(ends.max())
    return change, low if isfinite(low) else None, high if isfinite(high) else None
