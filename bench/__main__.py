"""`python -m bench [section ...]`: measures against the budgets and writes bench/RESULTS.md.

Needs two cores that nobody else uses, and nginx (Debian: nginx-light). What else
a section needs (wrk, hey, h2load, k6, Locust) is left out with the reason where it
cannot be had. Without names all sections are measured and RESULTS.md is written
anew; with names these are shown, and with `--write` put in their places: each
section says from which run it is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import (
    alarms,
    controller,
    cores,
    drive,
    get,
    growth,
    history,
    history_store,
    http2,
    journey,
    listing,
    live,
    locust_master,
    machine,
    memory,
    merge,
    outputs,
    pacing,
    page,
    record,
    rendezvous,
    screen,
    sdk,
    share,
    stall,
    target,
    tls,
)
from bench.report import Section, not_held, replaced
from tests.support.nginx import nginx_path

__all__ = ["SECTIONS", "Part"]

RESULTS = Path(__file__).with_name("RESULTS.md")


@dataclass(frozen=True, slots=True)
class Part:
    """One section's way to measure, and its arguments for a smoke test."""

    measure: Callable[..., Section]
    quick: Mapping[str, Any] = field(default_factory=dict)


SECTIONS: dict[str, Part] = {
    "journey": Part(journey.measure, {"seconds": 1, "turns": 1}),
    "get": Part(get.measure, {"seconds": 1, "turns": 1}),
    "tls": Part(tls.measure, {"seconds": 1, "turns": 1}),
    "http2": Part(http2.measure, {"seconds": 1, "turns": 1}),
    "httpx": Part(sdk.measure, {"seconds": 1, "turns": 1}),
    "memory": Part(memory.measure, {"users": (200,)}),
    "pacing": Part(pacing.measure, {"seconds": 2}),
    "cores": Part(cores.measure, {"seconds": 1, "rates": (1_000,)}),
    "growth": Part(growth.measure, {"users": (8, 64), "names": (1, 500), "seconds": 2, "turns": 1, "skip": 1}),
    "drive": Part(drive.measure),
    "record": Part(record.measure),
    "merge": Part(merge.measure, {"agents": 10, "seconds": 3}),
    "live": Part(live.measure, {"seconds": 10, "names": 5, "rate": 20, "turns": 1}),
    "history_store": Part(history_store.measure, {"runs": 20, "names": 3, "turns": 1}),
    "history": Part(history.measure, {"seconds": 20, "names": 5, "told_names": 3}),
    "listing": Part(listing.measure, {"runs": 30, "rows": 3, "turns": 1}),
    "page": Part(page.measure, {"turns": 1}),
    "outputs": Part(outputs.measure, {"names": (3,), "seconds": 3}),
    "controller": Part(controller.measure, {"fleets": (controller.Fleet(20, 20, 50),), "seconds": 6, "skip": 2}),
    "locust": Part(locust_master.measure, {"workers": (20,), "seconds": 6, "skip": 3}),
    "share": Part(share.measure),
    "rendezvous": Part(rendezvous.measure, {"users": (8,), "groups": 2}),
    "screen": Part(screen.measure, {"turns": 1}),
    "target": Part(target.measure, {"seconds": 1}),
    "stall": Part(stall.measure),
    "alarms": Part(alarms.measure, {"runs": 1}),
}


def main(words: list[str]) -> int:
    options = _options(words)
    if unknown := set(options.section) - set(SECTIONS):
        sys.stderr.write(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}\n")
        return 2
    if missing := _missing():
        sys.stderr.write(f"the benchmarks need {missing}\n")
        return 2
    parts: list[str] = []
    failed: list[str] = []
    for name in options.section or SECTIONS:
        sys.stderr.write(f"measuring {name} ...\n")
        text = _measured(name, options.quick)
        if text is None:
            failed.append(name)
        else:
            parts.append(text)
    if options.quick or (options.section and not options.write):
        sys.stdout.write("\n".join(parts))
    else:
        _write(parts, anew=not options.section)
    for text in [text for part in parts for text in not_held(part)]:
        sys.stderr.write(f"{text}\n")
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return 1 if failed else 0


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures against the budgets.")
    parser.add_argument("section", nargs="*", help=f"of {', '.join(SECTIONS)}; none: all")
    parser.add_argument("--write", action="store_true", help="put the sections into RESULTS.md, in their places")
    parser.add_argument("--quick", action="store_true", help="short turns, to see that it works; writes nothing")
    return parser.parse_args(words)


def _measured(name: str, quick: bool) -> str | None:
    """The section as text; None where it failed: the others are measured all the same."""
    load_before = machine.load_now()
    part = SECTIONS[name]
    try:
        section = part.measure(**(part.quick if quick else {}))
    except Exception:  # noqa: BLE001  # an hour's figures are not thrown away for one section
        traceback.print_exc()
        return None
    return section.markdown(machine.stamp(f"python -m bench {name}", section.tools, load_before))


def _write(parts: list[str], *, anew: bool) -> None:
    results = _opening() if anew else RESULTS.read_text(encoding="utf-8")
    for part in parts:
        results = replaced(results, part)
    RESULTS.write_text(results, encoding="utf-8")
    sys.stderr.write(f"wrote {RESULTS}\n")


def _missing() -> str:
    """What this machine lacks, or ""."""
    programs = [] if shutil.which("taskset") else ["taskset"]
    if nginx_path() is None:
        programs.append("nginx")
    if (os.cpu_count() or 1) < 2:
        programs.append("a second core")
    return ", ".join(programs)


def _opening() -> str:
    facts = "\n".join(f"- {name}: {value}" for name, value in machine.facts())
    return (
        "# Results\n\n"
        "Written by `make bench` (`python -m bench`), never by hand. Ratios of medians within one run on one machine\n"
        "count; the figures beside them are that machine's. Each section says from which run it is.\n\n"
        f"{facts}\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
