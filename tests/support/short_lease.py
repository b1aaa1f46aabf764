"""`loadgen` with leases of `LEASE_S`, 3 s instead of 8 s. Everything else is the controller as it is."""

from __future__ import annotations

from loadgen_controller import cli
from loadgen_controller.agents import hub

__all__ = ["LEASE_S", "main"]

LEASE_S = 3.0


def main() -> None:
    """Run the controller with these leases."""
    hub.LEASE_S = LEASE_S
    cli.main()


if __name__ == "__main__":
    main()
