"""Models of logs, for their reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from loadgen.traffic.model_page.facts import PageFacts
from loadgen.traffic.model_page.fidelity import fidelity_of
from loadgen.traffic.names.naming import NameRules
from loadgen.traffic.read_logs import read_logs
from loadgen.traffic.reading.log_options import LogOptions, ModelRules
from loadgen.traffic.scenario.draft_of_logs import arrivals_of, draft_of
from loadgen.traffic.scenario.traffic_json import traffic_json

__all__ = ["facts_of"]


def facts_of(log: Path, fidelity: Mapping[str, object] | None = None, *, least_users: int = 5) -> PageFacts:
    """Return what the report of the model of this log shows. fidelity: the block of `traffic.json`."""
    options = LogOptions(model=ModelRules(), names=NameRules(least_users=least_users))
    traffic = read_logs([log], options, salt=b"7" * 32)
    arrivals = arrivals_of(traffic)
    draft = draft_of(traffic, arrivals, target="http://127.0.0.1:1", command=f"loadgen model {log.name} -o shop.py")
    facts = PageFacts(
        traffic, arrivals, draft, options, traffic_json(traffic, arrivals, draft, options), "1.2.3", "shop.py"
    )
    return facts if fidelity is None else replace(facts, fidelity=fidelity_of(fidelity))
