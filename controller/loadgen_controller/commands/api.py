"""`loadgen api`: who may use the API of a controller."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadgen.errors import UsageError
from loadgen.report.report_tables import Table
from loadgen_controller.api.files import ApiFiles
from loadgen_controller.api.tokens import Role, Tokens
from loadgen_controller.screen.terminal_report import Output, print_table
from loadgen_controller.terminal import echo

EXAMPLES = """[bold]Examples[/bold]

loadgen api cert keys controller.internal

loadgen api token keys alice --role run > alice.token

loadgen api token keys dashboard --role view

loadgen api list keys

loadgen api revoke keys alice"""

app = typer.Typer(
    help="Say who may use the API of `loadgen controller`: tokens of three roles, and its certificate.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The controller's folder of keys.")]


@app.command(epilog="[bold]Example[/bold]\n\nloadgen api token keys alice --role run > alice.token")
def token(
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is; events of runs name it.")],
    role: Annotated[
        str, typer.Option(metavar="ROLE", help="view: look. run: also start and stop runs. admin: all.")
    ] = "view",
) -> None:
    """Make a token and say it, once: only what it can be known by is kept."""
    files = _files(folder)
    echo(Tokens(files.tokens).add(name, Role.of(role)))
    echo(f"the token of {name}, of the role {role}; keep it in a file of mode 600", err=True)


@app.command("list", epilog="[bold]Example[/bold]\n\nloadgen api list keys")
def list_(folder: Folder) -> None:
    """List the tokens: their names, roles, and when they were made."""
    rows = tuple((one.name, str(one.role), one.created_at) for one in Tokens(_files(folder).tokens))
    if not rows:
        echo(f"no tokens in {folder}")
        return
    print_table(Output(), Table("", ("name", "role", "made"), rows, words=3))


@app.command(epilog="[bold]Example[/bold]\n\nloadgen api revoke keys alice")
def revoke(
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose token.")],
) -> None:
    """End a token: a controller that runs refuses it from the next call on. Runs that it started go on."""
    Tokens(_files(folder).tokens).revoke(name)
    echo(f"revoked the token of {name}")


@app.command(epilog="[bold]Example[/bold]\n\nloadgen api cert keys controller.internal 10.0.0.7")
def cert(
    folder: Folder,
    hosts: Annotated[
        list[str] | None, typer.Argument(metavar="[HOST]...", help="Names and addresses that clients use.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it holds.")] = 365,
) -> None:
    """Make a certificate for the API that vouches for itself; clients name a copy of it with --ca.

    One of your own authority does as well: put it there as api/server.crt and api/server.key.
    """
    files = _files(folder)
    files.make_certificate(hosts or (), days)
    echo(f"made {files.certificate}: copy it to the clients, for --ca")
    echo(f"made {files.key}: it stays here")


def _files(folder: Path) -> ApiFiles:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", hint=f"loadgen keys init {folder} makes it")
    return ApiFiles(folder)
