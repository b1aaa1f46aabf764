"""`loadgen keys`: the keys that controller and agents know each other by."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import UsageError
from loadgen.report.report_tables import Table
from loadgen.signed.signatures import PUBLIC_NAME, make
from loadgen.wire.keyfolder import add_agent, init_keys, list_keys, revoke
from loadgen.wire.keys import check_key_name
from loadgen_controller.collected_errors import CollectedErrors
from loadgen_controller.screen.terminal_report import Output, print_table
from loadgen_controller.terminal import echo

EXAMPLES = """[bold]Examples[/bold]

loadgen keys init keys

loadgen keys agent keys frankfurt virginia

loadgen keys list keys

loadgen keys revoke keys virginia

loadgen keys signing keys"""

app = typer.Typer(
    help="Make, list and revoke the keys that controller and agents know each other by.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The controller's folder of keys.")]


@app.command(epilog="[bold]Example[/bold]\n\nloadgen keys init keys")
def init(folder: Folder) -> None:
    """Make the folder and the controller's key in it. One that is there stays."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint="name a folder; it is made if it is not there")
    if init_keys(folder):
        echo(f"made {folder / 'controller.key'}; it stays here")
        echo(f"next: loadgen keys agent {folder} NAME")
    else:
        echo(f"the controller's key is there already, in {folder}")


@app.command(epilog="[bold]Example[/bold]\n\nloadgen keys agent keys frankfurt virginia")
def agent(
    folder: Folder,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Of each agent, or group of agents.")],
) -> None:
    """Make a key for each agent, and the folder to copy to its host.

    A key speaks for the agent NAME and for NAME.1, NAME.2 and so on. A controller that runs lets it in within 10 s.
    """
    wrongs = CollectedErrors()
    for name in names:
        wrongs.catch(partial(check_key_name, name))
    wrongs.check()
    for name in names:
        made = add_agent(folder, name)
        echo(f"copy {made} to the host of {name}" if made else f"{name} has a key already")


@app.command(epilog="[bold]Example[/bold]\n\nloadgen keys signing keys")
def signing(folder: Folder) -> None:
    """Make the pair with which bundles are signed; an agent that has its public half takes no others."""
    made = make(folder)
    if made is None:
        echo(f"the signing key is there already, in {folder}")
        return
    echo(f"made {made}; it stays here, and runs with --keys {folder} sign with it")
    echo(f"next: copy {folder / PUBLIC_NAME} into the folder of keys of each agent")


@app.command("revoke", epilog="[bold]Example[/bold]\n\nloadgen keys revoke keys virginia")
def revoke_(
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key is to be of no more use.")],
) -> None:
    """Never let this key in again. A controller that runs drops its agents within 10 s.

    The name is free afterwards: `loadgen keys agent` makes a new key for it.
    """
    echo(f"revoked the key of {name}, {revoke(folder, name)}")


@app.command("list", epilog="[bold]Example[/bold]\n\nloadgen keys list keys")
def list_(folder: Folder) -> None:
    """List the agents' keys, and those that are revoked."""
    known = list_keys(folder)
    if not known:
        echo(f"no agent has a key; loadgen keys agent {folder} NAME makes one")
        return
    rows = tuple(
        (one.name, "revoked" if one.is_revoked else "good", one.fingerprint, f"{one.made_at:%Y-%m-%d %H:%M}")
        for one in known
    )
    print_table(Output(), Table("", ("agent", "key", "fingerprint", "made, UTC"), rows, words=4))
