"""The attainment of a composite: the sum of weight · attainment of its parts, with its bounds from missing data. Pure.

Lower and upper bound are the sums of those of the parts. A composite is *kept* if its lower bound reaches the weighted
mean of the targets, and *not kept* if its upper bound is below that. So a composite is never worse than its worst
part, and it can be kept although a part is not: each part is judged by itself as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from loadgen.analysis.attainment.shown import digits_of, percent_text
from loadgen.programme.composites.composite import Composite
from loadgen.programme.status import PromiseState, Word, time_text

__all__ = ["CompositeState", "composite_state", "composite_states"]


@dataclass(frozen=True, slots=True)
class CompositeState:
    """A composite with its parts. target, ratio, lower, upper: from 0 to 1; None where a part has none.

    why: why there is no attainment; "" if there is one. note: what a reader must know about the figure; often "".
    """

    composite: Composite
    parts: tuple[PromiseState, ...]
    word: Word
    target: Fraction
    ratio: Fraction | None = None
    lower: Fraction | None = None
    upper: Fraction | None = None
    why: str = ""
    note: str = ""

    @property
    def attainment(self) -> str:
        """Return the attainment in percent, rounded down; "not measured" without one."""
        return "not measured" if self.ratio is None else self._text(self.ratio)

    @property
    def target_text(self) -> str:
        """Return the target in percent; with the digits of its finest part."""
        return f"{f'{float(self.target) * 100:.{self._digits}f}'.rstrip('0').rstrip('.')} %"

    @property
    def says(self) -> str:
        """Return the state with each part, without a full stop."""
        if self.why:
            return f"{self.word}: {self.why}"
        shares = zip(self.composite.shares, self.parts, strict=True)
        sums = " + ".join(f"{share} · {one.attainment} of {one.objective.name}" for share, one in shares)
        text = f"{self.word}: {self.attainment} against {self.target_text}: {sums}"
        if self.lower is not None and self.upper is not None and self.lower != self.upper:
            text += f"; at least {self._text(self.lower)}, at most {self._text(self.upper)}"
        return f"{text}; {self.note}" if self.note else text

    @property
    def _digits(self) -> int:
        return max(digits_of(one.objective.target) for one in self.parts) + 1

    def _text(self, share: Fraction) -> str:
        finest = max((one.objective.target for one in self.parts), key=digits_of)
        # The bounds of parts are floats. Differences in the 12th place are of the arithmetic, and must not round down.
        rounded = Fraction(round(float(share), 12)).limit_denominator(10**12)
        return percent_text(rounded.numerator, rounded.denominator, target=finest)


def composite_states(composites: Iterable[Composite], states: Sequence[PromiseState]) -> Iterator[CompositeState]:
    """Yield the state of each composite whose parts are all among the states."""
    known = {one.objective.name: one for one in states}
    for composite in composites:
        parts = [known[one.objective] for one in composite.parts if one.objective in known]
        if len(parts) == len(composite.parts):
            yield composite_state(composite, tuple(parts))


def composite_state(composite: Composite, parts: tuple[PromiseState, ...]) -> CompositeState:
    """Return the state of a composite. parts: the states of its promises, in its order."""
    target = composite.target(tuple(one.objective for one in parts))
    silent = [one for one in parts if one.judgement is None or one.judgement.lower is None]
    if silent:
        word: Word = next((one.word for one in silent if one.word != "undecided"), "no data")
        return CompositeState(composite, parts, word, target, why=", ".join(map(_silence, silent[:3])))
    lower, upper, ratio = (_mean(composite, [_figure(one, key) for one in parts]) for key in ("lower", "upper", ""))
    # As in the judgement of a part: both sides as the same floats, so that parts which just reach theirs keep this one.
    wanted = _mean(composite, [Fraction(float(one.objective.target)) for one in parts])
    assert lower is not None
    assert upper is not None
    assert wanted is not None
    word = "kept" if lower >= wanted else "not kept" if upper < wanted else "undecided"
    ends = {one.end for one in parts}
    note = f"its parts end at {' and '.join(map(time_text, sorted(ends)))}" if len(ends) > 1 else ""
    return CompositeState(composite, parts, word, target, ratio, lower, upper, note=note)


def _silence(one: PromiseState) -> str:
    return f"{one.objective.name} {'is' if one.word == 'not judged' else 'has'} {one.word}"


def _figure(one: PromiseState, key: str) -> Fraction | None:
    assert one.judgement is not None
    if not key:
        observed = one.judgement.observed
        return Fraction(observed.good) / Fraction(observed.of) if observed.of else None
    found = one.judgement.lower if key == "lower" else one.judgement.upper
    return None if found is None else Fraction(found)


def _mean(composite: Composite, values: Sequence[Fraction | None]) -> Fraction | None:
    known = [one for one in values if one is not None]
    if len(known) < len(values):
        return None
    return sum((share * one for share, one in zip(composite.shares, known, strict=True)), Fraction(0))
