"""`loadgen` with leases of `LEASE_S`, 3 s instead of 8 s. Everything else is the controller as it is."""

from __future__ import annotations

from loadgen_controller.agents import hub

__all__ = ["LEASE_S"]

LEASE_S = 3.0

if __name__ == "__main__":
    hub.LEASE_S = LEASE_S
    from loadgen_controller.cli import main

    main()
