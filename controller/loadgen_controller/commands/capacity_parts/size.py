"""`loadgen capacity size`: how many instances a peak needs, with a lost zone, the uncertainty, and the cost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from loadgen.dsl.find_settings import find_settings
from loadgen.dsl.plans.loadgen_toml import read_settings
from loadgen.errors import Fault, ScenarioError, UsageError
from loadgen.units import parse_rate, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.capacity_parts.input_file import read_bytes
from loadgen_controller.commands.capacity_parts.ledger_forecast import forecast_of_ledger, promise_in
from loadgen_controller.commands.capacity_parts.study_output import (
    CsvOption,
    HtmlOption,
    JsonOption,
    StudyStoreOption,
    end_study,
    study_output_of,
)
from loadgen_controller.commands.missing_extra import needing_analysis
from loadgen_controller.commands.store_option import store_of

if TYPE_CHECKING:
    from loadgen.capacity.sizing.capacity_source import InstanceCapacity
    from loadgen.capacity.sizing.forecast import Forecast
    from loadgen.capacity.sizing.prices import Price
    from loadgen.capacity.sizing.ranges import Range
    from loadgen.history.store.store import Store

__all__ = ["EXAMPLES", "size"]

EXAMPLES: Final = """[bold]Examples[/bold]

loadgen capacity size --peak 2000/s --growth 20% --headroom 1.25 --capacity 230/s --zones 3

loadgen capacity size --peak 1800..2000..2400/s --growth 10..30% --capacity C-12 --zones 3 --html size.html

loadgen capacity size --forecast peak.csv --instances 14 --capacity find.json --zones 3 --limit psp=2500/s

loadgen capacity size --forecast ledger:checkout-fast --capacity C-12 --zones 3

loadgen capacity size --peak 2000/s --capacity 210..250/s --prices prices.json --instance-type c7i.large"""

_MOST_DRAWS: Final = 100_000
_MOST_ZONES: Final = 100
_HORIZON: Final = 13
_MOST_WEEKS: Final = 104
_MOST_INSTANCES: Final = 1_000_000
_STUDY: Final = re.compile(r"C-\d+")


def size(
    peak: Annotated[
        str | None, typer.Option(metavar="RATE", help="The peak to serve: 2000/s, 1800..2400/s or 1800..2000..2400/s.")
    ] = None,
    capacity: Annotated[
        str,
        typer.Option(
            metavar="RATE|C-N|FILE",
            help="The rate that one instance serves within its objective, or a study of `capacity find` or `fit`.",
        ),
    ] = "",
    growth: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Growth of the peak: 20%, or 10..30%. Default: none.")
    ] = None,
    headroom: Annotated[
        str, typer.Option(metavar="FACTOR", help="Factor of at least 1 for what the plan does not know.")
    ] = "1.25",
    zones: Annotated[
        int | None,
        typer.Option(metavar="N", help="Zones over which instances are spread; any one of them may be lost."),
    ] = None,
    forecast: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|PROMISE",
            help="CSV with week, low, point, high, or past peaks. Its highest week is the peak. Or `ledger`, "
            "`ledger:NAME` or the name of a promise: its past peaks in the ledger.",
        ),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(
            metavar="WEEKS",
            help=f"Weeks to forecast from past peaks: of the ledger, or of a CSV without low and high. "
            f"Default: {_HORIZON}.",
        ),
    ] = None,
    instances: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Instances that run today. The result names the week in which the forecast exceeds them."
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=RATE", help="The rate that a dependency serves. Joins or replaces `limits` of loadgen.toml."
        ),
    ] = None,
    price: Annotated[
        str | None, typer.Option(metavar="MONEY", help="Price of one instance an hour: 0.17, or 0.16..0.19.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A prices.json; give --instance-type, too.")
    ] = None,
    instance_type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="The instance type whose price --prices has.")
    ] = None,
    region: Annotated[
        str | None, typer.Option(metavar="REGION", help="The region; --prices of another one are rejected.")
    ] = None,
    mean_rate: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="Mean rate of a month, for the cost of 1,000 requests. Default: the peak."),
    ] = None,
    draws: Annotated[int, typer.Option(metavar="N", help="Draws of all inputs for the range.")] = 10_000,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same range.")] = 1,
    html: HtmlOption = None,
    json: JsonOption = None,
    csv: CsvOption = None,
    store: StudyStoreOption = None,
) -> int:
    """Calculate how many instances a peak needs.

    The plan takes the low end of the capacity, adds growth and headroom, and survives the loss of a zone. The range
    comes from draws of all inputs, and the page shows which of them moves the answer most.
    """
    from loadgen.capacity.sizing.estimate import Inputs
    from loadgen.capacity.sizing.ranges import Range, parse_growth, parse_number
    from loadgen.capacity.sizing.size_study import Question, size_study

    errors = CollectedErrors()
    output = study_output_of(errors, html=html, json=json, csv=csv, store=store)
    read = _Options(errors)
    if peak is not None and forecast is not None:
        errors.add("--peak and --forecast both set the peak", "give one")
    if peak is None and forecast is None:
        errors.add("the peak is missing", "give --peak 2000/s, or --forecast peak.csv")
    if growth is not None and forecast is not None:
        errors.add("--growth and --forecast both set the growth", "give one")
    if instances is not None and forecast is None:
        errors.add("--instances needs a forecast to compare with", "give --forecast peak.csv")
    if horizon is not None and forecast is None:
        errors.add("--horizon needs a forecast", "give --forecast peak.csv")
    if mean_rate is not None and price is None and prices is None:
        errors.add("--mean-rate is for the cost, which needs a price", "give --price or --prices, or leave it out")
    if not capacity:
        errors.add("the capacity of an instance is missing", "give --capacity 230/s, or measure it: `capacity find`")
    for name, number, least, most in (
        ("--zones", zones, 1, _MOST_ZONES),
        ("--instances", instances, 1, _MOST_INSTANCES),
        ("--draws", draws, 100, _MOST_DRAWS),
        ("--horizon", horizon, 1, _MOST_WEEKS),
        ("--seed", seed, 0, 2**63 - 1),
    ):
        if number is not None and not least <= number <= most:
            errors.add(f"{name} is {number}: must be from {least:,} to {most:,}", f"for example {name} {least}")
    peak_range = read.range("--peak", peak, parse_rate, above=0)
    growth_range = read.range("--growth", growth, parse_growth, above=-1)
    headroom_range = read.range("--headroom", headroom, parse_number, least=1)
    price_range = read.range("--price", price, parse_number, above=0)
    mean = read.range("--mean-rate", mean_rate, parse_rate, above=0)
    if mean is not None and not mean.is_exact:
        errors.add("--mean-rate: must be one rate", "for example --mean-rate 800/s")
    limits = read.limits(limit or ())
    listed = _price(errors, price, prices, instance_type, region)
    weeks, missing = _forecasted(errors, forecast, horizon, seed, store)
    per_instance = read.capacity(capacity, output.store) if capacity else None
    errors.check()
    peak_range = weeks.highest.peak if weeks is not None else peak_range
    assert peak_range is not None
    assert headroom_range is not None
    assert per_instance is not None
    inputs = Inputs(
        peak=peak_range,
        capacity=per_instance.range,
        growth=growth_range or Range.exact(0.0),
        headroom=headroom_range,
        zones=zones,
        price=listed.per_hour if listed else price_range,
        limits=limits,
        mean_rate=mean.point if mean else None,
    )
    # Also the highest draw must be a number that can be counted and shown.
    largest = inputs.peak.high * (1 + inputs.growth.high) * inputs.headroom.high / inputs.capacity.low
    if not largest <= _MOST_INSTANCES:
        raise UsageError(
            f"the peak needs up to {largest:.3g} instances, more than {_MOST_INSTANCES:,}",
            hint="check the units of --peak and --capacity: both are of the same requests, per second",
        )
    question = Question(
        inputs=inputs,
        capacity_source=capacity if _is_study(capacity) else "--capacity",
        forecast=weeks,
        instances=instances,
        price=listed,
        warnings=(*per_instance.warnings, *(listed.warnings if listed else ()), *missing),
        draws=draws,
        seed=seed,
    )
    return end_study(output, size_study(question))


class _Options:
    """Reads options as ranges, and collects their errors."""

    def __init__(self, errors: CollectedErrors) -> None:
        self._errors = errors

    def range(
        self,
        option: str,
        text: str | None,
        parse: Callable[[str], float],
        *,
        above: float | None = None,
        least: float | None = None,
    ) -> Range | None:
        """Return an option as a range whose low end is above a number, or at least a number."""
        from loadgen.capacity.sizing.ranges import parse_range

        found = self._errors.parse(option, text, lambda one: parse_range(one, parse))
        if found is not None and above is not None and not found.low > above:
            shown = "-100 %, or nothing is left" if above == -1 else f"{above:g}"
            self._errors.add(f"{option}: {text} must be above {shown}", _EXAMPLE[option])
            return None
        if found is not None and least is not None and not found.low >= least:
            self._errors.add(f"{option}: {text} must be at least {least:g}", _EXAMPLE[option])
            return None
        return found

    def limits(self, given: Iterable[str]) -> dict[str, Range]:
        """Return the limits of dependencies: those of loadgen.toml, replaced and joined by those of the options."""
        from loadgen.capacity.sizing.ranges import Range

        settings = self._errors.catch(lambda: read_settings(find_settings(Path("loadgen.toml"))))
        found = {name: Range.exact(rate) for name, rate in settings.limits.items()} if settings else {}
        named: set[str] = set()
        for text in given:
            name, _, rate = text.partition("=")
            if not name.strip() or not rate.strip():
                self._errors.add(f"--limit: {text!r} is not NAME=RATE", "for example --limit psp=300/s")
            elif name.strip() in named:
                self._errors.add(f"--limit: {name.strip()!r} is given twice", "give each dependency one limit")
            elif limit := self.range("--limit", rate, parse_rate, above=0):
                found[name.strip()] = limit
            named.add(name.strip())
        return found

    def capacity(self, text: str, opened: Store | None) -> InstanceCapacity | None:
        """Return the capacity of an instance from a rate, a study in the history, or the JSON document of a study."""
        from loadgen.capacity.sizing.capacity_source import InstanceCapacity

        if _is_study(text):
            return self._errors.catch(lambda: _capacity_of_study(text, opened))
        found = self.range("--capacity", text, parse_rate, above=0)
        return None if found is None else InstanceCapacity(found)


_EXAMPLE: Final = {
    "--peak": "for example --peak 2000/s",
    "--growth": "for example --growth 20%",
    "--headroom": "for example --headroom 1.25: a quarter more than the peak",
    "--price": "for example --price 0.17; leave it out if the price is unknown",
    "--mean-rate": "for example --mean-rate 800/s",
    "--limit": "for example --limit psp=300/s",
    "--capacity": "for example --capacity 230/s",
}


def _is_study(text: str) -> bool:
    return bool(_STUDY.fullmatch(text)) or text.endswith(".json")


def _capacity_of_study(text: str, opened: Store | None) -> InstanceCapacity:
    from loadgen.capacity.sizing.capacity_source import capacity_of
    from loadgen.studies.read_study import open_study

    if not _STUDY.fullmatch(text):
        study = open_study(text)
        return capacity_of(study.kind, study.result, study.facts, text)
    if opened is None:
        raise UsageError(f"--capacity {text} is in a history, and no store is named", hint="give --store DIR")
    document = opened.study(text).study
    facts = document.get("facts")
    return capacity_of(
        str(document.get("kind", "")), str(document.get("result", "")), facts if isinstance(facts, dict) else {}, text
    )


def _price(
    errors: CollectedErrors, price: str | None, prices: Path | None, instance_type: str | None, region: str | None
) -> Price | None:
    from loadgen.capacity.sizing.prices import MOST_BYTES, price_of

    if price is not None and prices is not None:
        errors.add("--price and --prices both set the price", "give one")
    if prices is None:
        if instance_type is not None:
            errors.add("--instance-type names a price of --prices, which is missing", "give --prices prices.json")
        if region is not None:
            errors.add("--region checks --prices, which is missing", "give --prices prices.json")
        return None
    if instance_type is None:
        errors.add("--prices needs the type of the instances", "give --instance-type c7i.large")
        return None
    return errors.catch(
        lambda: price_of(read_bytes(prices, MOST_BYTES), str(prices), instance_type, region or "", _today())
    )


def _forecasted(
    errors: CollectedErrors, given: Path | None, horizon: int | None, seed: int, store: str | None
) -> tuple[Forecast | None, tuple[str, ...]]:
    """Return the forecast of `--forecast`, and warnings about it. Nothing is read if options are wrong."""
    if given is None or errors.found:
        return None, ()
    promise = promise_in(given)
    if promise is None:
        return errors.catch(lambda: _forecast(given, horizon, seed)), ()
    where = store_of(errors, store, None)
    found = errors.catch(lambda: forecast_of_ledger(where, promise, horizon or _HORIZON, seed))
    return found or (None, ())


def _forecast(path: Path, horizon: int | None, seed: int) -> Forecast:
    """Return the forecast in a CSV file; without low and high, the file has past peaks, whose trend is the forecast.

    Raises:
        ScenarioError, UsageError: the file cannot be read, is no forecast, or has too few past weeks.
    """
    from loadgen.capacity.sizing.forecast import LEAST_HISTORY, MOST_BYTES, Forecast, read_forecast

    try:
        text = read_bytes(path, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ScenarioError([Fault(str(path), 0, "is not UTF-8", "save it as CSV in UTF-8")]) from None
    weeks, has_ranges = read_forecast(text, str(path))
    if has_ranges:
        if horizon is not None:
            raise UsageError(
                f"--horizon is for past peaks, but {path} has a forecast with low and high",
                hint="leave it out: the forecast has its own weeks",
            )
        return Forecast(weeks, str(path))
    if len(weeks) < LEAST_HISTORY:
        raise UsageError(
            f"{path} has {quantity(len(weeks), 'week')} without low and high: growth cannot be seen in fewer than"
            f" {LEAST_HISTORY}",
            hint="give a forecast with the columns week, low, point, high; or --peak and --growth",
        )
    with needing_analysis("loadgen capacity size --forecast"):
        from loadgen.capacity.sizing.past_peaks import forecast_of
    return forecast_of(weeks, horizon or _HORIZON, str(path), seed=seed)


def _today() -> date:
    return datetime.now(UTC).date()
