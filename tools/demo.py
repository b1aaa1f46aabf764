"""Run the checkout scenario from three simulated regions against a demo shop on a loopback port: `make demo`.

The shop answers as if it were some 20 ms away: an iteration takes 110 to 230 ms. A generator is fit while it is late by
at most a tenth of that, so the demo is valid on a laptop on which other programs run, too.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

from loadgen.errors import ExitCode, LoadgenError
from loadgen.measure.run_folder.rundir import find_run
from loadgen.report.summary_reader import Summary, read
from loadgen.report.verdict_words import shown_result

__all__ = ["ending", "main"]

ROOT = Path(__file__).resolve().parent.parent
OPENS_WITHIN_S = 20
_SLOWER = ("/login", "/products/{sku}", "/cart")
"""Paths of the shop that take three times as long: 100 % longer, and that 50 % longer."""


def main() -> int:
    """Run the demo and return the exit code of its run. Command-line arguments are passed on to `loadgen run`."""
    slower = [f"--slower={path}={share}" for path in _SLOWER for share in ("100%", "50%")]
    shop = subprocess.Popen(
        [sys.executable, "-m", "loadgen.target", "--exit-with-stdin", *slower],
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
        code = _wait(subprocess.Popen([*run, *sys.argv[1:]], cwd=ROOT))
    finally:
        shop.terminate()
        shop.wait()
    print("\n" + "\n".join(ending(code, _summary())))
    return code


def ending(code: int, summary: Summary | None) -> tuple[str, ...]:
    """Return the last lines of the demo: what its result means, and the next commands.

    Args:
        code: exit code of the run.
        summary: of the run; None if it has none.
    """
    result = "" if summary is None else shown_result(summary)
    again = "Close other programs and run `make demo` again, or use another machine."
    meaning: tuple[str, ...]
    if code == ExitCode.INVALID:
        meaning = (
            "The demo works, but this machine was too busy to measure. Exit code 4 means INVALID: loadgen itself was",
            f"late, so the times do not count. {again}",
        )
    elif result == "suspect":
        meaning = (
            "The demo works, but this machine was busy at times. SUSPECT means: loadgen itself was late for a part of",
            f"the run, so the times may be wrong. {again}",
        )
    elif code == ExitCode.PASSED:
        meaning = ("The demo passed: the shop met its objectives, and loadgen was able to measure.",)
    else:
        meaning = (f"The demo ended with exit code {code}; the lines above have the reason.",)
    return (
        *meaning,
        "next: source .venv/bin/activate",
        "      loadgen report last -o report.html     # the run as one file, for a browser",
        "      loadgen new my_test.py                 # a scenario of your own: docs/tutorial-first-scenario.md",
    )


def _summary() -> Summary | None:
    """Return the summary of the newest run, or of the one in --runs-dir; None if it cannot be read."""
    options = sys.argv[1:]
    runs = Path(options[options.index("--runs-dir") + 1]) if "--runs-dir" in options[:-1] else ROOT / "runs"
    try:
        return read(find_run("last", runs) / "summary.json")
    except LoadgenError:
        return None


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
