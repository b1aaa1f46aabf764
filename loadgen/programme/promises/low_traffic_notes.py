"""Notes about promises with so little traffic that a page comes late, or never."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from loadgen.errors import Fault
from loadgen.programme.promises.objectives import Method, Objective
from loadgen.programme.promises.slo_set import Place, Reading

__all__ = ["low_traffic_notes"]


def low_traffic_notes(reading: Reading, events: Mapping[str, int]) -> list[Fault]:
    """Return a note for each objective whose pages are at least twice as late as without the number of bad requests.

    A page needs 5 bad requests. Without that, a single one would page at night. The opposite failure is silence, so
    its price in minutes is named.

    events: requests in the window, by an objective's name. Objectives without a count, and those without pages, have
    no note.
    """
    from loadgen.analysis.burn.low_traffic import slowest_warning  # numpy, for this option only
    from loadgen.analysis.burn.rules import BurnRule, rules_of_window

    def rules_of(one: Objective) -> list[BurnRule]:
        standard = rules_of_window(one.window.nominal_s) if one.alert_set == "standard" else ()
        pages = [alert for alert in one.alerts if alert.severity.lower() != "ticket" and alert.short_s]
        return [*standard, *(BurnRule(Fraction(one.factor), one.long_s, one.short_s) for one in pages)]

    notes = []
    for one in reading.slos.objectives:
        count = events.get(one.name)
        if not count or one.method is not Method.OCCURRENCES:
            continue
        if message := slowest_warning(rules_of(one), one.target, round(count / (one.window.nominal_s / 3600), 2)):
            place = reading.places.get(one.name, Place("", 0))
            hint = "add requests of a probe, or accept the time"
            notes.append(Fault(place.file, place.of("alerts"), message, hint))
    return notes
