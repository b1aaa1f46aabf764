"""Checks whether an agent accepts its controller's order for a run.

An agent with the public half of a signing key accepts only orders that equal a statement signed with the other
half. It accepts each statement for one run only, so a controller cannot start the same signed run twice.
"""

from __future__ import annotations

from datetime import UTC, datetime

from loadgen.errors import BundleError
from loadgen.signed.launch_statement import Statement
from loadgen.signed.signatures import Verifier
from loadgen.wire.messages import Prepare
from loadgen_agent.supervisor.controller_bounds import wrong_order

__all__ = ["Trust"]


class Trust:
    """One agent's check of orders. It remembers used statements for as long as the process lives.

    Args:
        verifier: checks signatures; None accepts unsigned orders and ignores signatures.
    """

    def __init__(self, verifier: Verifier | None) -> None:
        self._verifier = verifier
        self._used: dict[str, tuple[str, datetime]] = {}
        """Run and expiry of each accepted statement, by its id."""

    def check(self, prepare: Prepare, now: datetime | None = None) -> None:
        """Check an order for a run, and mark its signed statement as used for this run.

        Raises:
            BundleError: the order is out of bounds, unsigned, expired, used for another run, or not as signed.
        """
        if why := wrong_order(prepare):
            raise BundleError(why, hint="run the same version of loadgen on the controller and on this agent")
        if self._verifier is None:
            return
        self._verifier.check(prepare.statement, prepare.signature)
        self._take(Statement.read(prepare.statement), prepare, now or datetime.now(UTC))

    def verified(self, prepare: Prepare) -> bytes:
        """Return the order's signed statement, which the workers trust; empty if this agent checks no signatures."""
        return b"" if self._verifier is None else prepare.statement

    def _take(self, statement: Statement, prepare: Prepare, now: datetime) -> None:
        if now > statement.expires_at:
            raise BundleError(
                f"the run's signature expired at {statement.expires_at:%Y-%m-%d %H:%M:%S} UTC:"
                " start the run again, or correct this machine's clock"
            )
        if different := statement.differences(prepare):
            raise BundleError(
                f"the controller's order differs from the signed statement in {', '.join(different)}."
                " Find the cause before you trust this controller"
            )
        self._used = {key: used for key, used in self._used.items() if used[1] >= now}
        # The same statement is valid again for the same run, because a controller repeats Prepare with a higher
        # generation.
        run_id, _ = self._used.setdefault(statement.id, (prepare.run_id, statement.expires_at))
        if run_id != prepare.run_id:
            raise BundleError(
                f"the run's signature was used for run {run_id} already, and it is valid for one run only:"
                " start the run again"
            )
