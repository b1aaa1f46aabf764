"""Opens the channels of `loadgen.toml` for a command, with their secrets from this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from loadgen.dsl.find_settings import find_settings
from loadgen.dsl.plans.loadgen_toml import read_settings
from loadgen.dsl.secret import missing_secrets, secret_values
from loadgen.dsl.source_location import Origin
from loadgen.errors import ScenarioError
from loadgen.notify.notifier import Notifier
from loadgen.notify.settings import Channel
from loadgen_controller.collect_option_errors import CollectedErrors

__all__ = ["channels_for", "close_with_notes", "notifier_of", "values_of"]

_HERE = Path("scenario.py")


def channels_for(scenario: Path | None) -> list[Channel]:
    """Return the channels of the `loadgen.toml` that applies to a scenario file; None: to the current folder.

    Raises:
        ScenarioError: with all errors in the file.
    """
    return list(read_settings(find_settings(scenario or _HERE)).notify.values())


def values_of(errors: CollectedErrors, channels: Iterable[Channel]) -> dict[str, str]:
    """Return the values of the channels' secrets by name. Secrets that are not set here are added to `errors`."""
    places = {name: Origin(f"[notify.{one.name}]", 0) for one in channels for name in one.secrets}

    def check() -> None:
        if missing := missing_secrets(places, places):
            raise ScenarioError(missing)

    errors.catch(check)
    return {name: value for name, value in secret_values().items() if name in places}


def notifier_of(
    errors: CollectedErrors, channels: Iterable[Channel], on_trouble: Callable[[str], None] | None = None
) -> Notifier:
    """Return a notifier for channels. Secrets that are not set on this machine are added to `errors`.

    on_trouble: as for `Notifier`.
    """
    channels = list(channels)
    return Notifier(channels, values_of(errors, channels), on_trouble)


def close_with_notes(notifier: Notifier, say: Callable[[str], None]) -> None:
    """Wait for the last messages, and pass a line to `say` for each channel that did not get all of them."""
    for text in notifier.close():
        say(f"note: {text}")
