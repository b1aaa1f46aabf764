"""Inference servers made of numbers, with a knee that is known: what a steered load would see of their streams.

Both answer with streams. As in a real run, a good result counts only when its answer ends, and a stream without a token
that is older than the limit is bad at once.
"""

from __future__ import annotations

import heapq

import numpy as np

from loadgen.measure.objectives.steering_observation import RUNGS, Look, Part

__all__ = ["BatchEngine", "Slots"]


class Slots:
    """Serves `slots` answers at a time for `service_s` each, in turn: a knee at slots / service_s.

    answer_s: time from the first token to the end of an answer, beside the slot.
    """

    def __init__(self, slots: int, service_s: float, limit_s: float, answer_s: float = 0.0) -> None:
        self._service_s, self._limit_s, self._answer_s = service_s, limit_s, answer_s
        self._free = [0.0] * slots
        self._now = self._next = 0.0
        self._open: list[tuple[float, float]] = []
        """When each was called, and its time to first token."""

    def look(self, rate_per_s: float) -> Look:
        start_s, self._now = self._now, self._now + 1.0
        self._next = max(self._next, start_s)
        due = 0
        while self._next < self._now:
            begin = max(heapq.heappop(self._free), self._next)
            heapq.heappush(self._free, begin + self._service_s)
            self._open.append((self._next, begin + self._service_s / 2 - self._next))
            self._next, due = self._next + 1 / rate_per_s, due + 1
        good, bad, finished = [], 0, 0
        left = []
        for at, ttft in self._open:
            end = at + ttft + self._service_s / 2 + self._answer_s
            is_late = ttft > self._limit_s
            if is_late and start_s <= at + self._limit_s < self._now:
                bad += 1
            if end < self._now:
                finished += 1
                if not is_late:
                    good.append(ttft)
            else:
                left.append((at, ttft))
        self._open = left
        slower = tuple(sum(ttft > rung * self._limit_s for ttft in good) for rung in RUNGS)
        parts = (Part(0, "ask", len(good), bad, slower),) if good or bad else ()
        return Look(start_s, self._now, rate_per_s, due, due, finished=finished, parts=parts, in_flight=len(self._open))


class BatchEngine:
    """Gives each of its streams a token a step. A step takes a time that grows with the number of streams.

    step = (fixed_s + each_s * streams) * noise. All gaps of a step are equal, so they are not independent. The knee for
    the percentile q of the gaps follows from the quantile of the noise; `knee_per_s` solves it for the mean load.
    """

    def __init__(self, fixed_s: float, each_s: float, tokens: int, limit_s: float, seed: int) -> None:
        self._fixed_s, self._each_s, self._tokens, self._limit_s = fixed_s, each_s, tokens, limit_s
        self._random = np.random.default_rng(seed)
        self._now = self._next = self._step_at = 0.0
        self._streams: list[list[float]] = []
        """The gaps of each running stream."""

    @property
    def knee_per_s(self) -> float:
        """The rate at which 99 % of the gaps are within the limit: streams = rate * tokens * mean step."""
        mean_s = self._limit_s / np.exp(2.326 * 0.1)
        streams = (mean_s - self._fixed_s) / self._each_s
        return float(streams / (self._tokens * mean_s))

    def look(self, rate_per_s: float) -> Look:
        start_s, self._now = self._now, self._now + 1.0
        due = finished = 0
        gaps: list[float] = []
        self._next = max(self._next, start_s)
        while self._step_at < self._now:
            while self._next <= self._step_at:
                self._streams.append([])
                self._next, due = self._next + 1 / rate_per_s, due + 1
            step_s = (self._fixed_s + self._each_s * len(self._streams)) * self._random.lognormal(0, 0.1)
            for one in self._streams:
                one.append(step_s)
            ended = [one for one in self._streams if len(one) == self._tokens]
            self._streams = [one for one in self._streams if len(one) < self._tokens]
            finished += len(ended)
            gaps += [gap for one in ended for gap in one]
            self._step_at += step_s
        values = np.array(gaps)
        good = values[values <= self._limit_s]
        slower = tuple(int((good > rung * self._limit_s).sum()) for rung in RUNGS)
        parts = (Part(0, "ask", len(good), len(values) - len(good), slower),) if gaps else ()
        return Look(
            start_s, self._now, rate_per_s, due, due, finished=finished, parts=parts, in_flight=len(self._streams)
        )
