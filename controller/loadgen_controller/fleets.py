"""Between a fleet on AWS and the controller that its agents come to: who is registered there, as the fleet asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from loadgen.aws.machines import Registration, Stand
from loadgen.aws.reasons import Reason
from loadgen.aws.site import Roll
from loadgen_controller.api.place import Place
from loadgen_controller.api.remote import call
from loadgen_controller.screen.texts import echo

__all__ = ["roll_of", "told_stands"]


def roll_of(place: Place) -> Roll:
    """Asks the controller there. Blocking; not within a running loop."""

    def roll() -> list[Registration]:
        agents = call(place, lambda client: client.agents())
        return [Registration(one.id, one.presence, one.run_id, one.note) for one in agents]

    return roll


def told_stands(stands: tuple[Stand, ...], reasons: Mapping[str, Reason]) -> None:
    """A line for each region: "eu-west-1: 2 registered, 1 launching"."""
    for line in _lines(stands, reasons):
        echo(line)


def _lines(stands: tuple[Stand, ...], reasons: Mapping[str, Reason]) -> Iterator[str]:
    for region in sorted({stand.region for stand in stands} | set(reasons)):
        counted = Counter(stand.standing.value for stand in stands if stand.region == region)
        parts = [f"{number} {standing}" for standing, number in sorted(counted.items(), reverse=True)]
        if region in reasons:
            parts.append(reasons[region].text)
        yield f"{region}: {', '.join(parts)}"
