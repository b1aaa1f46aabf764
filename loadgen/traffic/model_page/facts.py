"""The contents of the page: the objects that `loadgen model` makes, and the verdict on their fidelity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.traffic.fidelity.verdict import Verdict
from loadgen.traffic.model.model_counts import ModelCounts
from loadgen.traffic.read_logs import Traffic
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.scenario.draft import Draft
from loadgen.traffic.sessions.session_arrivals import SessionArrivals

__all__ = ["PageFacts", "file_name"]


@dataclass(frozen=True)
class PageFacts:
    """The contents of the page. Files are shown without their folders.

    arrivals: of each graph of the draft; None if the scenario plays a mean rate.
    traffic_json: the text of `traffic.json`, whose SHA-256 the page shows, so that readers see which counts it has.
    version: of loadgen. scenario: the name of its file.
    """

    traffic: Traffic
    arrivals: Sequence[SessionArrivals] | None
    draft: Draft
    options: LogOptions
    traffic_json: str
    version: str
    scenario: str
    verdict: Verdict
    """The fidelity of the draft; without rows if it was not measured."""
    notes: tuple[str, ...] = ()
    """Sentences at the top, such as that the scenario keeps lines that were edited by hand."""

    @property
    def counts(self) -> ModelCounts:
        """The counts from which the draft was made."""
        assert self.traffic.model is not None
        return self.traffic.model

    @property
    def sessions(self) -> tuple[int, ...]:
        """The number of sessions of each graph."""
        return tuple(len(one.starts) for one in self.counts.classes)


def file_name(path: str) -> str:
    """Return the name of a file without its folder, as other people see it."""
    return path.replace("\\", "/").rpartition("/")[2]
