"""What is to be run, as the command line hands it to the conductor."""

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
    """A plan and its bundle, checked; nothing in it is found wrong later but on an agent."""

    spec: PlanSpec
    bundle: bytes
    bundle_sha256: str
    scenario: str
    """Path of the scenario file within the bundle."""
    plan: str
    """Its name in the scenario; empty: the only one."""
    seed: int
    agents: int
    """How many to wait for, all regions together."""
    placement: Literal["embedded", "fleet"] = "embedded"
    overrides_json: bytes = b"{}"
    allow: AllowList | None = None
    """What may be loaded; None: no list is demanded, since all agents are on this machine."""
    limits: Limits = field(default_factory=Limits)
    """What it admits to this plan."""
    signature: bytes = b""
    """Of `statement`; empty where there is no signing key."""
    statement: bytes = b""
    """`loadgen.signed.statement.Statement`, as it was signed; empty without a signature."""
    has_fuse: bool = True
    """To stop where there are too many errors."""
    aborts_on_loss: bool = False
    """To stop where an agent is lost."""

    def prepare(self, allow: AllowList | None) -> Prepare:
        """Return what agents get of this order; the other fields of the message are empty.

        allow: the controller's list, which a client that signs its order has only a copy of.
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
