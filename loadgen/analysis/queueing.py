"""Queueing formulas, as checks of a measured capacity: M/M/1, M/M/c, M/G/1 and the approximations for G/G/c.

    markov_queue(rate=80, service_rate=10, servers=10).share_waiting       # 0.409...: Erlang C
    highest_rate(limit_s=0.5, quantile=0.99, service_rate=100).value       # 90.78...: M/M/1
    general_queue(rate=80, mean_service_s=0.1, servers=10, cv_arrivals=2).mean_wait_s

A formula is right for a target that meets its assumptions, and few targets do. So each result contains its assumptions
as sentences, and no command of loadgen takes a capacity from here: a formula that is far from the measurement says that
an assumption is wrong, for example that arrivals are bursty or that requests wait for something else than servers.

Rates are per second, times in seconds, and a coefficient of variation (cv) is the standard deviation divided by the
mean. Sources: D. Gross et al., Fundamentals of Queueing Theory, 4th edition, 2008: 2.2, 2.3 (M/M/1, M/M/c), 5.1
(Pollaczek-Khinchine); J. F. C. Kingman, Proc. Camb. Phil. Soc. 57, 1961; A. O. Allen, Probability, Statistics and
Queueing Theory, 1990 (Allen-Cunneen).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, expm1, inf, log
from typing import Final

from loadgen.analysis.values_to_float_array import setting_wrong

__all__ = [
    "GeneralQueue",
    "HighestRate",
    "MarkovQueue",
    "erlang_b",
    "erlang_c",
    "general_queue",
    "highest_rate",
    "markov_queue",
]

MOST_SERVERS: Final = 1_000_000
"""The largest number of servers; a result takes a time proportional to it (0.1 s)."""
_STEPS: Final = 200
"""The most halvings of a bisection. It ends earlier, when no float is left between both ends."""

_POISSON: Final = "Arrivals are independent of each other (Poisson): no bursts, no retries, no users that wait."
_EXPONENTIAL: Final = "Service times are exponential and independent of each other and of the load."
_FIRST_COME: Final = "Requests are served in the order of arrival, and none leaves the queue early."
_STEADY: Final = "Rate and service times stay as they are for long enough that the queue is in its steady state."
_ONE_SERVER: Final = "One server works on one request at a time."
_SERVERS: Final = "Each of the {} servers works on one request at a time, and all of them take from one queue."
_INDEPENDENT: Final = "Gaps between arrivals are independent of each other, and so are service times."
_ONLY_MEANS: Final = "The formula has means only: a percentile would need the whole distribution of service times."
_HEAVY: Final = "It is an approximation, good near full utilisation; with much less load it can be far off."


@dataclass(frozen=True, slots=True)
class MarkovQueue:
    """A queue with Poisson arrivals and exponential service times in its steady state. Figures are exact."""

    model: str
    """"M/M/1" or "M/M/10"."""
    rate: float
    """Arrivals per second."""
    service_rate: float
    """Requests that one busy server ends per second."""
    servers: int
    share_waiting: float
    """The probability that an arriving request waits (Erlang C), 0 to 1."""
    assumptions: tuple[str, ...]
    """Assumptions about the target under which the figures hold, one sentence each."""

    @property
    def utilisation(self) -> float:
        """Return the share of time in which a server is busy, 0 to 1."""
        return self.rate / (self.servers * self.service_rate)

    @property
    def mean_wait_s(self) -> float:
        """Return the mean time in the queue, without service."""
        return self.share_waiting / self._spare

    @property
    def mean_response_s(self) -> float:
        """Return the mean time from arrival to the end of service."""
        return self.mean_wait_s + 1 / self.service_rate

    @property
    def mean_waiting(self) -> float:
        """Return the mean number of requests in the queue."""
        return self.rate * self.mean_wait_s

    @property
    def mean_in_system(self) -> float:
        """Return the mean number of requests that wait or are served."""
        return self.rate * self.mean_response_s

    def response_above(self, limit_s: float) -> float:
        """Return the probability that a response takes longer than `limit_s`, 0 to 1."""
        return _response_above(limit_s, self._spare, self.service_rate, self.share_waiting)

    def wait_quantile_s(self, quantile: float) -> float:
        """Return the time in the queue that this share of requests does not exceed; 0 if they do not wait."""
        _check_all([_quantile_wrong(quantile)])
        return max(log(self.share_waiting / (1 - quantile)) / self._spare, 0.0) if self.share_waiting else 0.0

    def response_quantile_s(self, quantile: float) -> float:
        """Return the response time that this share of requests does not exceed: 0.99 for p99."""
        _check_all([_quantile_wrong(quantile)])
        above = 1 - quantile
        # A response above t has a wait or a service above t / 2, so this is an upper limit.
        high = 2 * log(2 / above) / min(self._spare, self.service_rate)
        return _last_below(lambda time: self.response_above(time) >= above, 0.0, high)

    @property
    def _spare(self) -> float:
        """Return the rate at which the queue shrinks while it is not empty, less the arrivals, 1/s."""
        return self.servers * self.service_rate - self.rate


@dataclass(frozen=True, slots=True)
class GeneralQueue:
    """Means of a queue with any arrivals or service times, by the formula that `model` names."""

    model: str
    """"M/G/1 (Pollaczek-Khinchine)", "G/G/1 (Kingman)" or "G/G/10 (Allen-Cunneen)"."""
    is_exact: bool
    """Whether the formula is exact under its assumptions; otherwise it is an approximation."""
    utilisation: float
    mean_wait_s: float
    mean_response_s: float
    mean_waiting: float
    """The mean number of requests in the queue."""
    assumptions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HighestRate:
    """The highest rate at which a queue keeps a limit of response times."""

    model: str
    value: float
    """1/s; 0 if a service alone takes too long, so that no rate keeps the limit."""
    utilisation: float
    assumptions: tuple[str, ...]


def erlang_b(servers: int, offered: float) -> float:
    """Return the probability that all servers are busy if requests do not wait (Erlang B), 0 to 1.

    Args:
        servers: 1 to 1,000,000.
        offered: the offered load in erlang: rate times mean service time, at least 0.

    The recursion over the number of servers adds and multiplies numbers from 0 to 1, so it neither overflows nor loses
    digits. It takes 0.1 s for a million servers.

    Raises:
        ValueError: an argument is out of range.
    """
    _check_all([_servers_wrong(servers), setting_wrong("offered", offered, "at least 0", _at_least_0)])
    blocked = 1.0
    for busy in range(1, int(servers) + 1):
        blocked = offered * blocked / (busy + offered * blocked)
    return blocked


def erlang_c(servers: int, offered: float) -> float:
    """Return the probability that an arriving request waits in M/M/c (Erlang C), 0 to 1: `erlang_c(10, 8)` is 0.409.

    servers, offered: as in `erlang_b`; offered below `servers`, or the queue grows without a limit.

    Raises:
        ValueError: an argument is out of range.
    """
    blocked = erlang_b(servers, offered)
    if offered >= servers:
        raise ValueError(_unstable(offered, servers))
    return servers * blocked / (servers - offered * (1 - blocked))


def markov_queue(rate: float, service_rate: float, servers: int = 1) -> MarkovQueue:
    """Return the steady state of M/M/1, or of M/M/c with more servers.

    Args:
        rate: arrivals per second, at least 0.
        service_rate: what one busy server ends per second, above 0.
        servers: as in `erlang_b`.

    Raises:
        ValueError: an argument is out of range, or the rate is not below `servers * service_rate`. With all errors.
    """
    _check_all([_rate_wrong(rate), _service_wrong(service_rate), _servers_wrong(servers)])
    offered = rate / service_rate
    if offered >= servers:
        raise ValueError(_unstable(offered, servers))
    return MarkovQueue(
        model=f"M/M/{servers}",
        rate=rate,
        service_rate=service_rate,
        servers=servers,
        share_waiting=erlang_c(servers, offered),
        assumptions=_markov_assumptions(servers),
    )


def highest_rate(limit_s: float, quantile: float, service_rate: float, servers: int = 1) -> HighestRate:
    """Return the highest rate at which a share of the responses of M/M/c takes at most `limit_s`.

    `highest_rate(0.5, 0.99, 100)`: M/M/1 with 100 services a second keeps p99 <= 0.5 s up to 90.79/s.

    Args:
        limit_s: above 0.
        quantile: 0.99 for p99, between 0 and 1.
        service_rate, servers: as in `markov_queue`.

    Raises:
        ValueError: an argument is out of range. With all errors.
    """
    _check_all(
        [
            setting_wrong("limit_s", limit_s, "above 0", _above_0),
            _quantile_wrong(quantile),
            _service_wrong(service_rate),
            _servers_wrong(servers),
        ]
    )
    full = servers * service_rate

    def keeps(rate: float) -> bool:
        if rate >= full:
            return False
        waiting = erlang_c(servers, rate / service_rate) if rate / service_rate < servers else 1.0
        return _response_above(limit_s, full - rate, service_rate, waiting) <= 1 - quantile

    if servers == 1:
        value = max(service_rate + log(1 - quantile) / limit_s, 0.0)
    else:
        value = _last_below(keeps, 0.0, full) if keeps(0.0) else 0.0
    return HighestRate(f"M/M/{servers}", value, value / full, _markov_assumptions(servers))


def general_queue(
    rate: float, mean_service_s: float, *, servers: int = 1, cv_arrivals: float = 1.0, cv_service: float = 1.0
) -> GeneralQueue:
    """Return the mean waiting time where arrivals come in bursts, or where service times are not exponential.

    The mean wait is that of M/M/c, multiplied with (cv_arrivals² + cv_service²) / 2. This is exact for one server with
    Poisson arrivals (Pollaczek-Khinchine), and for M/M/c. Otherwise it is an approximation: Kingman's for one server,
    and Allen and Cunneen's for several.

    Args:
        rate: arrivals per second, at least 0.
        mean_service_s: above 0.
        servers: as in `erlang_b`.
        cv_arrivals: of the gaps between arrivals; 1 for Poisson arrivals, 0 for a regular load.
        cv_service: of the service times; 1 for exponential ones, 0 for constant ones.

    Raises:
        ValueError: an argument is out of range, or the servers are not enough for the rate. With all errors.
    """
    _check_all(
        [
            _rate_wrong(rate),
            setting_wrong("mean_service_s", mean_service_s, "above 0", _above_0),
            _servers_wrong(servers),
            setting_wrong("cv_arrivals", cv_arrivals, "at least 0", _at_least_0),
            setting_wrong("cv_service", cv_service, "at least 0", _at_least_0),
        ]
    )
    offered = rate * mean_service_s
    if offered >= servers:
        raise ValueError(_unstable(offered, servers))
    wait = erlang_c(servers, offered) * mean_service_s / (servers - offered) * (cv_arrivals**2 + cv_service**2) / 2
    is_poisson = cv_arrivals == 1
    is_exact = is_poisson and (servers == 1 or cv_service == 1)
    where = _ONE_SERVER if servers == 1 else _SERVERS.format(f"{servers:,}")
    name = "Pollaczek-Khinchine" if servers == 1 and is_poisson else "Kingman" if servers == 1 else "Allen-Cunneen"
    return GeneralQueue(
        model=f"{'M' if is_poisson else 'G'}/G/{servers} ({name})",
        is_exact=is_exact,
        utilisation=offered / servers,
        mean_wait_s=wait,
        mean_response_s=wait + mean_service_s,
        mean_waiting=rate * wait,
        assumptions=(
            _POISSON if is_poisson else _INDEPENDENT,
            where,
            _FIRST_COME,
            _STEADY,
            _ONLY_MEANS,
            *(() if is_exact else (_HEAVY,)),
        ),
    )


def _response_above(limit_s: float, spare: float, service_rate: float, waiting: float) -> float:
    """Return P(response > limit_s): service with probability 1 - waiting, else service and an exponential wait.

    spare: the rate of that wait. The difference of both exponentials, divided by that of their rates, is written with
    `expm1`, because the rates can be equal or almost equal.
    """
    if limit_s <= 0:
        return 1.0
    slow, fast = min(spare, service_rate), max(spare, service_rate)
    ratio = limit_s if fast == slow else -expm1(-(fast - slow) * limit_s) / (fast - slow)
    return min(exp(-service_rate * limit_s) + waiting * service_rate * exp(-slow * limit_s) * ratio, 1.0)


def _last_below(is_below: Callable[[float], bool], low: float, high: float) -> float:
    """Return the largest float up to which `is_below` is true, by bisection; it is true at `low`, false at `high`."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return low


def _markov_assumptions(servers: int) -> tuple[str, ...]:
    where = _ONE_SERVER if servers == 1 else _SERVERS.format(f"{servers:,}")
    return (_POISSON, _EXPONENTIAL, where, _FIRST_COME, _STEADY)


def _unstable(offered: float, servers: int) -> str:
    return (
        f"the offered load of {offered:g} erlang needs more than {servers:,} {'server' if servers == 1 else 'servers'}:"
        " the queue would grow without a limit"
    )


def _rate_wrong(rate: float) -> str:
    return setting_wrong("rate", rate, "at least 0", _at_least_0)


def _service_wrong(service_rate: float) -> str:
    return setting_wrong("service_rate", service_rate, "above 0", _above_0)


def _quantile_wrong(quantile: float) -> str:
    return setting_wrong("quantile", quantile, "between 0 and 1", lambda value: 0 < value < 1)


def _servers_wrong(servers: int) -> str:
    wanted = f"an integer from 1 to {MOST_SERVERS:,}"
    return setting_wrong("servers", servers, wanted, lambda value: 1 <= value <= MOST_SERVERS and value == int(value))


def _at_least_0(value: float) -> bool:
    return 0 <= value < inf


def _above_0(value: float) -> bool:
    return 0 < value < inf


def _check_all(wrong: list[str]) -> None:
    """Raise ValueError with all errors; "" means no error."""
    if found := [one for one in wrong if one]:
        raise ValueError("; ".join(found))
