"""Every time in the code of controller, agents and wire, and what a fault of just that length would be.

The nemesis of the soaks draws from this table: it takes a timer, and makes a fault that lasts as long, 0.1 s more or
less. A fault that is a little shorter than a timer and one that is a little longer are the two cases that tests of
round numbers do not see. `test_timers.py` fails when a time of the code is not here, or has another value.

harms: what the fault stops for so long.

    link         the way between one agent and the controller, both directions or one
    agent        one agent's processes, supervisor and workers (SIGSTOP)
    supervisor   one agent's supervisor; its workers go on
    worker       one agent's worker; its supervisor goes on
    controller   the controller's process
    ""           nothing: the time decides nothing between controller, agents and workers, or is longer than a soak
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["TIMERS", "Harm", "Timer", "faults_within"]

Harm = Literal["link", "agent", "supervisor", "worker", "controller", ""]


@dataclass(frozen=True, slots=True)
class Timer:
    module: str
    name: str
    seconds: tuple[float, ...]
    harms: Harm
    fault: str


def _timer(place: str, seconds: float | tuple[float, ...], harms: Harm, fault: str) -> Timer:
    module, _, name = place.partition(":")
    return Timer(module, name, seconds if isinstance(seconds, tuple) else (seconds,), harms, fault)


_C, _A, _W = "loadgen_controller.", "loadgen_agent.", "loadgen.wire."

TIMERS: Final = (
    # -- is an agent alive, and may it drive? ------------------------------------------------------
    _timer(_C + "agents.hub:LEASE_S", 8.0, "link", "the lease ends while the acknowledgement is under way"),
    _timer(_C + "core.registry:SUSPECTED_AFTER_NS", 3.0, "agent", "suspected and back at once"),
    _timer(_C + "core.registry:LOST_AFTER_NS", 10.0, "link", "given up as its heartbeat arrives"),
    _timer(_C + "core.registry:OWN_PAUSE_NS", 1.0, "controller", "the controller does not notice that it stood still"),
    _timer(_C + "agents.hub:_TICK_S", 0.05, "controller", "one look late"),
    _timer(_C + "agents.hub:_LOOK_NS", 0.2, "controller", "a silent agent is lost one look late"),
    _timer(_C + "agents.hub:ANSWER_NS", 0.5, "controller", "a heartbeat within a delta gets two answers"),
    _timer(_A + "supervisor.heartbeat_times:EVERY_NS", 1.0, "supervisor", "the agent leaves out one heartbeat"),
    _timer(
        _A + "supervisor.heartbeat_times:BUSY_EVERY_NS",
        2.0,
        "supervisor",
        "the agent leaves out one of fewer heartbeats",
    ),
    _timer(
        _A + "supervisor.heartbeat_times:LATE_NS", 0.5, "worker", "the agent sends a heartbeat shortly before its delta"
    ),
    _timer(
        _A + "supervisor.heartbeat_times:_TOO_SOON_NS",
        0.5,
        "worker",
        "a delta goes without a heartbeat",
    ),
    _timer(_A + "supervisor.supervisor:TICK_S", 0.05, "supervisor", "one look late"),
    _timer(_A + "supervisor.supervisor:OWN_PAUSE_NS", 1.0, "supervisor", "it does not notice that it stood still"),
    _timer(_A + "supervisor.supervisor:WORKER_SILENT_NS", 5.0, "worker", "taken for blocked as it goes on"),
    _timer(_A + "supervisor.lifecycle:WATCHDOG_NS", 2.0, "worker", "killed as its own watchdog ends it"),
    _timer(_A + "worker.worker:_HEARTBEAT_S", 1.0, "worker", "one heartbeat of the worker is left out"),
    _timer(_A + "worker.watchdog:LOOK_S", 0.1, "worker", "one look of the watchdog late"),
    _timer(_A + "worker.watchdog:_MOST_NS", 0.3, "worker", "the watchdog takes a pause of its own for the loop's"),
    _timer(_A + "worker.watchdog:BLOCKED_NS", 2.0, "worker", "reported as blocked as it goes on"),
    _timer(_A + "worker.watchdog:DEAF_NS", 1.0, "worker", "taken for deaf as it reads again"),
    _timer(_A + "worker.watchdog:GRACE_NS", 5.0, "worker", "killed as its last iteration ends"),
    _timer(_C + "ci.comment:_PATIENCE_S", 10.0, "", "a comment on a pull request is not written"),
    _timer(_C + "commands.checking.watch:MIN_SPACING_S", 1.0, "", "check --watch tries a journey at most once in it"),
    _timer(_C + "commands.checking.watch:POLL_S", 0.1, "", "check --watch sees a saved file later"),
    _timer(_C + "screen.live:LINE_EVERY_S", 10.0, "", "without a terminal, the next line comes later"),
    _timer(_C + "ui.app:_ALIVE_S", 4.0, "", "the page shows an agent as silent"),
    # -- whose share is it, and from when on? ------------------------------------------------------
    _timer(_C + "run.load_control:ADJUST_LEAD_NS", 0.3, "link", "a change is delivered as it takes effect"),
    _timer(_C + "run.load_control:JOIN_LEAD_NS", 2.0, "link", "a late joiner begins before others know what they lose"),
    _timer(_C + "run.load_control:LATEST_LEAVE_NS", 10.0, "supervisor", "an agent leaves as late as it may"),
    _timer(_C + "run.load_control:_AGAIN_NS", 1.0, "link", "a change is sent twice"),
    _timer(_C + "core.lifecycle:SHARE_NS", 0.005, "", "several losses are moved together; 5 ms an agent"),
    _timer(_C + "core.lifecycle:Terms.start_lead_ns", 0.7, "link", "StartAt is delivered at T0"),
    _timer(_C + "core.lifecycle:Terms.return_ns", 10.0, "link", "a lost agent comes back as it is waited for no more"),
    _timer(
        _C + "core.lifecycle:Terms.all_return_ns",
        90.0,
        "",
        "all agents come back as the run ends; longer than a soak's fault",
    ),
    _timer(_A + "supervisor.lifecycle:LEAVE_NS", 0.7, "link", "an agent leaves before the others know"),
    _timer(
        _A + "supervisor.lifecycle:LEAVING_S",
        20.0,
        "",
        "a leaving agent gives up handing over; longer than a soak's fault",
    ),
    _timer(_A + "supervisor.lifecycle:FAREWELL_NS", 2.0, "link", "a leaving agent gets its Bye as it exits"),
    _timer(_A + "supervisor.workers:RESUME_NS", 0.05, "worker", "a replaced worker begins late"),
    _timer(_A + "supervisor.workers:BURY_NS", 1.0, "worker", "its end is seen while it is being killed"),
    _timer(_C + "core.rendezvous:LEAD_NS", 0.2, "link", "a release is delivered as the group goes on"),
    _timer(_C + "core.rendezvous:AGAIN_NS", 1.0, "link", "a release is sent twice"),
    # -- handing over what was measured -----------------------------------------------------------
    _timer(_A + "delivery.unacknowledged:STALLED_NS", 2.0, "link", "sent again as the acknowledgement arrives"),
    _timer(_A + "delivery.unacknowledged:FIN_AGAIN_NS", 1.0, "link", "a Fin is sent twice"),
    _timer(_A + "supervisor.bundles:ASK_AGAIN_NS", 2.0, "link", "a chunk of the bundle is asked for twice"),
    _timer(_A + "supervisor.lifecycle:GRACE_NS", 5.0, "supervisor", "workers are killed as they drain"),
    _timer(_A + "supervisor.lifecycle:CUT_NS", 3.0, "worker", "killed as its Fin is under way"),
    _timer(_A + "supervisor.lifecycle:KILL_NS", 0.6, "worker", "the same, after a kill"),
    _timer(_A + "supervisor.leftover_processes:_PATIENCE_S", 2.0, "", "killed processes of a scenario"),
    _timer(_A + "supervisor.leftover_processes:_PAUSE_S", 0.01, "", "one look late"),
    _timer(_A + "supervisor.worker_process:_PATIENCE_S", 2.0, "worker", "a process is killed as it ends"),
    _timer(_A + "supervisor.supervisor:Terms.hand_over_s", 1800.0, "", "half an hour: longer than a soak"),
    _timer(_C + "core.lifecycle:Terms.drain_ns", 30.0, "", "the drain; the soak's plan has one of 5 s"),
    _timer(
        _C + "core.lifecycle:Terms.finish_timeout_ns",
        30.0,
        "",
        "data come as the run gives up waiting: longer than a fault",
    ),
    _timer(_C + "core.lifecycle:Terms.stop_now_timeout_ns", 5.0, "link", "the last deltas come as the run ends"),
    _timer(_C + "core.lifecycle:Terms.join_timeout_ns", 120.0, "", "before the load"),
    _timer(_C + "core.lifecycle:Terms.ready_timeout_ns", 120.0, "", "before the load"),
    _timer(_C + "core.lifecycle:Terms.set_up_timeout_ns", 60.0, "", "before and after the load"),
    _timer(_C + "run.conductor:_TICK_S", 0.05, "controller", "one look late"),
    _timer(_C + "run.conductor:_GRACE_NS", 15.0, "", "after a restart of the controller"),
    _timer(_C + "run.conductor:_BYE_S", 0.1, "link", "the last message is still under way"),
    _timer(_C + "run.conductor:_HANDOVER_S", 2.0, "", "agents that the controller started itself"),
    _timer(_C + "agents.local_processes:_KILL_AFTER_S", 3.0, "", "agents that the controller started itself"),
    # -- the journal, and what the controller can take ---------------------------------------------
    _timer(_C + "run.delta_journal:COMMIT_S", 0.1, "controller", "a commit late"),
    _timer(_C + "run.delta_journal:AGAIN_S", 1.0, "controller", "a failed disk is tried again late"),
    _timer(_C + "run.agent_message_intake:_CLOCK_ERROR_NS", 0.1, "link", "an agent knows the clock badly"),
    _timer(_C + "run.agent_message_intake:_AHEAD_NS", 5.0, "controller", "deltas seem to end in the future"),
    _timer(_C + "core.report_interval:DELTA_NS", 0.000285, "", "a cost, from which the first interval follows"),
    _timer(_C + "core.report_interval:LATE_NS", 3.0, "controller", "longer intervals are asked for"),
    _timer(_C + "core.report_interval:_CALM_LATE_NS", 1.0, "controller", "longer intervals are kept"),
    _timer(_C + "core.report_interval:_SPAN_NS", 2.0, "controller", "busy for one look"),
    _timer(_C + "core.report_interval:HOLD_NS", 10.0, "", "shorter intervals are asked for later"),
    _timer(_C + "core.report_interval:CALM_NS", 30.0, "", "shorter intervals are asked for later"),
    _timer(
        _A + "supervisor.controller_bounds:INTERVAL_NS",
        (0.01, 60.0),
        "",
        "shortest and longest interval that an agent accepts",
    ),
    _timer(
        _A + "supervisor.controller_bounds:LEASE_S",
        (0.1, 3600.0),
        "",
        "shortest and longest lease that an agent accepts",
    ),
    _timer(_A + "supervisor.controller_bounds:AHEAD_NS", 600.0, "", "how far in the future T0 may be"),
    _timer(_A + "delivery.delivery:MAX_INTERVAL_NS", 60.0, "", "the longest interval that an agent joins"),
    _timer(_C + "agents.key_watcher:LOOK_S", 3.0, "controller", "a revoked key is seen late"),
    _timer(_C + "core.quarantine:WITHIN_NS", 60.0, "", "bad messages are counted for so long"),
    _timer(_C + "core.quarantine:QUARANTINE_NS", 60.0, "", "a quarantine lasts for so long"),
    _timer(_C + "agents.memory_guard:_WITHIN_NS", 60.0, "", "restarts for want of memory are counted for so long"),
    _timer(_C + "run.recovery:YOUNG_S", 1800.0, "", "a run that stood still for longer is not taken up"),
    _timer(
        _C + "judging.reported_counts_vs_plan:STOP_SLACK_NS",
        0.1,
        "link",
        "a stop reaches an agent early by its own clock",
    ),
    _timer(_C + "judging.reported_counts_vs_plan:_SETTLE_NS", 1.0, "worker", "users of a closed load come late"),
    _timer(_C + "judging.iterations_due_by_plan:_KEPT_NS", 30.0, "", "how much of a curve is kept"),
    _timer(_C + "judging.level_stop:_PATIENCE_NS", 10.0, "", "how long the reports of a level are waited for"),
    _timer(_C + "judging.level_stop:_SOON_NS", 2.0, "", "lost agents are those of the start of a level"),
    _timer(_C + "planning.llm_scenario:_LEAST_DRAIN_NS", 120.0, "", "a drain that is written into a scenario"),
    _timer(_C + "judging.error_fuse:ERRORS_NS", 30.0, "", "a target that fails"),
    _timer(_C + "judging.error_fuse:UNREACHED_NS", 10.0, "", "a target that is not reached"),
    _timer(_C + "judging.error_fuse:NOT_ALLOWED_NS", 2.0, "", "a target that is not allowed"),
    # -- the wire ---------------------------------------------------------------------------------
    _timer(_W + "sockets:_UNANSWERED_MS", 3.0, "link", "TCP gives up as the segment arrives"),
    _timer(_W + "sockets:_ROUTER[TCP_KEEPALIVE_IDLE]", 2.0, "link", "a probe goes out as data arrive"),
    _timer(_W + "sockets:_ROUTER[TCP_KEEPALIVE_INTVL]", 1.0, "link", "the controller drops as the answer arrives"),
    _timer(_W + "sockets:_ROUTER[TCP_MAXRT]", 3.0, "link", "TCP gives up as the segment arrives"),
    _timer(_W + "sockets:_ROUTER[LINGER]", 1.0, "link", "the last messages are dropped as they go out"),
    _timer(_W + "sockets:_ROUTER[HANDSHAKE_IVL]", 5.0, "link", "a handshake is given up as it ends"),
    _timer(_W + "sockets:_DEALER[HEARTBEAT_IVL]", 1.5, "link", "one ping of ZMTP is left out"),
    _timer(_W + "sockets:_DEALER[HEARTBEAT_TIMEOUT]", 4.0, "link", "the agent drops as the pong arrives"),
    _timer(_W + "sockets:_DEALER[TCP_MAXRT]", 3.0, "link", "TCP gives up as the segment arrives"),
    _timer(_W + "sockets:_DEALER[RECONNECT_IVL_MAX]", 1.0, "link", "connects anew as the network comes back"),
    _timer(_W + "sockets:_AGAIN_WAITS_S", (1.0, 3.0), "link", "a connection is made anew as the old one works again"),
    _timer(_W + "sockets:_UNBINDING_S", 0.005, "", "a port is bound anew in this process"),
    _timer(_A + "supervisor.link:ClockOffset.AGAIN_NS", 0.2, "link", "a clock ping is sent twice"),
    _timer(_A + "supervisor.link:ClockOffset.UNKNOWN_NS", 3600.0, "", "an error and no time to wait"),
    # -- words, pages, machines: they decide nothing between controller, agents and workers --------
    _timer(_A + "supervisor.link:_SAY_AGAIN_NS", 10.0, "", "how often something is logged"),
    _timer(_A + "supervisor.supervisor:SAY_AGAIN_NS", 10.0, "", "how often something is logged"),
    _timer(_A + "supervisor.controller_bounds:_SAY_AGAIN_NS", 10.0, "", "how often something is logged"),
    _timer(_A + "delivery.spool:_SAY_AGAIN_S", 10.0, "", "how often something is logged"),
    _timer(_A + "delivery.spool:_OLD_S", 604_800.0, "", "when a spool is deleted"),
    _timer(_A + "ec2_agent:SECRETS_S", 60.0, "", "how often secrets are read"),
    _timer(_A + "ec2_agent:SAY_AGAIN_S", 60.0, "", "how often something is logged"),
    _timer(_C + "core.rejected_input_counter:_REPORT_EACH_NS", 1.0, "", "how often something is logged"),
    _timer(_C + "agents.aws_enrolment:LOOK_S", 3.0, "", "how often EC2 is asked"),
    _timer(_C + "agents.aws_enrolment:RECHECK_S", 30.0, "", "how often EC2 is asked"),
    _timer(_C + "agents.aws_enrolment:REPORT_AGAIN_S", 60.0, "", "how often something is logged"),
    _timer(_C + "agents.aws_enrolment:_REPORT_AFTER_S", 60.0, "", "when something is logged"),
    _timer(_C + "launch.aws_fleet:SPARE_S", 1800.0, "", "how long machines are hired for"),
    _timer(_C + "launch.aws_fleet:BETWEEN_S", 60.0, "", "how long machines are hired for"),
    _timer(_C + "launch.aws_fleet:STOP_S", 90.0, "", "how long machines are hired for"),
    _timer(_C + "commands.probing.run_apart:_LINE_S", 10.0, "", "how often a probe beside its server prints a line"),
    _timer(_C + "commands.tracing.index_advice:LIMIT_S", 30.0, "", "the database takes longer, after a run"),
    _timer(_C + "commands.plan:_MEASURE_S", 2.0, "", "how long a core is measured, before a run"),
    _timer(_C + "planning.core_rate.probe:_LEAD_NS", 0.2, "", "the same: until its load begins"),
    _timer(_C + "planning.core_rate.rate:_MORE_S", 60.0, "", "the same: for the start of its processes"),
    _timer(_C + "launch.aws_fleet:_LOOK_S", 1.0, "", "how often machines are looked at"),
    _timer(_C + "run.checkpointer:_LONGEST_S", 60.0, "", "the longest pause between two restarts of a controller"),
    _timer(_C + "run.checkpointer:_LOOK_S", 0.5, "", "how often a kept controller is looked at"),
    _timer(_C + "control.run_service:LOOK_S", 0.25, "", "how often the screen is drawn"),
    _timer(_C + "screen.live:REFRESH_S", 0.25, "", "how often the screen is drawn"),
    _timer(_C + "commands.controller:_LOOK_S", 0.2, "", "how often a command looks for its controller"),
    _timer(_C + "control.unix_socket:_PATIENCE_S", 5.0, "", "how long a command waits for an answer"),
    _timer(_C + "api.client:_PATIENCE_S", 10.0, "", "how long a command waits for an answer"),
    _timer(_C + "api.client:_START_S", 300.0, "", "how long a command waits for a start"),
    _timer(_C + "api.order:_INTERVAL_NS", (0.01, 60.0), "", "bounds of an interval"),
    _timer(_C + "api.remote:_TRY_AGAIN_S", 1.0, "", "how often a command tries again"),
    _timer(_C + "planning.git_commit:_PATIENCE_S", 5.0, "", "how long git is waited for"),
    _timer(_C + "planning.rehearsal:LONGEST_THINK_S", 0.1, "", "how long a rehearsal thinks"),
    _timer(_C + "ui.app:_PATIENCE_S", 15.0, "", "how long a page waits"),
    _timer(_C + "ui.server:_BYE_S", 2.0, "", "how long pages are waited for at the end"),
    _timer(_C + "ui.run_feed:WATCHED_S", 10.0, "", "how long a page counts as open"),
    _timer(_C + "ui.run_feed:LOOK_S", 1.0, "", "how often pages are sent figures"),
    # -- studies: before and between runs ------------------------------------------------------
    _timer(
        _C + "commands.capacity_parts.find:_LONGEST_S", 86_400.0, "", "the longest time of a search that may be given"
    ),
    _timer(
        _C + "commands.capacity_parts.find_runs:RESTART_S", 600.0, "", "the command that restarts the target ends late"
    ),
    _timer(_C + "commands.capacity_parts.scale:_AWS_AVERAGE_S", 60.0, "", "simulated time"),
    _timer(_C + "commands.capacity_parts.scale:_MOST_S", 86_400.0, "", "simulated time"),
    _timer(_C + "commands.user_command:_END_S", 5.0, "", "the command between two runs does not end"),
    _timer(_C + "commands.sweep_parts.forecast_sweep:BETWEEN_S", 60.0, "", "an assumed time, for a forecast"),
    _timer(_C + "commands.sweep_parts.forecast_sweep:OVERHEAD_S", 3.0, "", "an assumed time, for a forecast"),
)


_SUMS: Final[tuple[tuple[Harm, float, str], ...]] = (
    ("link", 12.0, "the share of a lost agent is moved as the agent is back"),
    ("agent", 8.0, "its lease ends while it stands still"),
    ("agent", 10.0, "given up as it goes on"),
    ("controller", 8.0, "all leases end as the controller goes on"),
    ("link", 0.3, "a reconnect, 0.1 to 0.3 s"),
)
"""Times that are no constant of their own, or that another part waits for as well."""


def faults_within(least_s: float, most_s: float) -> list[tuple[Harm, float, str]]:
    """(what is harmed, for how long, why) of all timers of such a length that a fault can meet."""
    single = [
        (timer.harms, seconds, f"{timer.module}:{timer.name}")
        for timer in TIMERS
        if timer.harms
        for seconds in timer.seconds
    ]
    return [one for one in (*single, *_SUMS) if least_s <= one[1] <= most_s]
