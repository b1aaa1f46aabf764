"""An order: the plan, its bundle and the options of a run, which the command line passes to the conductor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from loadgen.allowlist import AllowList
from loadgen.dsl.plans.allowlist_check import Limits
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.wire.messages import Prepare
from loadgen_controller.core.lifecycle import Terms

__all__ = ["Order"]


@dataclass(frozen=True, slots=True)
class Order:
    """A checked plan with its bundle and options. After this check only an agent can still reject it."""

    spec: PlanSpec
    bundle: bytes
    bundle_sha256: str
    scenario: str
    """Path of the scenario file within the bundle."""
    plan: str
    """The plan's name in the scenario; empty if the scenario has only one."""
    seed: int
    agents: int
    """The number of agents to wait for, over all regions."""
    placement: Literal["embedded", "fleet"] = "embedded"
    overrides_json: bytes = b"{}"
    allow: AllowList | None = None
    """The allowed targets; None if no list is required, because all agents are on this machine."""
    limits: Limits = field(default_factory=Limits)
    """The limits that the allow-list sets for this plan."""
    signature: bytes = b""
    """The signature of `statement`; empty without a signing key."""
    statement: bytes = b""
    """The signed bytes of a `loadgen.signed.launch_statement.Statement`; empty without a signature."""
    has_fuse: bool = True
    """Whether too many errors stop the run."""
    aborts_on_loss: bool = False
    """Whether the loss of an agent stops the run."""

    def prepare(self, allow: AllowList | None) -> Prepare:
        """Return the Prepare message with the fields that come from this order; its other fields are empty.

        allow: the controller's own allow-list. An order from a client holds only a copy of it.
        """
        return Prepare(
            run_id="",
            generation=0,
            bundle_sha256=self.bundle_sha256,
            bundle_bytes=len(self.bundle),
            scenario=self.scenario,
            plan=self.plan,
            overrides_json=self.overrides_json,
            seed=self.seed,
            index=0,
            weights=(),
            interval_ns=self.spec.interval_ns,
            digests=tuple(lane.profile.digest for lane in self.spec.lanes),
            allow_json=b"" if allow is None else allow.to_json(),
            signature=self.signature,
            statement=self.statement,
        )

    def terms(self) -> Terms:
        """Return those parts of this order that decide the course of the run, such as time limits."""
        spec = self.spec
        return Terms(
            agents=self.agents,
            regions=tuple(sorted(spec.regions)),
            duration_ns=spec.duration_ns,
            drain_ns=spec.drain_ns,
            has_set_up=spec.has_set_up,
            has_tear_down=spec.has_tear_down,
            aborts_on_loss=self.aborts_on_loss,
        )
