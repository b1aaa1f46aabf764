"""The signed statement of a run: a readable document with everything that the operator who launches a run decides.

The command line writes it, `signatures.py` signs its bytes, the controller passes both on, and each agent compares
its order (`Prepare`) with it before it fetches or imports anything. A controller can therefore change nothing that
the statement names. docs/decisions/067-signed-statement.md lists the values that it does not cover.

The document is JSON in one form only: `Statement.data` writes it, and `Statement.read` refuses any other form of the
same values. Times named `*_at` are UTC; `*_ns` are nanoseconds; rates are requests/s of the whole fleet.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, Self

import msgspec

from loadgen.allowlist import AllowList
from loadgen.dsl.plans.allowlist_check import Limits
from loadgen.dsl.plans.spec import Overrides, PlanSpec
from loadgen.errors import BundleError
from loadgen.units import NS_PER_S
from loadgen.wire.messages import Prepare

__all__ = ["MAX_STATEMENT_BYTES", "Statement", "bare"]

MAX_STATEMENT_BYTES: Final = 512 * 1024
"""Size limit of a statement. It is part of a Prepare message, which may have 1 MiB."""
STARTS_WITHIN: Final = timedelta(hours=1)
"""The longest time from signature to first load: the wait for agents, with room for clocks that differ."""
UNKNOWN_DURATION: Final = timedelta(hours=24)
"""Assumed for a load whose end depends on the target and that no allow-list limits."""
_FORMAT: Final = 1


class _Format(msgspec.Struct):
    format: int = 0


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All values that the signature covers. Make one with `Statement.of`."""

    format: int = _FORMAT
    id: str
    """A random id: an agent accepts a statement for one run only."""
    made_at: datetime
    expires_at: datetime
    """Agents accept no later order with this statement: `made_at` + 1 h + the time of the load and its drain."""
    scenario: str
    """Path of the scenario file within the bundle."""
    plan: str
    target: str
    targets: dict[str, str]
    """As in `PlanSpec`. The worker compares both with the plan that it has loaded."""
    bundle_sha256: str
    bundle_bytes: int
    overrides: Overrides
    seed: int
    interval_ns: int
    digests: tuple[str, ...]
    """The digests of the loads that have their own times; see `Prepare.digests`."""
    limits: Limits
    """The limits that the signer found in the allow-list for this plan."""
    allow: AllowList | None
    """Without proofs and line numbers. None: no allow-list applies, as all agents are on the controller's machine."""

    @classmethod
    def of(
        cls,
        spec: PlanSpec,
        *,
        scenario: str,
        plan: str,
        bundle_sha256: str,
        bundle_bytes: int,
        overrides: Overrides,
        seed: int,
        limits: Limits,
        allow: AllowList | None,
        now: datetime | None = None,
    ) -> Self:
        """Return a new statement, with a new id, of everything that the signature of a run covers: the plan, its
        targets and limits, and the hash of the scenario's bundle.

        now: the time of the signature; by default the present.
        """
        made_at = (now or datetime.now(UTC)).replace(microsecond=0)
        load_ns = spec.duration_ns if spec.duration_ns is not None else limits.max_duration_ns
        load = UNKNOWN_DURATION if load_ns is None else timedelta(seconds=-(-load_ns // NS_PER_S))
        return cls(
            id=secrets.token_hex(16),
            made_at=made_at,
            expires_at=made_at + STARTS_WITHIN + load + timedelta(seconds=-(-spec.drain_ns // NS_PER_S)),
            scenario=scenario,
            plan=plan,
            target=spec.target,
            targets=spec.targets,
            bundle_sha256=bundle_sha256,
            bundle_bytes=bundle_bytes,
            overrides=overrides,
            seed=seed,
            interval_ns=spec.interval_ns,
            digests=tuple(lane.profile.digest for lane in spec.lanes),
            limits=limits,
            allow=bare(allow),
        )

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Parse the bytes of a signed statement and return it.

        Raises:
            BundleError: not a statement of this format, or not exactly the bytes that `data` returns.
        """
        if len(data) > MAX_STATEMENT_BYTES:
            raise BundleError(
                f"the signed statement has {len(data):,} bytes: the limit is {MAX_STATEMENT_BYTES:,}",
                hint="sign the run with fewer overrides or a shorter allow-list",
            )
        try:
            number = msgspec.json.decode(data, type=_Format).format
            if number != _FORMAT:
                raise BundleError(
                    f"the signed statement has format {number}, and this version of loadgen reads format {_FORMAT}:"
                    " use the same version of loadgen where the run is started, at the controller and on every agent"
                )
            found = msgspec.json.decode(data, type=cls)
        except (ValueError, RecursionError) as error:
            raise BundleError(
                f"the signed statement cannot be read: {error}",
                hint="sign the run again, with the same version of loadgen",
            ) from None
        if found.data != data:
            raise BundleError(
                "the signed statement is not in the form that this version of loadgen writes:"
                " use the same version of loadgen where the run is started and on every agent"
            )
        return found

    @property
    def data(self) -> bytes:
        """Return the bytes to sign: indented JSON with the fields in the order above, and a line break at the end."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def differences(self, prepare: Prepare) -> tuple[str, ...]:
        """Compare this statement with the controller's order to prepare a run, and return the names of the values that
        differ; empty if all are equal.
        """
        return tuple(self._differences(prepare))

    def other_targets(self, spec: PlanSpec) -> str:
        """Compare the targets of a loaded plan with those of this statement. Return "" if they are the same, else a
        sentence about the difference.
        """
        if (spec.target, spec.targets) == (self.target, self.targets):
            return ""
        here = ", ".join(dict.fromkeys((spec.target, *spec.targets.values())))
        signed = ", ".join(dict.fromkeys((self.target, *self.targets.values())))
        return f"the plan's targets are {here}, and the signed ones are {signed}"

    def _differences(self, prepare: Prepare) -> Iterator[str]:
        pairs = (
            ("the bundle", (prepare.bundle_sha256, prepare.bundle_bytes), (self.bundle_sha256, self.bundle_bytes)),
            ("the scenario's path", prepare.scenario, self.scenario),
            ("the plan's name", prepare.plan, self.plan),
            ("the overrides", prepare.overrides_json or b"{}", self.overrides.to_json()),
            ("the seed", prepare.seed, self.seed),
            ("the interval", prepare.interval_ns, self.interval_ns),
            ("the digests", prepare.digests, self.digests),
        )
        for what, ordered, signed in pairs:
            if ordered != signed:
                yield what
        try:
            allow = AllowList.from_json(prepare.allow_json) if prepare.allow_json else None
        except ValueError:
            yield "the allow-list"
        else:
            if bare(allow) != self.allow:
                yield "the allow-list"


def bare(allow: AllowList | None) -> AllowList | None:
    """Return an allow-list without the values that agents do not need: line numbers, and proofs, which the controller
    checks. None stays None.
    """
    if allow is None:
        return None
    return AllowList(allow=tuple(msgspec.structs.replace(entry, proof=None, line=0) for entry in allow.allow))
