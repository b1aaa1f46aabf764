"""Run the checkout scenario from three simulated regions against a demo shop on a loopback port: `make demo`."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPENS_WITHIN_S = 20


def main() -> int:
    """Run the demo and return its exit code. Command-line arguments are passed on to `loadgen run`."""
    shop = subprocess.Popen(
        [sys.executable, "-m", "loadgen.target", "--exit-with-stdin"],
        cwd=ROOT,
        stdin=subprocess.PIPE,  # the shop ends with this process, even if this process is killed
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C must reach only the run, which needs the shop while it drains
    )
    try:
        url = _first_line(shop)
        if not url:
            print(
                f"the demo shop did not start within {OPENS_WITHIN_S} s; run python -m loadgen.target to see why",
                file=sys.stderr,
            )
            return 5
        run = [sys.executable, "-m", "loadgen_controller.cli", "run", "scenarios/checkout.py", "--target", url]
        return _wait(subprocess.Popen([*run, *sys.argv[1:]], cwd=ROOT))
    finally:
        shop.terminate()
        shop.wait()


def _first_line(shop: subprocess.Popen[str]) -> str:
    """Return the shop's URL; "" if the shop does not print it in time."""
    timer = threading.Timer(OPENS_WITHIN_S, shop.kill)
    timer.start()
    try:
        assert shop.stdout is not None
        return shop.stdout.readline().strip()
    finally:
        timer.cancel()


def _wait(run: subprocess.Popen[bytes]) -> int:
    """Wait for the run and return its exit code. SIGTERM is passed on to it.

    Ctrl-C reaches the run directly through the terminal, so here it must only not end the waiting.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: run.send_signal(number))
    while True:
        try:
            return run.wait()
        except KeyboardInterrupt:
            continue


if __name__ == "__main__":
    sys.exit(main())
