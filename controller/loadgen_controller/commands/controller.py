"""`loadgen controller`: keeps a fleet of agents and conducts runs on it, for clients that come and go."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from loadgen.allowlist import AllowList
from loadgen.dsl.plans.loadgen_toml import read_settings
from loadgen.errors import LoadgenError, UsageError
from loadgen.logs import log_to_stderr
from loadgen.measure.run_folder.rundir import replace_file, storage_error
from loadgen.notify.notifier import Notifier
from loadgen.secret_files import shared_mode
from loadgen.signed.signatures import Signer
from loadgen.sinks.live_outputs import Outputs
from loadgen.wire.curve_keys import ControllerKeys, load_controller
from loadgen_controller.agents.hub import AgentHub
from loadgen_controller.api.credential_files import ApiFiles
from loadgen_controller.api.tokens import Tokens
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.shared_options import AllowHostOption, AllowListOption, OutOption, SignOption
from loadgen_controller.console_output import echo
from loadgen_controller.control.run_service import Service
from loadgen_controller.launch.event_loop import new_loop
from loadgen_controller.launch.signals import Stopping
from loadgen_controller.notifying.open_notifier import close_with_notes, notifier_of
from loadgen_controller.planning.option_parsing import outputs_of, parse_endpoint
from loadgen_controller.planning.target_permission import read_permits
from loadgen_controller.run.recovery import clock_after, unfinished
from loadgen_controller.ui.access import Access, check_place

if TYPE_CHECKING:
    from loadgen_controller.agents.aws_enrolment import Enroller
    from loadgen_controller.api.server import Tls
    from loadgen_controller.ui.server import UiServer

EXAMPLES = """[bold]Examples[/bold]

loadgen controller --keys keys

loadgen controller --keys keys --listen 0.0.0.0:5557 --api 0.0.0.0:5558 --allow allow.toml

loadgen controller resume

loadgen run checkout.py --controller controller.internal:5558 --ca server.crt --token-file alice.token"""

app = typer.Typer(
    help="Keep a fleet of agents and conduct runs on it: one after another, or several at once on different agents.\n\n"
    "Agents connect to --listen, clients to --api: `loadgen run --controller`, `watch`, `stop`, `kill` and so on. A run"
    " continues when its client leaves. If other hosts can reach the API, it needs a certificate and tokens, which"
    " `loadgen api` creates. Ctrl-C drains the running runs and then ends the controller; a second Ctrl-C ends them at"
    " once.",
    epilog=EXAMPLES,
    rich_markup_mode="rich",
    invoke_without_command=True,
)

log = logging.getLogger(__name__)

_LOOK_S = 0.2
_REMEMBERED = "controller.json"
"""File in the folder of runs with the options that `loadgen controller resume` starts the controller with."""


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """The options that a controller was started with, as stored for `resume`: paths of secrets, never secrets."""

    format: int = 1
    keys: str
    listen: str
    api: str
    allowed: tuple[str, ...] = ()
    allow: str | None = None
    sign_with: str | None = None
    ui: str | None = None
    out: tuple[str, ...] = ()
    enroll: str | None = None
    bucket: str | None = None
    notify: str | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """A controller's options, checked and read from their files."""

    keys: ControllerKeys
    listen: str
    api: str
    runs_dir: Path
    tokens: Tokens | None
    tls: Tls | None
    allowed: tuple[str, ...]
    allow: AllowList | None = None
    signer: Signer | None = None
    ui: str | None = None
    access: Access = field(default_factory=Access)
    """The tokens and the certificate of the web page."""
    outputs: Outputs | None = None
    notifier: Notifier | None = None
    enroller: Enroller | None = None
    remembered: Remembered | None = None
    """Stored for `loadgen controller resume` once the controller listens, so that a failed start overwrites nothing."""


@app.callback()
def main(
    context: typer.Context,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of keys, made by `loadgen keys init`; `loadgen api` adds tokens and a certificate.",
        ),
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address at which agents connect.")
    ] = "127.0.0.1:5557",
    api: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Address of the API, for clients such as `loadgen run --controller`."),
    ] = "127.0.0.1:5558",
    runs_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the run folders; new runs are stored there.")
    ] = Path("runs"),
    i_may_load: AllowHostOption = None,
    allow: AllowListOption = None,
    sign_with: SignOption = None,
    ui: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Show all runs on a web page at this address, to everybody with a token of the API.",
        ),
    ] = None,
    out: OutOption = None,
    enroll: Annotated[
        str | None,
        typer.Option(
            metavar="FLEET", help="Admit the agents of this AWS fleet, by the keys that they put into --bucket."
        ),
    ] = None,
    bucket: Annotated[
        str | None, typer.Option(metavar="NAME", help="S3 bucket of the fleet, in which its agents enrol.")
    ] = None,
    notify: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Send notifications about all runs to the channels (tables notify.NAME) of this loadgen.toml.",
        ),
    ] = None,
) -> None:
    if context.invoked_subcommand is not None:
        return
    if keys is None:
        raise UsageError(
            "--keys is missing",
            hint="add --keys DIR, a folder made by loadgen keys init DIR; loadgen controller resume needs no options",
        )
    run(
        Remembered(
            keys=str(keys.absolute()),
            listen=listen,
            api=api,
            allowed=tuple(i_may_load or ()),
            allow=None if allow is None else str(allow.absolute()),
            sign_with=None if sign_with is None else str(sign_with.absolute()),
            ui=ui,
            out=tuple(out or ()),
            enroll=enroll,
            bucket=bucket,
            notify=None if notify is None else str(notify.absolute()),
        ),
        runs_dir,
    )


@app.command(epilog="[bold]Example[/bold]\n\nloadgen controller resume --runs-dir /srv/loadgen/runs")
def resume(
    runs_dir: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run folders.")] = Path("runs"),
) -> None:
    """Restart the controller of this folder of runs with its last options, and continue its unfinished runs."""
    path = runs_dir / _REMEMBERED
    try:
        remembered = msgspec.json.decode(path.read_bytes(), type=Remembered)
    except FileNotFoundError:
        raise UsageError(
            f"no controller was started in {runs_dir}", hint="start one with: loadgen controller --keys DIR"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="check the permissions of the file") from error
    except msgspec.DecodeError as error:
        raise UsageError(
            f"cannot read {path}: {error}", hint="start with options, which rewrites it: loadgen controller --keys DIR"
        ) from error
    run(remembered, runs_dir)


def run(wanted: Remembered, runs_dir: Path) -> None:
    """Check the options and run the controller until it is stopped.

    Raises:
        UsageError, StorageError, ExceptionGroup: all errors in the options and files, before anything starts.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # else gRPC logs each failed handshake
    from loadgen_controller.api.server import Tls, check_bind  # slow to import (gRPC), so only here

    errors = CollectedErrors()
    for option, text in (("--listen", wanted.listen), ("--api", wanted.api), ("--ui", wanted.ui)):
        if text is not None:
            errors.parse(option, text, parse_endpoint)
    files = ApiFiles(Path(wanted.keys))
    own = errors.catch(lambda: load_controller(files.keys, agents_come_later=wanted.enroll is not None))
    enroller = errors.catch(lambda: _enroller(wanted))
    tokens = errors.catch(lambda: Tokens(files.tokens) if files.tokens.exists() else None)
    tls = errors.catch(lambda: Tls.read(files.certificate, files.key) if files.certificate.exists() else None)
    allow, sign_with = (None if path is None else Path(path) for path in (wanted.allow, wanted.sign_with))
    listed, signer = read_permits(errors, wanted.listen, files.keys, allow, sign_with)
    access = errors.catch(lambda: Access.of(Path(wanted.keys)))
    outputs = outputs_of(errors, wanted.out)
    if outputs.has_stdout:
        errors.add(
            "--out ndjson=- cannot be used here: stdout is for the controller's log", "name a file: --out ndjson=FILE"
        )
    notifier = _notifier(errors, wanted)
    if not errors.found:
        errors.catch(lambda: check_bind(wanted.api, tls, tokens))
        errors.catch(lambda: check_place(wanted.ui or "127.0.0.1:0", access or Access()))
    errors.check()
    assert own is not None
    assert access is not None
    try:
        runs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(runs_dir, error) from error
    log_to_stderr(logging.INFO, "%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
    setting = Setting(
        own,
        wanted.listen,
        wanted.api,
        runs_dir,
        tokens,
        tls,
        wanted.allowed,
        listed,
        signer,
        wanted.ui,
        access,
        outputs,
        notifier,
        enroller,
        wanted,
    )
    with asyncio.Runner(loop_factory=new_loop) as runner:
        try:
            runner.run(serve(setting, echo))
        finally:
            outputs.close()
            close_with_notes(notifier, log.warning)


async def serve(setting: Setting, say: Callable[[str], None]) -> None:
    """Run the controller until it is stopped and its last run has ended. `say` prints a line."""
    from loadgen_controller.api.server import ApiServer

    stopped = asyncio.Event()
    folders = unfinished(setting.runs_dir)
    hub = AgentHub(setting.keys, setting.listen, clock_after(folders))
    service = Service(
        hub,
        setting.runs_dir,
        setting.allowed,
        allow=setting.allow,
        signer=setting.signer,
        outputs=setting.outputs,
        notifier=setting.notifier,
    )

    page = _page(service, setting)

    def stop(reason: str, now: bool) -> None:
        service.stop_all(f"the controller was {reason}", now)
        stopped.set()

    try:
        # Before the hub listens: an agent of an unfinished run that connects too early is unknown here, and would
        # drop its unacknowledged measurements.
        for folder in folders:
            await _recover(service, folder, say)
        async with hub:
            api = ApiServer(service, setting.api, setting.tokens, setting.tls)
            await api.start()
            enrolling = None if setting.enroller is None else asyncio.create_task(setting.enroller.serve())
            try:
                if page is not None:
                    page.start()
                    say(f"page: {page.page_of()}")
                _remember(setting)
                with Stopping(stop).on_signals(asyncio.get_running_loop()):
                    say(f"listening for agents on {hub.address}, for clients on {api.address}")
                    if setting.tokens is None:
                        say("no tokens: every user of this machine may use the API")
                    while not stopped.is_set() or service.going:
                        hub.check()
                        if enrolling is not None and enrolling.done():
                            enrolling.result()
                        await asyncio.sleep(_LOOK_S)
            finally:
                if enrolling is not None:
                    enrolling.cancel()
                await api.close()
                await service.close()
                if page is not None:
                    await page.close()
    finally:
        await service.close()


def _remember(setting: Setting) -> None:
    if setting.remembered is not None:
        written = msgspec.json.format(msgspec.json.encode(setting.remembered)) + b"\n"
        replace_file(setting.runs_dir / _REMEMBERED, written, shared_mode(setting.runs_dir))


def _notifier(errors: CollectedErrors, wanted: Remembered) -> Notifier:
    """Return the channels of --notify; errors in the file are added to `errors`."""
    if wanted.notify is None:
        return Notifier()
    path = Path(wanted.notify)
    channels = errors.catch(lambda: read_settings(path).notify)
    if channels is not None and not channels:
        errors.add(f"--notify: {path} has no channel", "write [notify.NAME] in it")
    return notifier_of(errors, (channels or {}).values(), log.warning)


def _enroller(wanted: Remembered) -> Enroller | None:
    if (wanted.enroll is None) != (wanted.bucket is None):
        raise UsageError(
            "--enroll and --bucket must be given together",
            hint="for example: --enroll shop --bucket loadgen-shop-111122223333",
        )
    if wanted.enroll is None or wanted.bucket is None:
        return None
    from loadgen_controller.agents.aws_enrolment import (
        enroller_of,  # slow to import (boto3), so only here
    )

    return enroller_of(Path(wanted.keys), wanted.enroll, wanted.bucket, log.warning)


def _page(service: Service, setting: Setting) -> UiServer | None:
    if setting.ui is None:
        return None
    from loadgen_controller.ui.run_catalog import PageRuns
    from loadgen_controller.ui.server import UiServer

    shown = service.watching = PageRuns(setting.runs_dir, service.answer)
    return UiServer(shown, setting.ui, setting.access)


async def _recover(service: Service, folder: Path, say: Callable[[str], None]) -> None:
    """Continue an unfinished run. If that fails, the run is left untouched and does not block the others."""
    try:
        await service.take_up(folder)
    except LoadgenError as error:
        say(f"run {folder.name} cannot be continued: {error.message}")
    else:
        say(f"run {folder.name} is continued")
