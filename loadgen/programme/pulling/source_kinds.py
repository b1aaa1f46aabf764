"""The kinds of sources, one row each: its keys in `programme.toml`, its queries, its limits, and how it is opened.

A new kind is a row in `KINDS`, a pure module that parses its answers, and a thin one that sends the calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadgen.outside_text import one_line
from loadgen.programme.ledger.slices import DEFAULT_WIDTH_S
from loadgen.programme.load_tests.leave_out import condition_of, with_dimensions, with_matchers, with_tags
from loadgen.programme.promises.objectives import Objective, Query, RatioIndicator
from loadgen.programme.sources import cloudwatch_answers, datadog_answers
from loadgen.programme.sources.asked import Asker, selector_in
from loadgen.programme.sources.cloudwatch import CloudWatchSource
from loadgen.programme.sources.csv_counts import parse_csv
from loadgen.programme.sources.datadog import DatadogSource
from loadgen.programme.sources.file_source import FileSource
from loadgen.programme.sources.parquet_counts import parse_parquet
from loadgen.programme.sources.prometheus import CALLS_EACH, PrometheusSource
from loadgen.programme.sources.prometheus_answers import POINTS_MOST

if TYPE_CHECKING:
    from loadgen.programme.pulling.source_settings import Source

__all__ = ["KINDS", "Kind", "Queries"]

_COUNTERS: Final = ("_total", "_count", "_bucket", "_sum")


@dataclass(frozen=True, slots=True)
class Queries:
    """The queries of an objective in the language of its source; see `Asked`."""

    total: str = ""
    good: str = ""
    bad: str = ""
    theirs: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of sources.

    keys: of its table in `programme.toml`. needs: those that must be there. late_s: how long counts may still change,
    unless the source has `late`. delay_s: slices that end later than this before now are not asked for.
    queries: returns those of an objective, or raises ValueError with a sentence.
    slices_each: the most slices in one range. calls_each: the calls for one range; 0: it is a file.
    keeps_s: for how long the source keeps slices of a width, s; 0: for ever.
    open: opens the source, with the values of its secrets by name. Nothing is sent.
    where: what the plan shows. more: what a pull may need beyond its plan, for people.
    """

    keys: frozenset[str]
    needs: tuple[str, ...]
    late_s: int
    queries: Callable[[Objective, Source, int], Queries]
    open: Callable[[Source, Mapping[str, str]], Asker]
    where: Callable[[Source], str]
    delay_s: int = 0
    slices_each: int = 0
    calls_each: int = 0
    keeps_s: Callable[[int], int] = lambda _: 0
    more: str = ""
    is_bracketed: Callable[[str], bool] = lambda _: False

    @property
    def is_file(self) -> bool:
        """Return whether it is read as a whole in each pull, since any of its rows may have been corrected."""
        return not self.calls_each


def _no_queries(objective: Objective, source: Source, width: int) -> Queries:
    return Queries()


def _prometheus_queries(objective: Objective, source: Source, width: int) -> Queries:
    indicator = _ratio(objective, "Prometheus")
    counter, without = indicator.counter, _without(objective, source)
    total, good, bad = (
        "" if one is None else with_matchers(_selector(one, is_counter=counter), without)
        for one in (indicator.total, indicator.good, indicator.bad)
    )
    return Queries(total, good, bad)


def _without(objective: Objective, source: Source) -> str:
    """Return the condition that leaves load tests out of the queries; "" if nothing is set."""
    return condition_of(objective.load_tests or source.load_tests)


def _selector(query: Query, *, is_counter: bool) -> str:
    found = selector_in(query.text)
    is_rated = any(word in query.text for word in ("rate(", "increase(", "rate (", "increase ("))
    if not (is_counter or is_rated or found.partition("{")[0].endswith(_COUNTERS)):
        raise ValueError(
            f"{one_line(found, 120)} is not known to be a counter: write counter: true in the ratioMetric, if it is"
        )
    return found


def _cloudwatch_queries(objective: Objective, source: Source, width: int) -> Queries:
    indicator = _ratio(objective, "CloudWatch")
    if text := cloudwatch_answers.width_fault(width):
        raise ValueError(text)
    limit = objective.threshold.seconds if objective.threshold else None
    without = _without(objective, source)

    def text_of(query: Query | None) -> str:
        if query is None:
            return ""
        spec = query.spec
        if without:
            spec["dimensions"] = with_dimensions(spec.get("dimensions"), without)
        return cloudwatch_answers.metric_query(spec, source.region, limit).text

    theirs = cloudwatch_answers.slo_id(indicator.total.spec)
    return Queries(text_of(indicator.total), text_of(indicator.good), text_of(indicator.bad), theirs)


def _datadog_queries(objective: Objective, source: Source, width: int) -> Queries:
    indicator, without = _ratio(objective, "Datadog"), _without(objective, source)
    total, good, bad = (
        "" if one is None else with_tags(datadog_answers.count_query(one.spec), without)
        for one in (indicator.total, indicator.good, indicator.bad)
    )
    return Queries(total, good, bad, datadog_answers.slo_id(indicator.total.spec))


def _ratio(objective: Objective, kind: str) -> RatioIndicator:
    """Return the indicator whose queries are of the kind of the source.

    Raises:
        ValueError: it is not a ratio, or its queries are of another kind.
    """
    indicator = objective.indicator
    if not isinstance(indicator, RatioIndicator):
        raise ValueError("its indicator has no counts of good and all requests: write a ratioMetric")
    for query in objective.queries:
        found = query.type.lower()
        if found == "any":
            raise ValueError(f"its metricSource has the type Any, so no source can be asked: write type: {kind}")
        if found != kind.lower() and found in KINDS:
            raise ValueError(
                f"its metricSource has the type {one_line(query.type, 40)}, and its source is of kind {kind.lower()}"
            )
    return indicator


def _open_prometheus(source: Source, secrets: Mapping[str, str]) -> Asker:
    headers: dict[str, str] = {}
    secret = secrets.get(source.auth_secret, "")
    if secret:
        headers[source.auth_header] = secret
    if source.tenant:
        headers["X-Scope-OrgID"] = source.tenant
    return PrometheusSource(source.url, headers, (secret,), _path(source.ca))


def _open_datadog(source: Source, secrets: Mapping[str, str]) -> Asker:
    api, application = secrets[source.api_key_secret], secrets[source.application_key_secret]
    headers = {"DD-API-KEY": api, "DD-APPLICATION-KEY": application}
    absent, resolution = source.absent_is_zero, source.resolution or datadog_answers.RESOLUTION
    return DatadogSource(_datadog_url(source), headers, (api, application), _path(source.ca), absent, resolution)


def _open_cloudwatch(source: Source, secrets: Mapping[str, str]) -> Asker:
    return CloudWatchSource(source.absent_is_zero, source.resolution or cloudwatch_answers.RESOLUTION)


def _open_csv(source: Source, secrets: Mapping[str, str]) -> Asker:
    parse = partial(parse_csv, takes_gaps=source.takes_gaps)
    return FileSource(Path(source.file), lambda data, name: parse(data, DEFAULT_WIDTH_S, name))


def _open_parquet(source: Source, secrets: Mapping[str, str]) -> Asker:
    parse = partial(parse_parquet, zone=source.zone, takes_gaps=source.takes_gaps)
    return FileSource(Path(source.file), lambda data, name: parse(data, DEFAULT_WIDTH_S, name))


def _datadog_url(source: Source) -> str:
    return source.url or f"https://api.{re.sub(r'^(https?://)?(app|api)[.]', '', source.site)}"


def _path(text: str) -> Path | None:
    return Path(text) if text else None


_EACH: Final = frozenset({"late", "sampled", "error", "load_tests"})
_HTTP: Final = _EACH | {"url", "ca"}
KINDS: Final[Mapping[str, Kind]] = {
    "prometheus": Kind(
        _HTTP | {"auth_secret", "auth_header", "tenant"},
        ("url",),
        late_s=600,
        queries=_prometheus_queries,
        open=_open_prometheus,
        where=lambda source: source.url,
        delay_s=30,  # scrapes take a while
        slices_each=POINTS_MOST - 1,
        calls_each=CALLS_EACH,
        more="up to 40 more for each promise of Prometheus whose counters restarted or have gaps",
    ),
    "cloudwatch": Kind(
        _EACH | {"region", "absent", "resolution"},
        (),
        late_s=600,
        queries=_cloudwatch_queries,
        open=_open_cloudwatch,
        where=lambda source: f"CloudWatch {source.region}".rstrip(),
        delay_s=180,  # metrics arrive up to three minutes late
        slices_each=cloudwatch_answers.MOST_POINTS // 4,  # total, good (or bad), and the two around its limit
        calls_each=1,
        keeps_s=cloudwatch_answers.keeps_s,
        more="one more for each further page of CloudWatch, and for each promise with sloId",
        is_bracketed=lambda text: cloudwatch_answers.bracket(cloudwatch_answers.MetricQuery.of(text)) is not None,
    ),
    "datadog": Kind(
        _HTTP | {"site", "api_key_secret", "application_key_secret", "absent", "resolution"},
        ("api_key_secret", "application_key_secret"),
        late_s=900,
        queries=_datadog_queries,
        open=_open_datadog,
        where=_datadog_url,
        delay_s=60,
        slices_each=datadog_answers.POINTS_MOST,
        calls_each=1,
        more="one more for each range of a promise with sloId",
        is_bracketed=datadog_answers.is_interpolated,
    ),
    "csv": Kind(
        _EACH | {"file", "gaps"},
        ("file",),
        late_s=0,
        queries=_no_queries,
        open=_open_csv,
        where=lambda source: f"the file {source.file}",
    ),
    "parquet": Kind(
        _EACH | {"file", "gaps", "zone"},
        ("file",),
        late_s=0,
        queries=_no_queries,
        open=_open_parquet,
        where=lambda source: f"the file {source.file}",
    ),
}
