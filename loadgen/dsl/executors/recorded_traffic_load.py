"""Loads from recorded traffic.

    replay("traffic.csv")                                     rates over time, each held until the next
    replay("traffic.csv", counts=True, speed=60)              counts over time: an hour of them in a minute
    replay("traffic.csv", counts=True).poisson()              as many on average, at random times
    replay.timestamps("trace.csv.gz", column="TIMESTAMP")     each arrival at its own time
    replay.timestamps("trace.jsonl", column="timestamp", unit="ms", clip="60s")

A file of counts gives exactly that many arrivals in each of its bins, evenly spaced. With
`poisson` or `gamma` it gives as many on average, at random times, since real arrivals are
not even. A file of timestamps keeps every distance between two arrivals. The files are in
the scenario's folder and travel with it. `recorded_traffic_csv.py` reads a file when its
load is first used, and reports all errors in it with file and line.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from fractions import Fraction
from itertools import pairwise
from math import ceil, isfinite
from os import PathLike
from pathlib import Path
from typing import Final, Literal, cast, get_args

import numpy as np

from loadgen.dsl.data.json_cells import is_json_lines
from loadgen.dsl.data.rowfile import FileFaults
from loadgen.dsl.data.scaled_rows import scaled_rows, wrong_scale
from loadgen.dsl.executors.base import Executor, Lowered
from loadgen.dsl.executors.parse_quantities import duration_of, gamma_shape, seed_of
from loadgen.dsl.executors.recorded_traffic_csv import Bin, Column, Gaps, Point, held, read_points, read_times
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ProfileError, ScenarioError
from loadgen.profiles.given_arrival_times import TimedProfile
from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.spacing import Spacing
from loadgen.profiles.stage import Stage, exact
from loadgen.units import NS_PER_S, format_duration

__all__ = ["Recording", "Replay", "ReplayedCurve", "ReplayedTimes", "replay"]

_GRAINS_NS: Final = (1, 1_000, 1_000_000)
"""Units to which the edges of bins are rounded if `speed` does not divide them: the finest that keeps counts exact."""


class Recording(Executor):
    """Base of loads from a file. The file is read once, on first use."""

    def __init__(self, origin: Origin, path: object, columns: dict[str, object], factors: dict[str, object]) -> None:
        self._origin = origin
        self._faults: list[Fault] = []
        self._read: Lowered | ScenarioError | None = None
        place = origin.beside(path)
        self.path = place or Path()
        if place is None:
            self._report(f"{path!r} is not a path of a file", 'write replay("traffic.csv")')
        for name, column in columns.items():
            if isinstance(column, bool) or not isinstance(column, str | int) or (column != 0 and not column):
                self._report(
                    f"{name}={column!r} is not a column", "write a name in the header, or an index: 0 is the first"
                )
            elif isinstance(column, int) and column < 0:
                self._report(f"{name}={column} is not a column", "write an index of at least 0: 0 is the first")
        self._factors = {name: self._factor(name, value) for name, value in factors.items()}

    @property
    def origin(self) -> Origin:
        return self._origin

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Return the errors in the arguments. Errors in the file are raised by `lower`."""
        return tuple(self._faults)

    @property
    def files(self) -> tuple[Path, ...]:
        return () if self._faults else (self.path,)

    def lower(self, seed: int) -> Lowered:
        """Return the recorded load as a profile and times; `seed` has no influence.

        Raises:
            ScenarioError: with the errors in the arguments, or in the file.
        """
        if self._faults:
            raise ScenarioError(self._faults)
        if self._read is None:
            try:
                self._read = self._built()
            except ProfileError as error:
                self._read = ScenarioError(self._origin.fault(f.message, f.hint) for f in error.faults)
            except ScenarioError as error:
                self._read = error
        if isinstance(self._read, ScenarioError):
            raise ScenarioError(self._read.faults)
        return self._read

    @abstractmethod
    def _built(self) -> Lowered: ...

    def _report(self, message: str, hint: str = "") -> None:
        self._faults.append(self._origin.fault(message, hint))

    def _factor(self, name: str, value: object) -> Fraction:
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value <= 0:
            self._report(f"{name}={value!r} is not a valid factor", f"write a finite number above 0: {name}=10")
            return Fraction(1)
        return exact(value)

    @property
    def _label(self) -> str:
        return f"replay of {self.path.name}"

    def __repr__(self) -> str:
        return f"<{self._label} at {self._origin}>"


class ReplayedCurve(Recording):
    """A load of recorded rates or counts over time. Created by `replay`."""

    def __init__(
        self,
        origin: Origin,
        path: object,
        *,
        time: object,
        rate: object,
        counts: object,
        interpolate: object,
        gaps: object,
        speed: object,
        scale: object,
    ) -> None:
        super().__init__(origin, path, {"time": time, "rate": rate}, {"speed": speed, "scale": scale})
        self._time, self._rate = cast("Column", time), cast("Column", rate)
        self._is_count, self._is_line = bool(counts), bool(interpolate)
        self._gaps = cast("Gaps", gaps)
        self._shape: float | None = None
        self._seed: int | None = None
        if gaps not in get_args(Gaps):
            self._report(f"gaps={gaps!r} is unknown", 'write "refuse", "zero" or "hold"')
        if interpolate and counts:
            self._report(
                "counts= and interpolate= exclude each other: interpolated rates do not keep counts",
                "leave one of them out",
            )
        if interpolate and gaps == "zero":
            self._report(
                'gaps="zero" and interpolate= exclude each other', 'write gaps="hold" to interpolate across the gap'
            )

    def poisson(self, seed: int | None = None) -> ReplayedCurve:
        """Return this load with random, independent arrivals on the same curve: as many in each bin on average.

        seed: seed of the spacings; None: the run's seed.
        """
        return self._spaced(here(), lambda: 1.0, seed)

    def gamma(
        self, *, cv: float | None = None, burstiness: float | None = None, seed: int | None = None
    ) -> ReplayedCurve:
        """Return this load with gamma-distributed spacings on the same curve: bursts, or more even than random.

        Args:
            cv, burstiness, seed: as in `arrivals(...).gamma`; give either `cv` or `burstiness`.
        """
        return self._spaced(here(), lambda: gamma_shape(cv, burstiness), seed)

    def _spaced(self, origin: Origin, shape: Callable[[], float], seed: int | None) -> ReplayedCurve:
        made = copy(self)
        made._faults = list(self._faults)
        try:
            if self._shape is not None:
                raise ValueError("the spacing is set twice; write poisson() or gamma() only once")
            made._shape, made._seed = shape(), None if seed is None else seed_of(seed)
        except ValueError as error:
            made._faults.append(origin.fault(str(error)))
        return made

    def lower(self, seed: int) -> Lowered:
        lowered = super().lower(seed)
        if self._shape is None:
            return lowered
        assert isinstance(lowered.profile, ArrivalProfile)
        spacing = Spacing(self._shape, (seed if self._seed is None else self._seed) % (1 << 64))
        return Lowered(ArrivalProfile(lowered.profile.stages, spacing, label=self._label))

    def _built(self) -> Lowered:
        faults = FileFaults(self.path)
        points = read_points(self.path, self._origin, self._time, self._rate)
        bins = held(points, self._gaps, faults, is_count=self._is_count)
        faults.refuse()
        stages = self._lines(points) if self._is_line else self._steps(bins)
        return Lowered(ArrivalProfile(stages, label=self._label))

    def _steps(self, bins: Sequence[Bin]) -> tuple[Stage, ...]:
        """Return one stage with a constant rate per bin, whose number of arrivals is exactly the value in the file."""
        speed, scale = self._factors["speed"], self._factors["scale"]
        areas = [
            one.value * scale if self._is_count else one.value * scale * Fraction(one.end_ns - one.start_ns, NS_PER_S)
            for one in bins
        ]
        for grain_ns in _GRAINS_NS:
            edges = [round(Fraction(at_ns) / speed / grain_ns) * grain_ns for at_ns in (0, *(b.end_ns for b in bins))]
            if any(area and start == end for area, (start, end) in zip(areas, pairwise(edges), strict=True)):
                break
            rates = [
                area * NS_PER_S / (end - start) if area else Fraction(0)
                for area, (start, end) in zip(areas, pairwise(edges), strict=True)
            ]
            if all(exact(float(rate)) == rate for rate in rates):
                return tuple(
                    Stage(float(rate), float(rate), end - start)
                    for rate, (start, end) in zip(rates, pairwise(edges), strict=True)
                )
        raise ProfileError(
            f"speed={float(speed):g} and scale={float(scale):g}: the counts of the bins cannot be kept exactly",
            hint="use a speed with bins of whole milliseconds, and a scale with few digits",
        )

    def _lines(self, points: Sequence[Point]) -> tuple[Stage, ...]:
        """Return one stage per pair of neighbouring rows, in which the rate changes linearly from one to the other."""
        speed, scale = self._factors["speed"], self._factors["scale"]
        begin_ns = points[0].at_ns
        edges = [round((point.at_ns - begin_ns) / speed) for point in points]
        rates = [float(point.value * scale * speed) for point in points]
        return tuple(
            Stage(start, end, until - since)
            for (start, end), (since, until) in zip(pairwise(rates), pairwise(edges), strict=True)
        )


class ReplayedTimes(Recording):
    """A load of recorded arrival times. Created by `replay.timestamps`."""

    def __init__(
        self,
        origin: Origin,
        path: object,
        *,
        column: object,
        unit: object,
        speed: object,
        clip: object,
        scale: object,
        conversation: object,
    ) -> None:
        columns = {"column": column} | ({} if conversation is None else {"conversation": conversation})
        super().__init__(origin, path, columns, {"speed": speed})
        self._column, self._conversation = cast("Column", column), cast("Column | None", conversation)
        self._unit_ns = _UNITS_NS.get(str(unit), NS_PER_S)
        if unit not in tuple(_UNITS_NS):
            self._report(f"unit={unit!r} is unknown", 'write unit="s", "ms", "us" or "ns"')
        self._clip_ns = self._clip(clip)
        self._scale = 1.0
        if problem := wrong_scale(scale):
            self._report(*problem.split(" | "))
        else:
            self._scale = float(cast("float", scale))
        if is_json_lines(self.path):
            for name, value in columns.items():
                if isinstance(value, int) and not isinstance(value, bool):
                    example = "timestamp" if name == "column" else "session_id"
                    self._report(f"{name}={value}: JSON lines have keys, not columns", f'write {name}="{example}"')

    def _clip(self, clip: object) -> int | None:
        """Return the longest gap between two arrivals in ns; None for no limit."""
        if clip is None:
            return None
        try:
            clip_ns = duration_of(clip)
        except ValueError as error:
            self._report(f"clip: {str(error).partition('; ')[0]}", 'write clip="60s"')
            return None
        if not clip_ns:
            self._report(f"clip={clip!r} must be above 0", 'write clip="60s"')
        return clip_ns

    @property
    def _label(self) -> str:
        clipped = f", gaps of at most {format_duration(self._clip_ns)}" if self._clip_ns else ""
        scaled = f", scaled by {self._scale:g}" if self._scale != 1 else ""
        return f"replay of {self.path.name}{clipped}{scaled}"

    def _built(self) -> Lowered:
        times_ns = np.frombuffer(
            read_times(self.path, self._origin, self._column, self._unit_ns, self._conversation), dtype=np.int64
        )
        if self._clip_ns is not None:
            gaps_ns = np.minimum(np.diff(times_ns, prepend=times_ns[:1]), self._clip_ns)
            times_ns = np.cumsum(gaps_ns)
        times_s = _scaled(times_ns / NS_PER_S, self._scale)
        if not len(times_s):
            raise ProfileError(
                f"scale={self._scale:g} leaves none of the {len(times_ns)} arrivals", hint="write a larger scale"
            )
        profile = TimedProfile.of(times_s, self._label)
        speed = self._factors["speed"]
        return Lowered(profile.lasting(ceil(profile.duration_ns / speed)) if speed != 1 else profile, times_s)


_UNITS_NS: Final = {"s": NS_PER_S, "ms": 1_000_000, "us": 1_000, "ns": 1}


def _scaled(times_s: np.ndarray, scale: float) -> np.ndarray:
    """Return arrival times that are left out or repeated by `scaled_rows`; they stay in order.

    The copies of an arrival are spread evenly over the gap to the next one, so that they are no burst.
    """
    if scale == 1:
        return times_s
    rows = scaled_rows(len(times_s), scale)
    copies = np.bincount(rows, minlength=len(times_s))
    nth = np.arange(len(rows)) - np.repeat(np.cumsum(copies) - copies, copies)
    gaps_s = np.diff(times_s, append=times_s[-1:] + times_s[-1:] / max(1, len(times_s) - 1))
    scaled: np.ndarray = times_s[rows] + nth * (gaps_s / np.maximum(copies, 1))[rows]
    return scaled


class Replay:
    """The type of `replay`: call it for recorded curves; `replay.timestamps` is for recorded arrivals."""

    def __call__(
        self,
        path: str | PathLike[str],
        *,
        time: Column = 0,
        rate: Column = 1,
        counts: bool = False,
        interpolate: bool = False,
        gaps: Gaps = "refuse",
        speed: float = 1,
        scale: float = 1,
    ) -> ReplayedCurve:
        """Return an open load from a CSV file of times with rates or counts.

        Args:
            path: the CSV file, relative to the calling file, in the scenario's folder or below. An archive whose name
                ends in .gz or .zst is unpacked once.
            time, rate: columns, by name or index from 0. Times are RFC 3339 or seconds; rates are iterations/s.
            counts: the `rate` column has the number of arrivals from its row to the next; each count is kept exactly.
            interpolate: rates change linearly from row to row, instead of being held until the next.
            gaps: "refuse" makes a missing row an error; "zero" means no load there; "hold" keeps the row before.
            speed: 60 plays an hour in a minute: the same arrivals per bin, in shorter bins.
            scale: factor for rates or counts; 0.1 is a tenth of the load.
        """
        return ReplayedCurve(
            here(), path, time=time, rate=rate, counts=counts, interpolate=interpolate, gaps=gaps, speed=speed,
            scale=scale,
        )  # fmt: skip

    def timestamps(
        self,
        path: str | PathLike[str],
        *,
        column: Column = 0,
        unit: Literal["s", "ms", "us", "ns"] = "s",
        speed: float = 1,
        clip: str | float | None = None,
        scale: float = 1,
        conversation: Column | None = None,
    ) -> ReplayedTimes:
        """Return an open load from a file with one row per arrival, each due at its time since the first row's.

        Args:
            path: a CSV file, or JSON lines if its name ends in .jsonl; relative to the calling file. An archive whose
                name ends in .gz or .zst is unpacked once.
            column: the column of times, by name or index from 0; a key in JSON lines. Times are RFC 3339 or numbers, in
                order.
            unit: the unit of times that are numbers.
            speed: 10 plays the arrivals ten times as fast.
            clip: the longest gap between two arrivals, such as "60s", before `speed`. Longer gaps are shortened to it.
            scale: 0.5 leaves out about half of the arrivals, 2 has each one twice, in the same time. Give a feed of the
                same file the same scale, `feed.csv(...).scale(0.5)`, so that each arrival keeps its row.
            conversation: the column of the conversation's key. Only the first row of each conversation is an arrival,
                because its journey sends the later turns. So `scale` keeps and repeats whole conversations.
        """
        return ReplayedTimes(
            here(), path, column=column, unit=unit, speed=speed, clip=clip, scale=scale, conversation=conversation
        )


replay: Final = Replay()
