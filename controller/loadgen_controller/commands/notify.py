"""`loadgen notify`: tests the channels to which runs and gates send notifications."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.dsl.find_settings import FILE_NAME, find_settings
from loadgen.dsl.plans.loadgen_toml import read_settings
from loadgen.errors import NotificationFailed, UsageError
from loadgen.notify.event import Event, EventKind, Figure
from loadgen.notify.notifier import new_id
from loadgen.notify.outbox import Message
from loadgen.notify.settings import Channel
from loadgen.notify.transports import NotDelivered, transport_of
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.console_output import echo
from loadgen_controller.notifying.open_notifier import values_of
from loadgen_controller.notifying.run_events import now

EXAMPLES = """[bold]Examples[/bold]

loadgen notify test team

loadgen notify test team --settings perf/loadgen.toml"""

app = typer.Typer(
    help="Test the channels to which runs and gates send notifications: the tables notify.NAME of loadgen.toml.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
    no_args_is_help=True,
)


@app.callback()
def _group() -> None:
    """Keep `test` a subcommand; typer turns a group of one command into that command."""


@app.command("test", epilog=EXAMPLES)
def send_test(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The channel: NAME of the table notify.NAME.")],
    settings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The loadgen.toml. Default: the one in this folder, or in a folder above."),
    ] = None,
) -> None:
    """Send one test message to a channel, and show whether the receiver accepted it.

    The message is sent once, without further tries. Exit code 5: it was not accepted.
    """
    channel = _channel(name, settings)
    errors = CollectedErrors()
    values = values_of(errors, [channel])
    errors.check()
    figure = Figure("p95 of an example", "61.3 ms", 820, "iterations")
    event = Event.of(EventKind.TEST, "loadgen notify test", "this is a test", now(), figures=(figure,))
    message = Message(new_id(), (event,))
    try:
        transport_of(channel, values).send(message)
    except NotDelivered as error:
        raise NotificationFailed(
            f"the message to {name} ({channel.kind}) was not delivered: {error}",
            hint=f"check [notify.{name}] in loadgen.toml, its secrets and the receiver, then repeat the command",
        ) from None
    echo(f"delivered to {name} ({channel.kind}, {channel.where}), id {message.id}")


def _channel(name: str, settings: Path | None) -> Channel:
    path = settings or find_settings(Path("scenario.py"))
    if path is None:
        raise UsageError(f"no {FILE_NAME} in this folder or above", hint=f"create one with [notify.{name}]")
    channels = read_settings(path).notify
    if name not in channels:
        known = f"it has {', '.join(channels)}" if channels else f"write [notify.{name}] in it"
        raise UsageError(f'{path} has no channel "{name}"', hint=known)
    return channels[name]
