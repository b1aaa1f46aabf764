"""The checks that may stop a run while it goes on, in the order in which they apply.

1. Too many iterations in which the scenario raised: the run drains.
2. An objective with `abort=True` is missed for certain: the run drains.
3. Requests to an AI model have used the plan's budget of tokens: the run drains.
4. The error fuse: most requests fail, so the run stops at once.

A fifth check never stops a run: an agent that starts other numbers of iterations than
its share of the plan is reported. The checks themselves are in the package `judging`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loadgen.measure.merging.merge import Merge
from loadgen.wire.messages import Adjust, Reassign
from loadgen_controller.core.events import Reason, StopRequested
from loadgen_controller.core.lifecycle import Phase, Run
from loadgen_controller.core.load_change_messages import lanes_of
from loadgen_controller.core.run_request import Order
from loadgen_controller.core.shares import Assignment
from loadgen_controller.judging.error_fuse import FuseWatch
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
        self._fuse = FuseWatch(order.has_fuse)
        self._plan_watch = PlanWatch(lanes_of(spec))

    def load_ends_at(self, duration_ns: int | None) -> None:
        """Set the planned end of the load, which a load change has moved: ns after T0, None if unknown."""
        self._aborts.until(duration_ns)

    @staticmethod
    def script_faults(run: Run, merge: Merge) -> StopRequested | None:
        """Return a request to stop the run if the scenario raised in too many iterations, else None.

        It applies from before T0 until the drain.
        """
        if run.phase in (Phase.STARTING, Phase.RUNNING) and (text := too_many_script_faults(merge)):
            return StopRequested(text, reason=Reason.SCRIPT_FAULTS)
        return None

    def stops(self, run: Run, merge: Merge, assignment: Assignment | None, clock_ns: int) -> Iterator[StopRequested]:
        """Yield requests to stop the run: for a broken objective, a used budget of tokens, the error fuse.

        clock_ns: the time after T0.

        A generator, so that the caller can apply the first stop, which may merge more deltas, before the fuse is
        checked. Both stops may apply in one tick.
        """
        done = run.merged | run.fins
        if text := self._aborts.check(merge, assignment, run.live, done, clock_ns):
            yield StopRequested(text, reason=Reason.SLO_BREACHED)
        if text := self._tokens.check(merge, clock_ns):
            yield StopRequested(text, reason=Reason.TOKENS_USED)
        if blown := self._fuse.check(merge, run.live, done, clock_ns):
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
        live = frozenset(run.live) - (run.merged | run.fins)
        yield from self._plan_watch.look(merge, assignment, changes, live, clock_ns)
