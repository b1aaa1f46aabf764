"""Reads AWS's own figures of SLOs, from CloudWatch Application Signals. Everything blocks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from loadgen.aws.account.boto_clients import Clients, aws_errors

__all__ = ["budget_reports"]


def budget_reports(clients: Clients, region: str, ids: Sequence[str], at: int) -> dict[str, Any]:
    """Return the answer of `BatchGetServiceLevelObjectiveBudgetReport` as boto3 has it.

    ids: names or ARNs of SLOs, at most 50. at: Unix time, s: the reports are of the windows that end then.

    Raises:
        FleetError: the call fails.
        UsageError: the region does not exist.
    """
    client = clients.client("application-signals", region)
    with aws_errors(f"read reports of SLOs in {region}"):
        found: dict[str, Any] = client.batch_get_service_level_objective_budget_report(
            Timestamp=datetime.fromtimestamp(at, UTC), SloIds=list(ids)
        )
    return found
