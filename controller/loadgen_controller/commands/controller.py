"""`loadgen controller`: a fleet and its runs, for clients that come and go."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.allow import AllowList
from loadgen.signing import Signer
from loadgen.wire.keys import ControllerKeys, load_controller
from loadgen_controller.api_files import ApiFiles
from loadgen_controller.guard import read_permits
from loadgen_controller.loops import new_loop
from loadgen_controller.options import Wrongs, parse_endpoint
from loadgen_controller.scenario import AllowOption, ListOption, SignOption
from loadgen_controller.service import Service
from loadgen_controller.station import Station
from loadgen_controller.stopping import Stopping
from loadgen_controller.tokens import Tokens

if TYPE_CHECKING:
    from loadgen_controller.api_server import Tls

NAME = "controller"
EXAMPLES = """[bold]Examples[/bold]

loadgen controller --keys keys

loadgen controller --keys keys --listen 0.0.0.0:5557 --api 0.0.0.0:5558 --allow allow.toml

loadgen run checkout.py --controller controller.internal:5558 --ca server.crt --token-file alice.token"""

_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Setting:
    """What a controller was started with."""

    keys: ControllerKeys
    listen: str
    api: str
    runs_dir: Path
    tokens: Tokens | None
    tls: Tls | None
    allowed: tuple[str, ...]
    allow: AllowList | None = None
    signer: Signer | None = None


def main(
    keys: Annotated[Path, typer.Option(metavar="DIR", help="Made by `loadgen keys init`; `loadgen api` adds to it.")],
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where agents come to.")] = "127.0.0.1:5557",
    api: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where clients come to.")] = "127.0.0.1:5558",
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where the runs' folders are made.")] = Path("runs"),
    i_may_load: AllowOption = None,
    allow: ListOption = None,
    sign_with: SignOption = None,
) -> None:
    """Keep a fleet of agents and conduct runs on it, one after another or at once on different agents.

    Agents come to --listen, clients to --api: `loadgen run --controller`, `watch`, `stop`, `kill` and the like. A run
    goes on when its client goes away. Beyond loopback the API needs a certificate and tokens, which `loadgen api`
    makes. Ctrl-C lets the runs that go on drain, a second one ends them at once.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # it would tell of each handshake that fails
    from loadgen_controller.api_server import Tls, check_bind  # gRPC takes its time, which other commands do not need

    wrongs = Wrongs()
    for option, text in (("--listen", listen), ("--api", api)):
        wrongs.parse(option, text, parse_endpoint)
    files = ApiFiles(keys)
    own = wrongs.catch(lambda: load_controller(keys))
    tokens = wrongs.catch(lambda: Tokens(files.tokens) if files.tokens.exists() else None)
    tls = wrongs.catch(lambda: Tls.read(files.certificate, files.key) if files.certificate.exists() else None)
    listed, signer = read_permits(wrongs, listen, keys, allow, sign_with)
    if not wrongs.found:
        wrongs.catch(lambda: check_bind(api, tls, tokens))
    wrongs.check()
    assert own is not None
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    setting = Setting(own, listen, api, runs_dir, tokens, tls, tuple(i_may_load or ()), listed, signer)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve(setting, typer.echo))


async def serve(setting: Setting, say: Callable[[str], None]) -> None:
    """Until it is told to stop, and no run goes on any more."""
    from loadgen_controller.api_server import ApiServer

    stopped = asyncio.Event()
    async with Station(setting.keys, setting.listen) as station:
        service = Service(station, setting.runs_dir, setting.allowed, allow=setting.allow, signer=setting.signer)

        def stop(reason: str, now: bool) -> None:
            service.stop_all(f"the controller was {reason}", now)
            stopped.set()

        try:
            api = ApiServer(service, setting.api, setting.tokens, setting.tls)
            await api.start()
            try:
                with Stopping(stop).on_signals(asyncio.get_running_loop()):
                    say(f"agents come to {station.address}, clients to {api.address}")
                    if setting.tokens is None:
                        say("without tokens: whoever is on this machine may use the API")
                    while not stopped.is_set() or service.going:
                        station.check()
                        await asyncio.sleep(_LOOK_S)
            finally:
                await api.close()
        finally:
            await service.close()
