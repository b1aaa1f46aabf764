"""Asks CloudWatch for slices: one call for each objective and page, through `loadgen/aws`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from loadgen.aws.account.boto_clients import Clients
from loadgen.aws.target.application_signals import budget_reports
from loadgen.aws.target.cloudwatch import metric_data
from loadgen.errors import LoadgenError
from loadgen.outside_text import one_line
from loadgen.programme.sources.asked import Asked, NoCounts, Pulled
from loadgen.programme.sources.cloudwatch_answers import (
    RESOLUTION,
    MetricQuery,
    parse_pages,
    requests_of,
    their_figure,
)
from loadgen.programme.sources.count_points import sliced

__all__ = ["CloudWatchSource"]


@dataclass(slots=True)
class CloudWatchSource:
    """CloudWatch with the credentials that boto3 finds. boto3 repeats throttled calls, more slowly each time.

    absent_is_zero: take an absent point as zero requests. resolution: see `bracket`. open_clients: opens the session,
    with the first call.
    """

    absent_is_zero: bool = False
    resolution: float = RESOLUTION
    open_clients: Callable[[], Clients] = Clients
    _clients: Clients | None = field(default=None, init=False)

    def pull(self, asked: Asked) -> Pulled:
        """Return the slices of one objective. Missing slices have a sentence in `faults`."""
        total, part = (MetricQuery.of(text) for _, text in asked.roles)
        if total.region != part.region:
            text = f"total is in {total.region}, and {asked.roles[1][0]} in {part.region}: use one region"
            return Pulled(faults=(NoCounts(text),))
        calls = 0
        pages = []
        try:
            if self._clients is None:
                self._clients = self.open_clients()
            edges = asked.edges
            for page in metric_data(
                self._clients, total.region, requests_of(asked, self.resolution), edges[0], edges[-1]
            ):
                calls += 1
                pages.append(page)
        except LoadgenError as error:
            return Pulled(faults=(NoCounts(one_line(error.with_hint, 300)),), calls=calls + 1)
        found = parse_pages(pages, asked)
        if isinstance(found, NoCounts):
            return Pulled(faults=(found,), calls=calls, has_answered=True)
        evidence = f"CloudWatch {total.region}: total {total.shown}, {asked.roles[1][0]} {part.shown}"
        made = sliced(asked, *found, one_line(evidence, 400), absent_is_zero=self.absent_is_zero)
        notes = made.notes
        if asked.theirs and made.slices:
            calls += 1
            notes = (*notes, self._theirs(self._clients, total.region, asked))
        return Pulled(made.slices, made.faults, notes, calls, True)

    def _theirs(self, clients: Clients, region: str, asked: Asked) -> str:
        try:
            return their_figure(budget_reports(clients, region, [asked.theirs], asked.edges[-1]), asked.theirs)
        except LoadgenError as error:
            return one_line(f"the figure of Application Signals is missing: {error.with_hint}", 300)

    def close(self) -> None:
        """Close nothing: boto3 keeps its connections."""
