"""The checks that may stop a run while it goes on, in the order in which they apply.

1. Too many iterations in which the scenario raised: the run drains.
2. An objective with `abort=True` is missed for certain: the run drains.
3. Requests to an AI model have used the plan's budget of tokens: the run drains.
4. A level of a sweep was saturated, and higher ones follow: the run drains.
5. The error fuse: most requests fail, so the run stops at once.
6. The condition of a probe's `stop_when` has held for its time, or an objective on a probe is missed for certain: the
   run drains. The thread of the probes finds it (`loadgen/probes/limits/watch.py`).

A seventh check never stops a run: an agent that starts other numbers of iterations than
its share of the plan is reported. The checks themselves are in the package `judging`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.measure.merging.merge import Merge
from loadgen.measure.results.level_intervals import EndedByInterval
from loadgen.probes.limits.watch import Danger
from loadgen.wire.messages import Adjust, Reassign
from loadgen_controller.core.events import Reason, StopRequested
from loadgen_controller.core.lifecycle import Phase, Run
from loadgen_controller.core.load_change_messages import lanes_of
from loadgen_controller.core.run_request import Order
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.error_fuse import FuseWatch
from loadgen_controller.judging.level_stop import LevelStop
from loadgen_controller.judging.plan_watch import PlanWatch
from loadgen_controller.judging.slo_abort import Aborts
from loadgen_controller.judging.token_budget import TokenBudget
from loadgen_controller.judging.verdict import too_many_script_faults

__all__ = ["RunChecks"]


class RunChecks:
    """The checks of one run. They keep state between calls; call each of them at every tick."""

    def __init__(self, order: Order) -> None:
        spec = order.spec
        journeys = [journey.name for journey in spec.journeys]
        self._aborts = Aborts(spec.slos, journeys, spec.warmup_ns, spec.duration_ns)
        self._tokens = TokenBudget(None if spec.llm is None else spec.llm.get("budget"))
        self._levels = LevelStop(spec)
        self._fuse = FuseWatch(order.has_fuse)
        self._plan_watch = PlanWatch(lanes_of(spec))

    def follow(self, spec: PlanSpec, duration_ns: int | None) -> None:
        """Use the plan with all load changes so far. duration_ns: the end of its load, ns after T0; None if unknown."""
        self._aborts.until(duration_ns)
        self._levels.follow(spec)

    @property
    def needs_levels(self) -> bool:
        """Return whether a restarted controller has to call `know_levels`: a saturated level may end the run."""
        return self._levels.is_needed

    def know_levels(self, ended: EndedByInterval) -> None:
        """Continue with the intervals that were merged before the controller was restarted."""
        self._levels.know(ended)

    @staticmethod
    def script_faults(run: Run, merge: Merge) -> StopRequested | None:
        """Return a request to stop the run if the scenario raised in too many iterations, else None.

        It applies from before T0 until the drain.
        """
        if run.phase in (Phase.STARTING, Phase.RUNNING) and (text := too_many_script_faults(merge)):
            return StopRequested(text, reason=Reason.SCRIPT_FAULTS)
        return None

    @staticmethod
    def danger(danger: Danger | None) -> StopRequested | None:
        """Return a request to stop the run because of what its probes have read, else None."""
        if danger is None:
            return None
        reason = Reason.SLO_BREACHED if danger.is_objective else Reason.TARGET_IN_DANGER
        return StopRequested(danger.text, reason=reason)

    def stops(self, run: Run, merge: Merge, assignment: Assignment | None, clock_ns: int) -> Iterator[StopRequested]:
        """Yield requests to stop the run: a broken objective, a used budget of tokens, a saturated level, the fuse.

        clock_ns: the time after T0.

        A generator, so that the caller can apply the first stop, which may merge more deltas, before the fuse is
        checked. Several stops may apply in one tick.
        """
        done, live = run.merged | run.fins, run.live  # once: for 5,000 agents, `live` takes 0.3 ms
        if text := self._aborts.check(merge, assignment, live, done, clock_ns):
            yield StopRequested(text, reason=Reason.SLO_BREACHED)
        if text := self._tokens.check(merge, clock_ns):
            yield StopRequested(text, reason=Reason.TOKENS_USED)
        if text := self._levels.check(merge, live, done, run.lost, clock_ns):
            yield StopRequested(text, reason=Reason.SATURATED)
        if blown := self._fuse.check(merge, live, done, clock_ns):
            yield StopRequested(blown.text, now=True, reason=blown.reason)

    def off_plan(
        self,
        run: Run,
        merge: Merge,
        assignment: Assignment,
        changes: Sequence[Adjust | Reassign],
        clock_ns: int,
    ) -> Iterator[str]:
        """Yield a sentence for each agent whose load departs from its share of the plan.

        changes: load and share changes.
        """
        if not self._plan_watch.is_due(merge, clock_ns):
            return
        live = frozenset(run.live) - (run.merged | run.fins)
        yield from self._plan_watch.look(merge, assignment, changes, live, clock_ns)
