"""Models of logs, for their reports."""

from __future__ import annotations

from pathlib import Path

from loadgen.traffic.fidelity.verdict import Verdict
from loadgen.traffic.model_page.facts import PageFacts
from loadgen.traffic.names.naming import NameRules
from loadgen.traffic.read_logs import read_logs
from loadgen.traffic.reading.log_options import LogOptions, ModelRules
from loadgen.traffic.scenario.draft_of_logs import arrivals_of, draft_of
from loadgen.traffic.scenario.traffic_json import traffic_json

__all__ = ["facts_of"]

NOT_COMPARED = Verdict(())


def facts_of(log: Path, verdict: Verdict = NOT_COMPARED, *, least_users: int = 5) -> PageFacts:
    """Return what the report of the model of this log shows."""
    options = LogOptions(model=ModelRules(), names=NameRules(least_users=least_users))
    traffic = read_logs([log], options, salt=b"7" * 32)
    arrivals = arrivals_of(traffic)
    draft = draft_of(traffic, arrivals, target="http://127.0.0.1:1", command=f"loadgen model {log.name} -o shop.py")
    facts = traffic_json(traffic, arrivals, draft, options)
    return PageFacts(traffic, arrivals, draft, options, facts, "1.2.3", "shop.py", verdict)
