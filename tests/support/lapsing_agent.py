"""`loadgen-agent`, whose workers find their lease lapsed for a moment: `LOADGEN_TEST_LAPSE="after_ms,for_ms"`.

Everything else is the agent as it is. The lapse begins so long after the load began and is written where the
supervisor writes its grants; then the next grant renews the lease. So it looks as it does on a bad network, where
an acknowledgement comes some milliseconds after the lease has ended.
"""

from __future__ import annotations

import os
import threading
import time

from loadgen_agent import cli
from loadgen_agent.supervisor.workers import Workers

VARIABLE = "LOADGEN_TEST_LAPSE"
_MS = 1_000_000


def lapse_once(after_ms: float, for_ms: float) -> None:
    """Make the first workers that have a load lapse, once."""
    grant = Workers.grant
    state = {"begun": False, "is_lapsed": False}

    def lapsing(workers: Workers, until_ns: int, length_ns: int) -> None:
        if until_ns and not state["begun"]:
            state["begun"] = True
            threading.Thread(target=lapse, args=(workers, length_ns), daemon=True).start()
        if state["is_lapsed"] and until_ns:
            until_ns = time.perf_counter_ns() - 1
        grant(workers, until_ns, length_ns)

    def lapse(workers: Workers, length_ns: int) -> None:
        time.sleep(after_ms / 1_000)
        state["is_lapsed"] = True
        grant(workers, time.perf_counter_ns() - 1, length_ns)
        time.sleep(for_ms / 1_000)
        state["is_lapsed"] = False
        grant(workers, time.perf_counter_ns() + length_ns, length_ns)

    Workers.grant = lapsing  # type: ignore[assignment, method-assign]


def main() -> None:
    """Run the agent, with the lapse that its environment names."""
    after, lasting = map(float, os.environ[VARIABLE].split(","))
    lapse_once(after, lasting)
    cli.main()


if __name__ == "__main__":
    main()
