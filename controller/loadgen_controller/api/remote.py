"""Code that commands share to use a remote controller: its options, starting runs there, and following them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from loadgen.errors import ExitCode, FleetError, UsageError
from loadgen_controller.api.address import Place
from loadgen_controller.collect_option_errors import CollectedErrors

# Most commands have the options of this module, and few of them use a controller.
if TYPE_CHECKING:
    import asyncio

    from rich.console import Console

    from loadgen_controller.api.client import Client
    from loadgen_controller.core.run_request import Order
    from loadgen_controller.screen.live_figures import Figures

__all__ = [
    "CaOption",
    "ControllerOption",
    "NeededController",
    "TokenFileOption",
    "call",
    "check_there",
    "make_there",
    "order_there",
    "place_of",
    "watch_there",
]

TOKEN_VARIABLE: Final = "LOADGEN_TOKEN"  # noqa: S105  # its name
CA_VARIABLE: Final = "LOADGEN_CA"
_TRY_AGAIN_S: Final = 1.0
_TRIES: Final = 60

ControllerOption = Annotated[
    str | None,
    typer.Option(
        "--controller",
        metavar="HOST:PORT",
        envvar="LOADGEN_CONTROLLER",
        help="The API of the `loadgen controller` that has the run.",
    ),
]
NeededController = Annotated[
    str,
    typer.Option(
        "--controller", metavar="HOST:PORT", envvar="LOADGEN_CONTROLLER", help="The API of a `loadgen controller`."
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="FILE",
        help="The controller's certificate, or that of its authority (PEM). Default: LOADGEN_CA.",
    ),
]
TokenFileOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File with the token for the API. Default: LOADGEN_TOKEN.")
]

T = TypeVar("T")


def place_of(errors: CollectedErrors, controller: str | None, ca: Path | None, token_file: Path | None) -> Place | None:
    """Parse the options for a remote controller; None if `controller` is None. Errors are added to `errors`."""
    if controller is None:
        for option, value in (("--ca", ca), ("--token-file", token_file)):
            if value is not None:
                errors.add(f"{option} needs a controller", "add --controller HOST:PORT")
        return None
    from loadgen_controller.planning.option_parsing import parse_endpoint

    errors.parse("--controller", controller, parse_endpoint)
    if ca is None and (of_environment := os.environ.get(CA_VARIABLE)):
        ca = Path(of_environment)  # not by typer's `envvar`: the variable alone, without a controller, is no error
    token = os.environ.get(TOKEN_VARIABLE, "")
    if token_file is not None:
        token = errors.catch(lambda: _token(token_file)) or ""
    return Place(controller, None if ca is None else errors.catch(lambda: _pem(ca)), token)


def _token(path: Path) -> str:
    from loadgen_controller.api.tokens import read_token

    try:
        return read_token(path)
    except UsageError as error:
        raise UsageError(f"--token-file: {error.message}", hint=error.hint) from error


def _pem(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"--ca: cannot read {path}: {error.strerror}", hint="check the path and its permissions"
        ) from error
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise UsageError(f"--ca: {path} is not a certificate", hint="give a file in PEM format")
    return data


def call(place: Place, do: Callable[[Client], Awaitable[T]]) -> T:
    """Connect to the controller, run `do` with the connected client, and return what `do` returns. Blocks."""
    import asyncio

    from loadgen_controller.api.client import Client  # importing gRPC takes 0.2 s, which other commands need not pay

    async def calling() -> T:
        async with Client(place) as client:
            return await do(client)

    return asyncio.run(calling())


def order_there(
    place: Place, order: Order, console: Console, *, is_quiet: bool = False, stops: bool = False
) -> tuple[int, dict[str, object] | None]:
    """Start a run at the controller, show it until it ends, and print its report.

    Args:
        is_quiet: print only the report.
        stops: Ctrl-C stops the run and waits for its end, and a second Ctrl-C detaches. False: the first one detaches.

    Returns:
        (exit code, summary); the summary is None if the operator detached with Ctrl-C.

    Raises:
        UsageError, FleetError: the run cannot be started or watched.
    """

    async def ordering(client: Client) -> tuple[int, dict[str, object] | None]:
        run_id = await _started(client, place, order, console, is_quiet, stops)
        return await _reported(client, place, run_id, console, is_quiet, stops)

    return call(place, ordering)


def check_there(place: Place) -> None:
    """Check that run folders can be copied from the controller, as `make_there` does.

    Older controllers do not support it.

    Raises:
        UsageError, FleetError: it does not, or it cannot be reached.
    """
    call(place, lambda client: client.check_fetch())


def make_there(place: Place, order: Order, runs_dir: Path, console: Console, *, is_quiet: bool = False) -> Path:
    """Start a run at the controller, wait for its end, and copy its folder into `runs_dir`. Return the folder.

    Ctrl-C stops the run and waits for its end. No report is printed.

    Raises:
        KeyboardInterrupt: the operator detached with a second Ctrl-C.
        UsageError, FleetError, StorageError: the run cannot be started, watched or copied.
    """

    async def making(client: Client) -> Path | None:
        run_id = await _started(client, place, order, console, is_quiet, stops=True)
        ended = await _until_over(client, place, run_id, console, is_quiet, stops=True)
        return None if ended is None else await client.fetch(ended[0], runs_dir)

    if (made := call(place, making)) is None:
        raise KeyboardInterrupt
    return made


def watch_there(place: Place, run: str, console: Console) -> tuple[int, dict[str, object] | None]:
    """Show a run of the controller until it ends, and print its report.

    Returns:
        (exit code, summary); the summary is None if the operator detached with Ctrl-C.

    Raises:
        UsageError, FleetError: there is no such run, or it cannot be watched.
    """
    return call(place, lambda client: _reported(client, place, run, console))


async def _started(client: Client, place: Place, order: Order, console: Console, is_quiet: bool, stops: bool) -> str:
    started = await client.start(order)
    if not is_quiet:
        what = "Ctrl-C stops it" if stops else "it continues without this terminal"
        console.print(f"run {started.run_id} at {place.address}; {what}", soft_wrap=True)
    return str(started.run_id)


async def _reported(
    client: Client, place: Place, run: str, console: Console, is_quiet: bool = False, stops: bool = False
) -> tuple[int, dict[str, object] | None]:
    from loadgen.report.report_tables import final_report
    from loadgen.report.summary_reader import read
    from loadgen_controller.screen.terminal_report import print_report

    ended = await _until_over(client, place, run, console, is_quiet, stops)
    if ended is None:
        return ExitCode.INTERRUPTED, None
    run_id, code = ended
    summary, folder = await client.summary(run_id)
    print_report(console, final_report(read(summary), Path(f"{place.address}:{folder}")))
    return code, summary


async def _until_over(
    client: Client, place: Place, run: str, console: Console, is_quiet: bool, stops: bool
) -> tuple[str, int] | None:
    """Wait until a run ends; return its id and exit code, or None if the operator detached with Ctrl-C.

    stops: the first Ctrl-C stops the run instead, and a second one detaches.
    """
    import asyncio

    from loadgen_controller.control.control_request import ControlRequest

    following = asyncio.ensure_future(_follow(client, run, None if is_quiet else console))
    with _interrupted(following.cancel):
        try:
            return await following
        except asyncio.CancelledError:
            if not stops:
                for line in _left(place, run):
                    console.print(line, soft_wrap=True)
                return None
            for line in (await client.ask(ControlRequest(run_id=run, do="stop"))).lines:
                console.print(line, soft_wrap=True)
    return await _until_over(client, place, run, console, is_quiet, stops=False)


def _left(place: Place, run: str) -> Iterator[str]:
    which = f"{run} --controller {place.address}".strip()
    yield f"detached: {f'run {run}' if run else 'the run'} continues at {place.address}"
    yield f"  loadgen watch {which}"
    yield f"  loadgen stop {which}"


async def _follow(client: Client, run: str, console: Console | None) -> tuple[str, int]:
    """Show a run on the console until it ends; return its id and exit code.

    Reconnect for a minute if the connection breaks. console: None shows nothing.
    """
    import asyncio

    from loadgen_controller.api.client import figures_of
    from loadgen_controller.screen.live import show

    newest: list[Figures] = []
    showing: asyncio.Task[None] | None = None
    tries = 0
    try:
        while True:
            try:
                async for snapshot in client.watch(run):
                    run, tries = snapshot.run_id, 0
                    if snapshot.is_over:
                        return snapshot.run_id, snapshot.exit_code
                    newest[:] = [figures_of(snapshot)]
                    if showing is None and console is not None:
                        showing = asyncio.create_task(show(lambda: newest[0], console), name="live view")
                raise FleetError(
                    "the controller ended the watch before the run was over",
                    hint="check the controller's log; loadgen watch --controller HOST:PORT shows if the run goes on",
                )
            except FleetError:
                tries += 1  # a restarted controller continues its runs
                # Without any figures so far the controller was not reached at all, which a restart does not explain.
                if not newest or tries > _TRIES:
                    raise
                await asyncio.sleep(_TRY_AGAIN_S)
    finally:
        if showing is not None:
            showing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await showing


@contextlib.contextmanager
def _interrupted(leave: Callable[[], object]) -> Iterator[None]:
    """Call `leave` on Ctrl-C and SIGTERM inside the `with` block; restore the old handlers after it."""
    import asyncio

    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        loop.add_signal_handler(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            # This sets one of Python's default handlers, so the old handler is restored after it.
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
