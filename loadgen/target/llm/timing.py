"""When the tokens of an answer are sent: the model of a server, as plain arithmetic.

Nothing here reads a clock or sends anything. Times are ns after the start of a request, which is its arrival or, with
`--slots`, the time at which it gets a slot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from loadgen.splitmix import mixed
from loadgen.target.llm.config import LlmConfig

__all__ = ["Slots", "token_times"]

_TWO_53: Final = float(1 << 53)


def token_times(config: LlmConfig, number: int, uncached_tokens: int, events: int) -> Iterator[int]:
    """Yield when each of `events` events of tokens is sent, in ns.

    Args:
        number: of the request, from 0; it selects the warm-up and the jitter.
        uncached_tokens: prompt tokens that the prefix cache does not hold.
    """
    jitter = _Jitter(config, number)
    ttft_ns = config.ttft_ns + config.per_token_ns * uncached_tokens
    if number < config.warmup_requests:
        ttft_ns += config.warmup_penalty_ns
    if config.service_ns:
        extra_ns = ttft_ns - config.ttft_ns
        last_ns = round((config.service_ns + extra_ns) * jitter.factor())
        first_ns = min(ttft_ns, last_ns) if events > 1 else last_ns
        for at in range(events):
            yield first_ns + (last_ns - first_ns) * at // max(1, events - 1)
        return
    at_ns = round(ttft_ns * jitter.factor())
    yield at_ns
    for _ in range(events - 1):
        at_ns += round(config.itl_ns * jitter.factor())
        yield at_ns


class _Jitter:
    """Draws factors around 1 for one request, as a function of (seed, number)."""

    __slots__ = ("_share", "_state")

    def __init__(self, config: LlmConfig, number: int) -> None:
        self._share = config.jitter
        self._state = mixed(mixed(config.seed & (1 << 64) - 1) + number)

    def factor(self) -> float:
        """Return the next factor, uniform from 1 - jitter to 1 + jitter."""
        if not self._share:
            return 1.0
        self._state += 0x9E3779B97F4A7C15
        return 1.0 + self._share * (2.0 * (mixed(self._state) >> 11) / _TWO_53 - 1.0)


@dataclass(slots=True)
class Slots:
    """A queue in front of a number of slots, in the order of arrival. count: 0 for no limit."""

    count: int
    running: int = 0
    _waiting: deque[Callable[[int], bool]] = field(default_factory=deque)
    left: int = 0
    """Waiting requests whose client has left; they are still in the queue."""

    @property
    def waiting(self) -> int:
        return len(self._waiting) - self.left

    def ask(self, now_ns: int, begin: Callable[[int], bool]) -> None:
        """Call `begin` with the start time: now if a slot is free, else when one becomes free.

        begin: returns False if its client has left, so that it needs no slot.
        """
        if self.count and self.running >= self.count:
            self._waiting.append(begin)
        else:
            self.running += 1
            begin(now_ns)

    def free(self, at_ns: int) -> None:
        """Give the slot of a request that ended at `at_ns` to the next one.

        `at_ns` is the planned end, so that the delays of sends do not add up over the requests of a slot.
        """
        while self._waiting:
            if self._waiting.popleft()(at_ns):
                return
            self.left -= 1
        self.running -= 1
