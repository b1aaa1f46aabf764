"""`loadgen-agent`: join a controller, drive a share of its runs, and send all measurements to it."""

from __future__ import annotations

# Must come before numpy is imported.
import loadgen.math_threads  # noqa: F401

# isort: split

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from loadgen.allowlist import read as read_allow_list
from loadgen.engine.health.interpreter import this_build
from loadgen.errors import LoadgenError
from loadgen.logs import log_to_stderr
from loadgen.outside_text import block
from loadgen.signed.signatures import PUBLIC_NAME, Verifier
from loadgen.units import quantity
from loadgen.wire.curve_keys import AgentKeys, check_agent_id, load_agent
from loadgen_agent.delivery.spool import default_root
from loadgen_agent.operating_system import cores, cpu_count, host_name, leave_no_core, raise_file_limit
from loadgen_agent.supervisor.leftover_processes import adopt
from loadgen_agent.supervisor.lifecycle import Exit
from loadgen_agent.supervisor.supervisor import Supervisor, Terms
from loadgen_agent.supervisor.workers import MAX_WORKERS, WorkerPlacement

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

On EC2, in a fleet made by deploy/terraform, an agent finds its region, name and controller by itself:
  loadgen-agent --aws --fleet shop --bucket loadgen-shop-111122223333

An agent only makes outgoing connections. It needs nothing but the folder that `loadgen keys agent` made for it.
The key NAME is valid for the agents NAME and NAME.more.

On SIGTERM or Ctrl-C, the other agents take over its share within a second. The agent finishes the iterations that
it has started, delivers its measurements and exits. A second signal interrupts the iterations.

exit codes:
  0   the controller released the agent, or the agent was stopped and has delivered everything
  2   the command line or the keys are invalid
  5   the controller did not accept the agent, or it is gone and some measurements were not delivered
  70  a bug in loadgen
"""


def main(argv: Sequence[str] | None = None) -> None:
    args = _checked(_parser(), argv)
    log_to_stderr(
        logging.DEBUG if args.verbose else logging.INFO,
        f"%(asctime)s agent {args.region or 'on EC2'}: %(message)s",
        "%Y-%m-%d %H:%M:%S",
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
    """Run the agent on an EC2 instance until it ends, and return its exit code and reason.

    Raises:
        LoadgenError: this machine is not an instance of a fleet, or AWS refuses a request.
    """
    from loadgen_agent.ec2_agent import Sentry, Wanted, arrive  # imported here because boto3 costs time and memory

    wanted = Wanted(args.bucket, args.keys, args.fleet, args.controller, args.region or "", args.parameters_region)
    arrived = await asyncio.to_thread(arrive, wanted)
    sentry = Sentry(arrived, leaves_early=args.leave_early)
    await sentry.until_wanted()
    args.controller, args.region = arrived.controller, arrived.region
    supervisor = _supervisor(args, arrived.keys, args.id or arrived.instance.id, arrived.instance.type)
    watching = asyncio.create_task(sentry.watch(supervisor))
    watching.add_done_callback(_log_failed_watch)
    try:
        adopt()
        return await supervisor.run()
    finally:
        watching.cancel()
        await asyncio.to_thread(sentry.let_go)


async def _serve(args: argparse.Namespace) -> Exit:
    keys = load_agent(args.keys, args.id)
    supervisor = _supervisor(args, keys, args.id or f"{keys.name}.{_label(host_name())}-{os.getpid()}")
    adopt()  # not earlier: a Python program that only parses a command line must not become a subreaper
    return await supervisor.run()


def _supervisor(args: argparse.Namespace, keys: AgentKeys, name: str, instance_type: str = "") -> Supervisor:
    """Make a supervisor from the command line, and let SIGTERM and SIGINT terminate it.

    It must be called within the running loop. It also raises the process's limit of open files and disables core dumps.
    """
    agent = check_agent_id(name)
    if args.allow is not None:
        read_allow_list(args.allow)  # only to report errors now: the workers read it again at each run
    raise_file_limit()
    leave_no_core()
    hand_over_s = args.give_up if args.give_up is not None else 60.0 if args.with_parent else 1800.0
    terms = Terms(
        join_s=60.0 if args.with_parent else None,
        hand_over_s=hand_over_s,
        with_parent=args.with_parent,
        verifier=_verifier(args),
        spool=None if args.with_parent else args.spool or default_root(),
        allow=args.allow,
    )
    workers = args.workers or cpu_count()
    placement = WorkerPlacement(workers, cores() if args.pin and workers > 1 else ())
    supervisor = Supervisor(
        args.controller, args.region, agent, keys, terms, placement=placement, instance_type=instance_type
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.terminate, number.name)
    log.info(
        "agent %s for the controller at %s, %s, %s", agent, args.controller, quantity(workers, "worker"), this_build()
    )
    return supervisor


def _log_failed_watch(watching: asyncio.Task[None]) -> None:
    """Log that the watch of instance and kill flag failed; the agent continues without it."""
    if not watching.cancelled() and (error := watching.exception()) is not None:
        log.error(
            "this is a bug: the agent no longer watches its instance and the kill flag."
            " Stop the run with `loadgen stop` if you need to",
            exc_info=error,
        )


def _checked(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    args = parser.parse_args(argv)
    of_aws = [("--fleet", args.fleet), ("--bucket", args.bucket), ("--parameters-region", args.parameters_region)]
    if args.aws:
        if not args.bucket:
            parser.error("--aws needs --bucket NAME, the bucket in which this instance stores its public key")
        args.keys = args.keys or default_root().parent / "keys"
        return args
    given = [option for option, value in (*of_aws, ("--leave-early", args.leave_early)) if value]
    if given:
        parser.error(f"{', '.join(given)}: only allowed with --aws")
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
    parser.add_argument(
        "--controller", default="", metavar="HOST:PORT", help="address on which `loadgen run --listen` listens"
    )
    parser.add_argument(
        "--region",
        type=_region,
        help="region label of this agent in plans and reports (default with --aws: the instance's region)",
    )
    parser.add_argument(
        "--keys",
        type=Path,
        metavar="DIR",
        help="key folder of this agent, made by `loadgen keys agent` (with --aws: where it stores its own key)",
    )
    parser.add_argument(
        "--id", help="agent name that stays the same after a restart (default: key name, host and process number)"
    )
    parser.add_argument(
        "--give-up",
        type=_seconds,
        metavar="SECONDS",
        help="time after which to exit when a silent controller leaves measurements undelivered"
        " (default: 1800, with --with-parent 60)",
    )
    parser.add_argument(
        "--workers",
        type=_workers,
        metavar="N",
        help="worker processes that share the agent's load (default: one per usable CPU; a CPU limit is rounded down)",
    )
    parser.add_argument(
        "--spool",
        type=Path,
        metavar="DIR",
        help="folder for up to 64 MiB of undelivered measurements; a later agent with the same --id delivers them"
        " (default: ~/.local/state/loadgen/spool)",
    )
    parser.add_argument("--pin", action="store_true", help="pin each worker to its own CPU (Linux)")
    parser.add_argument(
        "--signed-by",
        type=Path,
        metavar="FILE",
        help="public key; accept only runs signed with its private half (default: signing.pub in --keys, if present)",
    )
    parser.add_argument(
        "--allow",
        type=Path,
        metavar="FILE",
        help="allow-list of this agent: refuse runs with targets or a load that it does not admit, whatever list the"
        " controller sends (default: none of its own)",
    )
    aws = parser.add_argument_group("on EC2", "for a fleet made by deploy/terraform; needs the extra `aws`")
    aws.add_argument(
        "--aws",
        action="store_true",
        help="find region, name and controller automatically, and leave before AWS stops the instance",
    )
    aws.add_argument(
        "--fleet", default="", metavar="NAME", help="name of the fleet (default: the instance's tag loadgen:fleet)"
    )
    aws.add_argument("--bucket", default="", metavar="NAME", help="bucket of the fleet, in which the agent enrols")
    aws.add_argument(
        "--parameters-region",
        default="",
        metavar="REGION",
        help="AWS region of the fleet's parameters (default: the instance's region)",
    )
    aws.add_argument(
        "--leave-early",
        action="store_true",
        help="leave already when AWS recommends it (rebalance), before AWS announces the stop",
    )
    parser.add_argument("--with-parent", action="store_true", help="leave when the parent process has ended")
    parser.add_argument("--verbose", action="store_true", help="write more log lines to standard error")
    return parser


def _verifier(args: argparse.Namespace) -> Verifier | None:
    usual = args.keys / PUBLIC_NAME
    path = args.signed_by or (usual if usual.exists() else None)
    return None if path is None else Verifier.read(path)


def _region(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError(f"invalid region {text!r}: must be a printable name that is not empty")
    return text


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(
            f"invalid number of workers {text!r}: must be an integer from 1 to {MAX_WORKERS}"
        )
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"invalid number of seconds {text!r}: must be a finite number of at least 0")
    return seconds


def _label(host: str) -> str:
    """Return the first part of a host name, with characters replaced that an agent name must not have."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in host.split(".")[0])[:40]


if __name__ == "__main__":
    main()
