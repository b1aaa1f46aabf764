"""Finds attributes that slow traces have and fast ones do not: a version, an instance, a tenant, another load.

Texts and truth values that slow traces have more often are tested by Fisher's exact test, on the numbers of traces with
and without the value. Numbers with more than 10 different values are tested by the rank sum of Wilcoxon, Mann and
Whitney, with the correction for ties. All tests together are corrected by the procedure of Benjamini and Hochberg.
Values that are in the same traces (Jaccard index of at least 0.95) are one test.

Each trace should have one chance to have a value, however many calls it makes: `loadgen.traces.trace_attributes`
takes the first call of each step. Otherwise attributes of instances that are only called more often would differ, too.

A value needs at least 10 traces. At most 200 values of a key are tested, the commonest ones. A key with different
values in almost all traces (an order's number) is not tested; its name is in the result.

Sources: Y. Benjamini, Y. Hochberg, J. R. Stat. Soc. B 57, 1995; H. Mann, D. Whitney, Ann. Math. Stat. 18, 1947.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = [
    "Attributes",
    "Key",
    "Line",
    "Value",
    "benjamini_hochberg",
    "differing",
    "fisher",
    "rank_sum",
]

Floats = npt.NDArray[np.float64]
Value = str | int | float | bool
Key = tuple[str, str]
"""The place of an attribute and its name. The place is a service, `service: operation` for a span's status, or "" for
attributes of our own."""

MOST_Q: Final = 0.05
LEAST_TRACES: Final = 10
MOST_VALUES: Final = 200
_NEARLY_UNIQUE: Final = 0.5
_LEAST_UNIQUE: Final = 20
_LEAST_NUMBERS: Final = 10
_TOGETHER: Final = 0.95
_SAME_PROBABILITY: Final = 1 + 1e-7
"""Tables whose probabilities differ by less are equally probable: sums of logarithms are not exact."""


@dataclass(frozen=True, slots=True)
class Line:
    """One difference. value: None for numbers, whose medians stand in slow and fast instead of shares.

    slow, fast: weighted shares of the traces, 0 to 1. n_slow, n_fast: traces with the value. together: other attributes
    that are in the same traces. p, q: two-sided, without and with the correction.
    """

    key: Key
    value: Value | None
    slow: float
    fast: float
    n_slow: int
    n_fast: int
    p: float
    q: float
    together: tuple[tuple[Key, Value], ...] = ()


@dataclass(frozen=True, slots=True)
class Attributes:
    """The differences, the clearest first, and the keys that were not tested because they are nearly unique."""

    lines: tuple[Line, ...]
    unique: tuple[Key, ...] = ()


def differing(
    traces: Sequence[Mapping[Key, Sequence[Value]]],
    is_slow: npt.NDArray[np.bool_],
    weights: npt.ArrayLike,
) -> Attributes:
    """Return the attributes that slow traces have more often than fast ones, or in which their numbers differ.

    Args:
        traces: the attributes of each trace; several spans of it can have several values of one key.
        is_slow: whether a trace is slow; the others are fast. Shape (traces,).
        weights: of the traces, for the shares.
    """
    array = np.asarray(weights, dtype=np.float64)
    tables, numbers, unique = _tables(traces)
    slow, fast = int(is_slow.sum()), int((~is_slow).sum())
    if not slow or not fast:
        return Attributes((), unique)
    lines: list[Line] = []
    for (key, value), has, together in _joined(tables, is_slow):
        n_slow, n_fast = int((has & is_slow).sum()), int((has & ~is_slow).sum())
        p = fisher(n_slow, slow - n_slow, n_fast, fast - n_fast)
        share_slow, share_fast = _share(has, is_slow, array), _share(has, ~is_slow, array)
        lines.append(Line(key, value, share_slow, share_fast, n_slow, n_fast, p, 1.0, together))
    for key, values in numbers.items():
        present = np.isfinite(values)
        one, other = values[present & is_slow], values[present & ~is_slow]
        if len(one) and len(other):
            medians = float(np.median(one)), float(np.median(other))
            lines.append(Line(key, None, *medians, len(one), len(other), rank_sum(one, other), 1.0))
    q = benjamini_hochberg([line.p for line in lines])
    kept = [replace(line, q=float(at)) for line, at in zip(lines, q, strict=True) if at <= MOST_Q]
    # Equal p are common, since chance has limits: the larger difference is the clearer one.
    kept.sort(key=lambda line: (line.p, line.fast - line.slow, line.key, str(line.value)))
    return Attributes(tuple(kept), unique)


def fisher(slow_with: int, slow_without: int, fast_with: int, fast_without: int) -> float:
    """Return the two-sided p of Fisher's exact test: all tables that are at most as probable as this one."""
    total_with, slow, total = slow_with + fast_with, slow_with + slow_without, slow_with + slow_without + fast_with
    total += fast_without
    least, most = max(0, total_with + slow - total), min(total_with, slow)
    k = np.arange(least, most + 1, dtype=np.float64)
    terms = [k, total_with - k, slow - k, total - total_with - slow + k]
    logs = -sum((special.gammaln(term + 1) for term in terms), np.zeros(len(k)))
    chances = np.exp(logs - special.logsumexp(logs))
    seen = chances[slow_with - least]
    return float(min(1.0, chances[chances <= seen * _SAME_PROBABILITY].sum()))


def rank_sum(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Return the two-sided p of the rank sum test by the normal distribution, with corrections for ties and steps.

    one, other: shape (n,) and (m,), both above 0; exact enough from 8 values each.
    """
    first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    n, m = len(first), len(second)
    _, places, counts = np.unique(np.concatenate((first, second)), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    u = float(ranks[:n].sum()) - n * (n + 1) / 2
    total = n + m
    ties = float((counts.astype(np.float64) ** 3 - counts).sum())
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1))) if total > 1 else 0.0
    if variance <= 0:
        return 1.0
    z = max(0.0, abs(u - n * m / 2) - 0.5) / variance**0.5
    return float(min(1.0, 2 * special.ndtr(-z)))


def benjamini_hochberg(p: Sequence[float]) -> Floats:
    """Return the adjusted p (q) of several tests, in the order of `p`."""
    values = np.asarray(p, dtype=np.float64)
    if not len(values):
        return values
    order = np.argsort(values, kind="stable")[::-1]
    ranks = np.arange(len(values), 0, -1)
    q = np.empty(len(values))
    q[order] = np.minimum(1.0, np.minimum.accumulate(values[order] * len(values) / ranks))
    return q


def _tables(
    traces: Sequence[Mapping[Key, Sequence[Value]]],
) -> tuple[dict[tuple[Key, Value], npt.NDArray[np.bool_]], dict[Key, Floats], tuple[Key, ...]]:
    """Return which traces have each value, the numbers of each trace, and the nearly unique keys."""
    keys: dict[Key, None] = {}
    for attributes in traces:
        keys.update(dict.fromkeys(attributes))
    tables: dict[tuple[Key, Value], npt.NDArray[np.bool_]] = {}
    numbers: dict[Key, Floats] = {}
    unique = []
    for key in keys:
        having = [(n, attributes[key]) for n, attributes in enumerate(traces) if key in attributes]
        # 1 and True are equal as keys of a dict, so the type belongs to the value.
        counts = Counter((type(v), v) for _, values in having for v in set(values) if v == v)
        if _are_numbers(counts):
            numbers[key] = _highest(having, len(traces))
            continue
        if len(counts) >= _LEAST_UNIQUE and len(counts) > _NEARLY_UNIQUE * len(having):
            unique.append(key)
            continue
        common = [(kind, v) for (kind, v), n in counts.most_common(MOST_VALUES) if n >= LEAST_TRACES]
        for kind, value in common:
            has = np.zeros(len(traces), dtype=np.bool_)
            has[[n for n, values in having if any(type(v) is kind and v == value for v in values)]] = True
            tables[key, value] = has
    return tables, numbers, tuple(sorted(unique))


def _are_numbers(counts: Mapping[tuple[type, Value], int]) -> bool:
    return len(counts) > _LEAST_NUMBERS and all(kind in (int, float) for kind, _ in counts)


def _highest(having: Sequence[tuple[int, Sequence[Value]]], count: int) -> Floats:
    highest = np.full(count, np.nan)
    for n, values in having:
        highest[n] = max((float(v) for v in values if v == v), default=np.nan)
    return highest


def _share(has: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_], weights: Floats) -> float:
    whole = float(weights[among].sum())
    return float(weights[has & among].sum()) / whole if whole > 0 else 0.0


def _joined(
    tables: Mapping[tuple[Key, Value], npt.NDArray[np.bool_]], is_slow: npt.NDArray[np.bool_]
) -> list[tuple[tuple[Key, Value], npt.NDArray[np.bool_], tuple[tuple[Key, Value], ...]]]:
    """Return the values that slow traces have more often, those of the same traces as one, named by the first.

    The direction is chosen before the test. If there is no difference, both directions are equally probable, so p stays
    right, and each value of a key with two values is not tested twice.
    """
    heads: list[tuple[tuple[Key, Value], npt.NDArray[np.bool_], list[tuple[Key, Value]]]] = []
    slow, fast = int(is_slow.sum()), int((~is_slow).sum())
    for name, has in tables.items():
        if (has & is_slow).sum() * fast <= (has & ~is_slow).sum() * slow:
            continue
        for _, of_head, together in heads:
            if (has & of_head).sum() >= _TOGETHER * (has | of_head).sum():
                together.append(name)
                break
        else:
            heads.append((name, has, []))
    return [(name, has, tuple(together)) for name, has, together in heads]
