"""The responses of a sweep: what `--of` may name, and their values in one run.

    parse_responses("p99,error_ratio,throughput")      # of all journeys of the run together
    parse_responses("p95:checkout,p99:ach > post")     # of one journey, step or request, as the history names it

The values are those that the history stores (`loadgen/history/store/extract.py`), so the p99 of a sweep is the p99 of
the gate. Response times are those of successes without the warm-up. A target that rejects requests quickly must not
look fast, so the response times of a run with more than 1 % errors are not compared. Its error ratio is a response of
its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Final, Literal

from loadgen.errors import IncompleteError, StorageError, UsageError
from loadgen.history.store.extract import counted_of, names_of, unfit_of
from loadgen.measure.deltas.series_key import OK
from loadgen.measure.histograms.histogram import Histogram, mean_us, percentiles
from loadgen.measure.merging.queries import Row
from loadgen.measure.objectives.objective import is_judged
from loadgen.measure.statistics.batch_means import Batches
from loadgen.report.run_as_dataframes import open_run
from loadgen.units import NS_PER_S, format_ratio

__all__ = [
    "ERROR_RATIO",
    "MOST_ERRORS",
    "MOST_RESPONSES",
    "Response",
    "RunValues",
    "parse_responses",
    "unknown_names",
    "values_of",
]

ERROR_RATIO: Final = "error_ratio"
THROUGHPUT: Final = "throughput"
MEAN: Final = "mean"
MOST_ERRORS: Final = 0.01
"""The largest error ratio of a run whose response times are compared."""
MOST_RESPONSES: Final = 20
_MOST_NAME: Final = 500
_PERCENTILE: Final = re.compile(r"p(\d{1,2}(?:\.\d{1,4})?)")
_EXAMPLES: Final = (
    'write p99, p50, mean, error_ratio or throughput, each with ":NAME" for one name, such as "p99:checkout > pay"'
)


@dataclass(frozen=True, slots=True)
class Response:
    """One figure of a run that a sweep compares."""

    statistic: str
    """"p99", "mean", "error_ratio" or "throughput"."""
    name: str = ""
    """A name of the history, such as "checkout > pay"; "" for all journeys of the run together."""

    @property
    def text(self) -> str:
        """Return the response as in `--of`: "p99" or "p99:checkout > pay"."""
        return f"{self.statistic}:{self.name}" if self.name else self.statistic

    @property
    def label(self) -> str:
        """Return the response in a table: "p99", "error ratio of checkout > pay"."""
        statistic = self.statistic.replace("_", " ")
        return f"{statistic} of {self.name}" if self.name else statistic

    @property
    def percentile(self) -> float | None:
        """Return 99.0 for "p99"; None for other statistics."""
        found = _PERCENTILE.fullmatch(self.statistic)
        return float(found[1]) if found else None

    @property
    def is_time(self) -> bool:
        """Return whether the values are response times in ms."""
        return self.statistic == MEAN or self.percentile is not None

    @property
    def scale(self) -> Literal["log", "share"]:
        """Return the scale of effects (`loadgen.analysis.factors.terms`): ratios, or differences of error ratios."""
        return "share" if self.statistic == ERROR_RATIO else "log"

    @property
    def is_log(self) -> bool:
        """Return whether effects are ratios."""
        return self.scale == "log"

    @property
    def unit(self) -> str:
        """Return "ms", "/s", or "" for a ratio from 0 to 1."""
        return "ms" if self.is_time else "/s" if self.statistic == THROUGHPUT else ""


@dataclass(frozen=True, slots=True)
class RunValues:
    """The responses of one finished run, and whether the run can be compared."""

    run_id: str
    started_at: str
    """RFC 3339, UTC; "" if the run has no summary."""
    result: str
    """The verdict of the summary, such as "passed" or "invalid"; "incomplete" if the run has no summary."""
    validity: str
    """"valid", "suspect" or "invalid"."""
    values: Mapping[str, float | None]
    """{text of the response: ms, ratio or 1/s}; None if the run has no value that can be compared. "error_ratio" is
    always present."""
    why_not: Mapping[str, str]
    """{text of the response: why its value is None}."""
    unfit: tuple[str, ...] = ()
    """Why the run cannot be compared at all; empty if it can. All its values are None then."""

    @property
    def is_fit(self) -> bool:
        """Return whether the run can be compared. A run that cannot is worth a repetition."""
        return not self.unfit

    @property
    def why(self) -> str:
        """Return the reasons for missing values as one text; "" if no value is missing."""
        return "; ".join(self.unfit or dict.fromkeys(self.why_not.values()))


def parse_responses(texts: str | Iterable[str]) -> tuple[Response, ...]:
    """Parse the responses of `--of`, separated by commas. The first of them decides; it is listed first everywhere.

    Raises:
        UsageError: all faults together, one a line.
    """
    parts = [part.strip() for text in ([texts] if isinstance(texts, str) else texts) for part in text.split(",")]
    found: dict[str, Response] = {}
    faults = []
    for part in parts:
        response = _parsed(part)
        if isinstance(response, str):
            faults.append(response)
        elif response.text in found:
            faults.append(f'the response "{response.text}" is given twice')
        else:
            found[response.text] = response
    if len(parts) > MOST_RESPONSES:
        faults = [f"{len(parts)} responses: at most {MOST_RESPONSES} are possible"]
    if faults:
        raise UsageError("\n".join(f"--of: {fault}" for fault in faults), hint=_EXAMPLES)
    return tuple(found.values())


def _parsed(part: str) -> Response | str:
    """Return the response, or the fault as a text."""
    statistic, colon, name = (one.strip() for one in part.partition(":"))
    statistic = statistic.lower()
    if not part:
        return "a response is empty"
    if colon and not name:
        return f'a name is missing after "{part}"'
    if len(name) > _MOST_NAME:
        return f"a name has {len(name)} characters: at most {_MOST_NAME} are possible"
    if statistic in {MEAN, ERROR_RATIO, THROUGHPUT}:
        return Response(statistic, _spaced(name))
    percentile = _PERCENTILE.fullmatch(statistic)
    if percentile is None:
        near = get_close_matches(statistic, ("p50", "p95", "p99", MEAN, ERROR_RATIO, THROUGHPUT), 1)
        return f'unknown response "{part[:80]}"' + (f"; did you mean {near[0]}?" if near else "")
    if not 0 < float(percentile[1]) < 100:
        return f'invalid percentile "{statistic}": must be above 0 and below 100'
    return Response(f"p{float(percentile[1]):g}", _spaced(name))


def _spaced(name: str) -> str:
    """Return the name with one space on each side of ">", as the history writes it."""
    return " > ".join(part.strip() for part in name.split(">")) if ">" in name else name


def unknown_names(responses: Sequence[Response], journeys: Sequence[str]) -> list[str]:
    """Return a sentence for each response whose journey is not in the plan, before any run."""
    return [
        f'--of: "{one.text}" has an unknown journey "{journey}"{_nearest(journey, journeys)}'
        for one in responses
        if one.name and (journey := one.name.partition(" > ")[0]) not in journeys
    ]


def _nearest(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, 1)
    if near:
        return f'; did you mean "{near[0]}"?'
    shown = ", ".join(f'"{one}"' for one in names[:8])
    return f"; known: {shown}{', ...' if len(names) > 8 else ''}" if names else ""


def values_of(folder: Path, responses: Sequence[Response]) -> RunValues:
    """Return the responses of the run in this folder. A damaged or unfinished run is unfit, with the reason.

    Cost: reads the run's log once; 0.3 to 1 ms for each delta.
    """
    wanted = list(dict.fromkeys((*responses, Response(ERROR_RATIO))))
    try:
        accepted, batches = counted_of(open_run(folder))
    except (IncompleteError, StorageError, UsageError) as error:
        missing = dict.fromkeys(one.text for one in wanted)
        return RunValues(folder.name, "", "incomplete", "invalid", missing, {}, (error.with_hint,))
    found = {one.text: _value(one, batches) for one in wanted}
    unfit = unfit_of(accepted)
    return RunValues(
        accepted.run_id,
        accepted.started_at,
        accepted.result,
        accepted.validity,
        {text: None if unfit or isinstance(value, str) else value for text, value in found.items()},
        {} if unfit else {text: value for text, value in found.items() if isinstance(value, str)},
        unfit,
    )


def _value(response: Response, batches: Batches) -> float | str:
    """Return the value of a response, or why it cannot be compared."""
    named = names_of(batches)
    rows = [row for row, name in named.items() if (name == response.name if response.name else row.kind == "journey")]
    if not rows:
        names = list(named.values())
        return (
            f'the run has no "{response.name}"{_nearest(response.name, names)}'
            if response.name and names
            else "the run has no finished iteration"
        )
    journeys = [Row("journey", name) for name in dict.fromkeys(row.journey for row in rows)]
    bad, total = _errors(batches, rows)
    if response.statistic == ERROR_RATIO:
        return bad / total if total else "the run has no finished iteration"
    if response.statistic == THROUGHPUT:
        good = sum(batches.row_outcomes(row).get(OK, 0) for row in rows)
        return good * NS_PER_S / (batches.end_ns - batches.start_ns) or "nothing succeeded"
    # A journey that fails early has few bad requests in its later steps, so the errors of the journey count as well.
    for part in (rows, journeys):
        bad, total = _errors(batches, part)
        if total and bad / total > MOST_ERRORS:
            limit = format_ratio(MOST_ERRORS)
            return f"{format_ratio(bad / total)} errors, more than {limit}: response times are not compared"
    return _time(response, batches, rows)


def _errors(batches: Batches, rows: Sequence[Row]) -> tuple[int, int]:
    """Return (number of errors, number of all that were judged), as the history counts them."""
    bad = total = 0
    for row in rows:
        for outcome, count in batches.row_outcomes(row).items():
            if is_judged(outcome):
                total += count
                bad += count * (outcome != OK)
    return bad, total


def _time(response: Response, batches: Batches, rows: Sequence[Row]) -> float | str:
    observed, censored = Histogram(), Histogram()
    for row in rows:
        for whole, part in zip((observed, censored), batches.select_row(row, OK), strict=True):
            whole.add_histogram(part)
    q = response.percentile
    value = mean_us(observed, censored) if q is None else percentiles(observed, censored, (q,))[0]
    if value is None:
        return "nothing succeeded"
    return (
        f"only a lower bound of {response.statistic} is known" if value.is_bound or value.ms in (0, inf) else value.ms
    )
