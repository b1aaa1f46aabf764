"""Burn-rate rules: their factors, their windows, and how long they need for a full outage.

    [rule.factor for rule in standard_rules(30 * DAY_S)]       # 14.4, 6, 3, 1

Burn is the bad ratio divided by the ratio that the target allows: at burn 1 the
budget lasts exactly one window. A rule fires while the burn of its long window
and that of its short window both reach its factor. The long window makes it
sure, and the short one ends it soon after the burn ends.

All factors are exact fractions: 2 % of a 30 d budget in 1 h is 14.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from loadgen.analysis.attainment.exact_share import exact_share

__all__ = [
    "DATADOG_7D",
    "DATADOG_90D",
    "DAY_S",
    "HOUR_S",
    "LEAST_BAD_PAGE",
    "LEAST_BAD_TICKET",
    "SLOTH_7D",
    "BurnRule",
    "burn_of",
    "cannot_fire",
    "detection_s",
    "largest_burn",
    "pyrra_rules",
    "rules_of_shares",
    "rules_of_window",
    "standard_rules",
]

MINUTE_S: Final = 60
HOUR_S: Final = 3600
DAY_S: Final = 86_400
LEAST_BAD_PAGE: Final = 5
"""Bad events in the long window that a page needs. Why: `low_traffic`."""
LEAST_BAD_TICKET: Final = 10

_WINDOWS: Final = (
    (HOUR_S, 5 * MINUTE_S, "page"),
    (6 * HOUR_S, 30 * MINUTE_S, "page"),
    (DAY_S, 2 * HOUR_S, "ticket"),
    (3 * DAY_S, 6 * HOUR_S, "ticket"),
)
_STANDARD: Final = ("0.02", "0.05", "0.10", "0.10")
SLOTH_7D: Final = ("0.08", "0.125", "0.20", "0.42")
"""Shares of the budget in sloth's rules for 7 d: slok/sloth, examples/windows/7d.yaml."""
DATADOG_7D: Final = ("0.10", "0.20", "0.40")
DATADOG_90D: Final = ("0.01", "0.03", "0.05")
"""Shares of the budget that Datadog documents for 7 d and 90 d, with windows of 1 h, 6 h and 24 h."""


@dataclass(frozen=True, slots=True)
class BurnRule:
    """One rule. factor: burn, > 0. long_s, short_s: s, short_s < long_s. severity: "page" or "ticket"."""

    factor: Fraction
    long_s: int
    short_s: int
    severity: str = "page"
    least_bad: int = 0
    """The bad events in the long window without which it does not fire. 0: 10 for a ticket, and else 5."""

    def __post_init__(self) -> None:
        if not self.least_bad:
            is_ticket = self.severity.lower() == "ticket"
            object.__setattr__(self, "least_bad", LEAST_BAD_TICKET if is_ticket else LEAST_BAD_PAGE)

    @classmethod
    def of_share(cls, share: object, period_s: int, long_s: int, short_s: int, severity: str = "page") -> BurnRule:
        """Return the rule that fires once `share` of the budget of `period_s` is spent within `long_s`.

        factor = share * period / long window.

        Raises:
            ValueError: share is not above 0 and below 1, or a time is not above 0.
        """
        if not 0 < short_s < long_s or period_s <= 0:
            raise ValueError("the short window must be above 0 and below the long window, and the period above 0")
        factor = exact_share(share) * period_s / long_s
        return cls(factor, long_s, short_s, severity)

    def share_of(self, period_s: int) -> Fraction:
        """Return the share of a budget that is spent in the long window at this factor."""
        return self.factor * self.long_s / period_s


def rules_of_shares(shares: Iterable[object], period_s: int) -> tuple[BurnRule, ...]:
    """Return rules with the usual windows: 1 h, 6 h, 1 d and 3 d, as many as there are shares of the budget."""
    return tuple(
        BurnRule.of_share(share, period_s, long_s, short_s, severity)
        for share, (long_s, short_s, severity) in zip(shares, _WINDOWS, strict=False)
    )


def standard_rules(period_s: int) -> tuple[BurnRule, ...]:
    """Return the four standard rules for a window of `period_s`: 2 % in 1 h, 5 % in 6 h, 10 % in 1 d, 10 % in 3 d.

    Source: The Site Reliability Workbook, 2018, chapter 5, table 5-8, with the rule of 1 d added, as sloth does.
    """
    return rules_of_shares(_STANDARD, period_s)


def rules_of_window(period_s: int) -> tuple[BurnRule, ...]:
    """Return the burn rules for a window of any length, s. These are the rules of the alert set "standard".

    From 28 d on, they are the standard rules. The standard shares of a shorter window give small factors, because the
    long windows stay as they are: 10 % of 7 d in 3 d is a burn of 0.23, which a promise has that is kept with ease.
    So shorter windows have the factors of sloth's rules for 7 d: 13.44, 3.5, 1.4 and 0.98. A rule whose factor spends
    more than the whole budget in its long window is left out, since the promise is not kept by then. So a window of
    1 d has the two rules of 1 h and 6 h, and one of 6 h has none.
    """
    if period_s >= 28 * DAY_S:
        return standard_rules(period_s)
    return tuple(rule for rule in rules_of_shares(SLOTH_7D, 7 * DAY_S) if rule.share_of(period_s) <= 1)


def pyrra_rules(period_s: int) -> tuple[BurnRule, ...]:
    """Return pyrra's rules: factors 14, 7, 2 and 1, with windows that scale with the period.

    At 28 d the windows are 1 h, 6 h, 1 d and 4 d. Windows are rounded to whole minutes.
    """
    parts = ((14, 672, 8064, "page"), (7, 112, 1344, "page"), (2, 28, 336, "ticket"), (1, 7, 112, "ticket"))
    return tuple(
        BurnRule(
            Fraction(factor),
            _whole_minutes(period_s, long_part),
            _whole_minutes(period_s, short_part),
            severity,
        )
        for factor, long_part, short_part, severity in parts
    )


def burn_of(bad: float, total: float, target: object) -> float | None:
    """Return the bad ratio / (1 - target); None without traffic. 1 spends the budget in exactly one window."""
    return bad / total / float(1 - exact_share(target)) if total else None


def largest_burn(target: object) -> Fraction:
    """Return the burn when every request is bad: 1 / (1 - target), exactly."""
    return 1 / (1 - exact_share(target))


def cannot_fire(rules: Iterable[BurnRule], target: object) -> tuple[BurnRule, ...]:
    """Return the rules that can never fire, because even a full outage burns less than their factor.

    At a target of 90 % the largest burn is 10, so a rule with 14.4 is silent for ever.
    """
    most = largest_burn(target)
    return tuple(rule for rule in rules if rule.factor > most)


def detection_s(rule: BurnRule, target: object, bad_ratio: float = 1.0) -> float | None:
    """Return after which time of a constant bad ratio the rule fires, s; None: never.

    Traffic is steady and high, and no request was bad before. For low traffic see `low_traffic`.

    Args:
        bad_ratio: of the incident, above 0 and at most 1; 1 is a full outage.

    Raises:
        ValueError: an invalid target or ratio.
    """
    if not 0 < bad_ratio <= 1:
        raise ValueError(f"bad_ratio is {bad_ratio:g}, but must be above 0 and at most 1")
    needed = rule.factor * (1 - exact_share(target)) / Fraction(str(bad_ratio))
    return float(needed * max(rule.long_s, rule.short_s)) if needed <= 1 else None


def _whole_minutes(period_s: int, part: int) -> int:
    return max(round(Fraction(period_s, part * MINUTE_S)), 1) * MINUTE_S
