"""`make demo`: a demo shop on a free loopback port, and the checkout scenario from three regions against it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OPENS_WITHIN_S = 20


def main() -> int:
    """The exit code of the run. Arguments are passed on to `loadgen run`."""
    shop = subprocess.Popen(
        [sys.executable, "-m", "loadgen.target", "--exit-with-stdin"],
        cwd=ROOT,
        stdin=subprocess.PIPE,  # when this process ends, however it does, the shop ends too
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the run, which still needs its target while it drains
    )
    try:
        url = _first_line(shop)
        if not url:
            print("the demo shop did not open", file=sys.stderr)
            return 5
        run = [sys.executable, "-m", "loadgen_controller.cli", "run", "scenarios/checkout.py", "--target", url]
        return _wait(subprocess.Popen([*run, *sys.argv[1:]], cwd=ROOT))
    finally:
        shop.terminate()
        shop.wait()


def _first_line(shop: subprocess.Popen[str]) -> str:
    """The shop's URL; empty when it says nothing in time."""
    timer = threading.Timer(OPENS_WITHIN_S, shop.kill)
    timer.start()
    try:
        assert shop.stdout is not None
        return shop.stdout.readline().strip()
    finally:
        timer.cancel()


def _wait(run: subprocess.Popen[bytes]) -> int:
    """Ctrl-C reaches the run by itself (same terminal); here it only must not end the waiting. SIGTERM is passed on."""
    signal.signal(signal.SIGTERM, lambda number, frame: run.send_signal(number))
    while True:
        try:
            return run.wait()
        except KeyboardInterrupt:
            continue


if __name__ == "__main__":
    sys.exit(main())
