"""`loadgen-agent`: join a controller, drive a share of its runs, hand over what was measured."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from loadgen.errors import LoadgenError
from loadgen.logs import log_to_stderr
from loadgen.outside_text import block
from loadgen.signed.signatures import PUBLIC_NAME, Verifier
from loadgen.wire.keys import AgentKeys, check_agent_id, load_agent
from loadgen_agent.delivery.spool import default_root
from loadgen_agent.host import cores, cpu_count, host_name, leave_no_core, raise_file_limit
from loadgen_agent.supervisor.lifecycle import Exit
from loadgen_agent.supervisor.orphans import adopt
from loadgen_agent.supervisor.supervisor import Supervisor, Terms
from loadgen_agent.supervisor.workers import MAX_WORKERS, Crewing

__all__ = ["main"]

log = logging.getLogger("loadgen.agent")

_EXAMPLES = """\
examples:
  loadgen keys init ./keys                                 once, where the controller runs
  loadgen keys agent ./keys eu us-1                        then copy ./keys/copy-to/eu to that host, as its ./keys
  loadgen run checkout.py --listen 0.0.0.0:5557 --keys ./keys --allow allow.toml
  loadgen-agent --controller 10.0.0.7:5557 --region eu-west-1 --keys ./keys
  loadgen-agent --controller 10.0.0.7:5557 --region us-east-1 --keys ./keys --id us-1
  loadgen-agent --controller 10.0.0.7:5557 --region us-east-1 --keys ./keys --workers 4 --pin

On EC2, with what deploy/terraform makes, an agent finds all of it by itself:
  loadgen-agent --aws --fleet shop --bucket loadgen-shop-111122223333

An agent only connects outward. It needs the folder that `loadgen keys agent` made for it, and
nothing else. The key NAME speaks for the agents NAME and NAME.more.

SIGTERM or Ctrl-C leaves the load to the others within a second, ends what it began, hands over what was measured and
leaves; a second one cuts it off.

exit codes:
  0   the controller let it go, or it was told to leave and everything is handed over
  2   the command line or the keys are wrong
  5   it was not taken in, or the controller is gone and what was measured is not handed over
  70  a bug of ours
"""


def main(argv: Sequence[str] | None = None) -> None:
    args = _checked(_parser(), argv)
    log_to_stderr(
        logging.DEBUG if args.verbose else logging.INFO,
        f"%(asctime)s agent {args.region or 'on EC2'}: %(message)s",
        "%H:%M:%S",
    )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            ending = runner.run(_serve_on_aws(args) if args.aws else _serve(args))
    except LoadgenError as error:
        lines = block(f"loadgen-agent: {error.message}" + (f"\n{error.hint}" if error.hint else ""))
        sys.stderr.write("\n  ".join(lines) + "\n")
        sys.exit(error.exit_code)
    log.info("leaving: %s", ending.reason)
    sys.exit(ending.code)


async def _serve_on_aws(args: argparse.Namespace) -> Exit:
    """
    Raises:
        LoadgenError: this is no instance of a fleet, or AWS refuses.
    """
    from loadgen_agent.ec2 import Sentry, Wanted, arrive  # boto3 takes its time and memory

    wanted = Wanted(args.bucket, args.keys, args.fleet, args.controller, args.region or "", args.parameters_region)
    arrived = await asyncio.to_thread(arrive, wanted)
    sentry = Sentry(arrived, leaves_early=args.leave_early)
    await sentry.until_wanted()
    args.controller, args.region = arrived.controller, arrived.region
    supervisor = _supervisor(args, arrived.keys, args.id or arrived.instance.id, arrived.instance.type)
    watching = asyncio.create_task(sentry.watch(supervisor))
    watching.add_done_callback(_tell_of_a_bug)
    try:
        adopt()
        return await supervisor.run()
    finally:
        watching.cancel()
        await asyncio.to_thread(sentry.let_go)


async def _serve(args: argparse.Namespace) -> Exit:
    keys = load_agent(args.keys, args.id)
    supervisor = _supervisor(args, keys, args.id or f"{keys.name}.{_label(host_name())}-{os.getpid()}")
    adopt()  # not before: whoever only tries the command line from Python must not become a subreaper
    return await supervisor.run()


def _supervisor(args: argparse.Namespace, keys: AgentKeys, name: str, instance_type: str = "") -> Supervisor:
    """Ready to run, and to be told by signals to leave."""
    agent = check_agent_id(name)
    raise_file_limit()
    leave_no_core()
    hand_over_s = args.give_up if args.give_up is not None else 60.0 if args.with_parent else 1800.0
    terms = Terms(
        join_s=60.0 if args.with_parent else None,
        hand_over_s=hand_over_s,
        with_parent=args.with_parent,
        verifier=_verifier(args),
        spool=None if args.with_parent else args.spool or default_root(),
    )
    workers = args.workers or cpu_count()
    crewing = Crewing(workers, cores() if args.pin and workers > 1 else ())
    supervisor = Supervisor(
        args.controller, args.region, agent, keys, terms, crewing=crewing, instance_type=instance_type
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.terminate, number.name)
    log.info("agent %s for %s, %d worker%s", agent, args.controller, workers, "s" if workers > 1 else "")
    return supervisor


def _tell_of_a_bug(watching: asyncio.Task[None]) -> None:
    """The agent goes on without it."""
    if not watching.cancelled() and (error := watching.exception()) is not None:
        log.error("nobody watches the instance and the kill flag any more", exc_info=error)


def _checked(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    args = parser.parse_args(argv)
    of_aws = [("--fleet", args.fleet), ("--bucket", args.bucket), ("--parameters-region", args.parameters_region)]
    if args.aws:
        if not args.bucket:
            parser.error("--aws needs --bucket, where the key of this instance is put")
        args.keys = args.keys or default_root().parent / "keys"
        return args
    given = [option for option, value in (*of_aws, ("--leave-early", args.leave_early)) if value]
    if given:
        parser.error(f"{', '.join(given)}: only with --aws")
    always = (("--controller", args.controller), ("--region", args.region), ("--keys", args.keys))
    if missing := [option for option, value in always if not value]:
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    return args


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loadgen-agent",
        description=(__doc__ or "").partition(": ")[2],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--controller", default="", metavar="HOST:PORT", help="where `loadgen run --listen` listens")
    parser.add_argument(
        "--region",
        type=_region,
        help="label of the region that this agent stands for (with --aws: its own)",
    )
    parser.add_argument(
        "--keys",
        type=Path,
        metavar="DIR",
        help="its folder, made by `loadgen keys agent` (with --aws: where it keeps its)",
    )
    parser.add_argument("--id", help="the agent's name, kept over restarts; default: its key's, with host and process")
    parser.add_argument(
        "--give-up",
        type=_seconds,
        metavar="SECONDS",
        help="how long to try to hand over to a controller that is silent (default: 1800, with --with-parent 60)",
    )
    parser.add_argument(
        "--workers",
        type=_workers,
        metavar="N",
        help="processes that share its load (default: one a CPU that it may use, a CPU limit rounded down)",
    )
    parser.add_argument(
        "--spool",
        type=Path,
        metavar="DIR",
        help="where to keep up to 64 MiB that could not be delivered, also for the next process of this --id"
        " (default: ~/.local/state/loadgen/spool)",
    )
    parser.add_argument("--pin", action="store_true", help="keep each worker on a CPU of its own (Linux)")
    parser.add_argument(
        "--signed-by",
        type=Path,
        metavar="FILE",
        help="take only runs that are signed with this key's other half (default: signing.pub of --keys, if there)",
    )
    aws = parser.add_argument_group("on EC2", "what deploy/terraform makes; needs the extra aws")
    aws.add_argument(
        "--aws",
        action="store_true",
        help="find region, name and controller by itself, and leave before the instance goes",
    )
    aws.add_argument(
        "--fleet", default="", metavar="NAME", help="its fleet (default: the instance's tag loadgen:fleet)"
    )
    aws.add_argument("--bucket", default="", metavar="NAME", help="the fleet's bucket, where the agent enrols")
    aws.add_argument(
        "--parameters-region", default="", metavar="REGION", help="of the fleet's parameters (default: the instance's)"
    )
    aws.add_argument(
        "--leave-early",
        action="store_true",
        help="leave also where AWS only recommends it (rebalance), not when it must",
    )
    parser.add_argument("--with-parent", action="store_true", help="leave when the process that started it is gone")
    parser.add_argument("--verbose", action="store_true", help="say more on standard error")
    return parser


def _verifier(args: argparse.Namespace) -> Verifier | None:
    usual = args.keys / PUBLIC_NAME
    path = args.signed_by or (usual if usual.exists() else None)
    return None if path is None else Verifier.read(path)


def _region(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError("a region needs a name")
    return text


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of workers from 1 to {MAX_WORKERS}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def _label(host: str) -> str:
    """What of a host's name may stand in an agent's."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in host.split(".")[0])[:40]


if __name__ == "__main__":
    main()
