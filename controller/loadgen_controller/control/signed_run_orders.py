"""Signs the orders of runs, and checks signed orders that clients send to a controller.

The command line signs an order. A `loadgen controller` with a signing key signs for clients without a key.
"""

from __future__ import annotations

from dataclasses import replace

from loadgen.allowlist import AllowList
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import BundleError, UsageError
from loadgen.signed.launch_statement import MAX_STATEMENT_BYTES, Statement, bare
from loadgen.signed.signatures import Signer
from loadgen_controller.core.run_request import Order

__all__ = ["check_signed", "signed"]


def signed(order: Order, signer: Signer) -> Order:
    """Return the order with a statement of what it contains, and the signature of that statement.

    Raises:
        UsageError: the statement is longer than agents accept.
    """
    statement = Statement.of(
        order.spec,
        scenario=order.scenario,
        plan=order.plan,
        bundle_sha256=order.bundle_sha256,
        bundle_bytes=len(order.bundle),
        overrides=Overrides.from_json(order.overrides_json),
        seed=order.seed,
        limits=order.limits,
        allow=order.allow,
    ).data
    if len(statement) > MAX_STATEMENT_BYTES:
        raise UsageError(
            f"the statement to sign has {len(statement):,} bytes: the limit is {MAX_STATEMENT_BYTES:,}",
            hint="use a shorter allow-list, with networks in place of single addresses",
        )
    return replace(order, statement=statement, signature=signer.sign(statement))


def check_signed(order: Order, allow: AllowList | None) -> None:
    """Check that agents would accept the order's signed statement together with the controller's allow-list.

    The signature itself is not checked: only agents have the keys for that.

    Raises:
        UsageError: agents would reject it.
    """
    if not order.statement:
        raise UsageError(
            "the run is signed in the old way, which covers only the hash of the bundle",
            hint="run the same version of loadgen here and at the controller",
        )
    try:
        statement = Statement.read(order.statement)
    except BundleError as error:
        raise UsageError(error.message, hint=error.hint) from None
    if bare(allow) != statement.allow:
        message, hint = _other_list(allow, statement)
        raise UsageError(message, hint=hint)
    if why := "; ".join([*statement.differences(order.prepare(allow)), *_elsewhere(order, statement)]):
        raise UsageError(f"the signed statement is not about this order: {why}", hint="start the run again")


def _other_list(allow: AllowList | None, statement: Statement) -> tuple[str, str]:
    if allow is None:
        return "the run is signed with an allow-list, but this controller has none", "leave --allow out"
    if statement.allow is None:
        return (
            "the run is signed without an allow-list, but this controller has one",
            "sign the controller's list, too: give --allow FILE with --sign-with, with a copy of that list",
        )
    return (
        "the signed allow-list differs from the one of this controller",
        "ask the controller's operator for a copy of its list, and give --allow FILE",
    )


def _elsewhere(order: Order, statement: Statement) -> list[str]:
    why = statement.other_targets(order.spec)
    return [why] if why else []
