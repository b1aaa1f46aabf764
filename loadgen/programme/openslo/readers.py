"""Readers of OpenSLO that support only a part of it, and what they refuse.

Dash0: Occurrences, inline ratios and rolling windows of 28 days, as its documentation says. Nobl9: `nobl9.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from loadgen.programme.openslo.nobl9 import nobl9_losses
from loadgen.programme.promises.objectives import Method, Objective, RatioIndicator, RollingWindow
from loadgen.programme.promises.slo_set import Loss, SloSet

__all__ = ["READERS", "losses_for"]

READERS: Final = ("dash0", "nobl9")
_DASH0_WINDOW: Final = RollingWindow(28 * 86_400)


def losses_for(reader: str, slos: SloSet) -> list[Loss]:
    """Return what a reader would refuse. reader: of `READERS`."""
    assert reader in READERS
    if reader == "nobl9":
        return list(nobl9_losses(slos))
    refused = [
        Loss(one.name, "the composite", "Dash0 supports one objective in each SLO", "Dash0 refuses the SLO")
        for one in slos.composites
    ]
    return [*(loss for one in slos.objectives for loss in _dash0(one)), *refused]


def _dash0(one: Objective) -> Iterator[Loss]:
    refused = "Dash0 refuses the objective"
    if one.method is not Method.OCCURRENCES:
        yield Loss(one.name, f"the method {one.method}", "Dash0 supports Occurrences only", refused)
    if not isinstance(one.indicator, RatioIndicator):
        yield Loss(one.name, "the indicator", "Dash0 supports only ratios of good or bad requests to all", refused)
    if one.window != _DASH0_WINDOW:
        yield Loss(
            one.name, f"the window of {one.window.text}", "Dash0 supports rolling windows of 28 days only", refused
        )
    if any(query.source for query in one.queries):
        yield Loss(one.name, "metricSourceRef", "Dash0 does not support references to a data source", refused)
