"""Names for kinds of sessions, from what they do more often than others: `cart_sessions`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loadgen.traffic.model.model_counts import ModelCounts
from loadgen.traffic.scenario.draft_calls import ModelState

__all__ = ["class_names"]


def class_names(counts: ModelCounts, states: Sequence[ModelState]) -> list[str]:
    """Return a Python name for each kind of sessions; they differ from each other and from the nodes.

    A kind is named after the node with the largest s ln(s / a), its part of the Kullback-Leibler divergence: s is the
    node's share of the actions of this kind, a its share of all actions.
    """
    if len(counts.classes) == 1:
        return ["sessions"]
    at = [state.at for state in states]
    visits = np.array([one.walks.visits[at] for one in counts.classes], np.float64)
    shares = visits / np.maximum(visits.sum(1, keepdims=True), 1)
    of_all = visits.sum(0) / visits.sum()
    taken = {state.node for state in states}
    found = []
    for share in shares:
        telling = share * np.log(np.where(share > 0, share, 1) / of_all)
        base = f"{states[int(np.argmax(telling))].node}_sessions"
        name = next(one for one in (base, *(f"{base}_{n}" for n in range(2, 100))) if one not in taken)
        taken.add(name)
        found.append(name)
    return found
