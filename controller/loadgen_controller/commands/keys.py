"""`loadgen keys`: manages the keys by which controller and agents authenticate each other."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import UsageError
from loadgen.report.report_parts import Table
from loadgen.signed.signatures import PUBLIC_NAME, make
from loadgen.wire.curve_keys import check_key_name
from loadgen.wire.key_folder_changes import add_agent, init_keys, list_keys, revoke
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.console_output import echo
from loadgen_controller.screen.terminal_report import Output, print_table

EXAMPLES = """[bold]Examples[/bold]

loadgen keys init keys

loadgen keys agent keys frankfurt virginia

loadgen keys list keys

loadgen keys revoke keys virginia

loadgen keys signing keys"""

app = typer.Typer(
    help="Create, list and revoke the keys by which controller and agents authenticate each other.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The controller's folder of keys.")]


@app.command(epilog="[bold]Example[/bold]\n\nloadgen keys init keys")
def init(folder: Folder) -> None:
    """Create the folder with the controller's key. An existing key is kept."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint="name a folder; it is created if it does not exist")
    if init_keys(folder):
        echo(f"created {folder / 'controller.key'}; it is secret and stays here")
        echo(f"next: loadgen keys agent {folder} NAME")
    else:
        echo(f"{folder} already has a controller's key; it was kept")


@app.command(epilog="[bold]Example[/bold]\n\nloadgen keys agent keys frankfurt virginia")
def agent(
    folder: Folder,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Name of each agent or group of agents.")],
) -> None:
    """Create a key for each agent, and a folder to copy to its host.

    A key is valid for the agent NAME and for NAME.1, NAME.2 and so on. A running controller accepts it within 10 s.
    """
    errors = CollectedErrors()
    for name in names:
        errors.catch(partial(check_key_name, name))
    errors.check()
    for name in names:
        made = add_agent(folder, name)
        echo(f"copy {made} to the host of {name}" if made else f"{name} already has a key")


@app.command(epilog="[bold]Example[/bold]\n\nloadgen keys signing keys")
def signing(folder: Folder) -> None:
    """Create the key pair that signs bundles. An agent with its public key rejects all other bundles."""
    made = make(folder)
    if made is None:
        echo(f"{folder} already has a signing key; it was kept")
        return
    echo(f"created {made}; it is secret and stays here. Runs with --keys {folder} are signed with it")
    echo(f"next: copy {folder / PUBLIC_NAME} into the key folder of each agent")


@app.command("revoke", epilog="[bold]Example[/bold]\n\nloadgen keys revoke keys virginia")
def revoke_(
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the agent whose key is revoked.")],
) -> None:
    """Revoke a key for good. A running controller disconnects its agents within 10 s.

    The name can be used again: `loadgen keys agent` creates a new key for it.
    """
    echo(f"revoked the key of {name}, {revoke(folder, name)}")


@app.command("list", epilog="[bold]Example[/bold]\n\nloadgen keys list keys")
def list_(folder: Folder) -> None:
    """List the keys of agents, and the revoked ones."""
    known = list_keys(folder)
    if not known:
        echo(f"no agent has a key; create one with: loadgen keys agent {folder} NAME")
        return
    rows = tuple(
        (one.name, "revoked" if one.is_revoked else "good", one.fingerprint, f"{one.made_at:%Y-%m-%d %H:%M}")
        for one in known
    )
    print_table(Output(), Table("", ("agent", "key", "fingerprint", "made, UTC"), rows, words=4))
