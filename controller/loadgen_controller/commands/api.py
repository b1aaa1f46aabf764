"""`loadgen api`: manages the tokens and the certificate of a controller's API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import UsageError
from loadgen.report.report_parts import Table
from loadgen_controller.api.credential_files import ApiFiles
from loadgen_controller.api.tokens import Role, Tokens
from loadgen_controller.console_output import echo
from loadgen_controller.screen.terminal_report import Output, print_table

EXAMPLES = """[bold]Examples[/bold]

loadgen api cert keys controller.internal

loadgen api token keys alice --role run > alice.token

loadgen api token keys dashboard --role view

loadgen api list keys

loadgen api revoke keys alice"""

app = typer.Typer(
    help="Manage access to the API of `loadgen controller`: tokens of three roles, and its TLS certificate.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
    no_args_is_help=True,
)

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The controller's folder of keys, made by `loadgen keys init`.")
]


@app.command(epilog="[bold]Example[/bold]\n\nloadgen api token keys alice --role run > alice.token")
def token(
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the owner; the events of runs show it.")],
    role: Annotated[
        str, typer.Option(metavar="ROLE", help="view: only look. run: also start and stop runs. admin: everything.")
    ] = "view",
) -> None:
    """Create a token and print it, once: only its hash is stored, so it cannot be shown again."""
    files = _files(folder)
    echo(Tokens(files.tokens).add(name, Role.of(role)))
    echo(f"created a token for {name} with the role {role}; keep it in a file with mode 600", err=True)


@app.command("list", epilog="[bold]Example[/bold]\n\nloadgen api list keys")
def list_(folder: Folder) -> None:
    """List the tokens: their names, their roles, and when they were created."""
    rows = tuple((one.name, str(one.role), one.created_at) for one in Tokens(_files(folder).tokens))
    if not rows:
        echo(f"no tokens in {folder}; loadgen api token {folder} NAME creates one")
        return
    print_table(Output(), Table("", ("name", "role", "made"), rows, words=3))


@app.command(epilog="[bold]Example[/bold]\n\nloadgen api revoke keys alice")
def revoke(
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the token's owner.")],
) -> None:
    """Revoke a token. A running controller rejects it from the next call on; runs that it started continue."""
    Tokens(_files(folder).tokens).revoke(name)
    echo(f"revoked the token of {name}")


@app.command(epilog="[bold]Example[/bold]\n\nloadgen api cert keys controller.internal 10.0.0.7")
def cert(
    folder: Folder,
    hosts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[HOST]...", help="Host names and addresses by which clients reach the API."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Number of days for which it is valid.")] = 365,
) -> None:
    """Create a self-signed certificate for the API. Clients need a copy of it, for their option --ca.

    A certificate of your own authority works as well: store it in DIR as api/server.crt and api/server.key.
    """
    files = _files(folder)
    files.make_certificate(hosts or (), days)
    echo(f"created {files.certificate}: copy it to the clients, for --ca")
    echo(f"created {files.key}: it is secret and stays here")


def _files(folder: Path) -> ApiFiles:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", hint=f"create it with: loadgen keys init {folder}")
    return ApiFiles(folder)
