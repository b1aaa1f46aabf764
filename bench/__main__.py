"""Run the benchmarks, compare them with their budgets, and write bench/RESULTS.md: `python -m bench [section ...]`.

It needs two idle cores and nginx (Debian: nginx-light). Other tools (wrk, hey, h2load,
k6, Locust, GoAccess) are left out, with the reason, if they are not available. Without section
names it measures all sections and rewrites RESULTS.md. With names it prints only those
sections; `--write` also replaces them in RESULTS.md. Each section names its run.
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
    causes,
    clock,
    controller,
    controller_beside_locust,
    cores,
    drive,
    get,
    goes_with,
    growth,
    grpc_calls,
    history,
    history_store,
    http2,
    http3,
    interpreters,
    journey,
    listing,
    live,
    llm,
    locust_master,
    machine,
    memory,
    merge,
    open_loads,
    outputs,
    pacing,
    page,
    probe_cost,
    programme,
    record,
    rendezvous,
    screen,
    sdk,
    share,
    span_formats,
    stall,
    streams,
    tags,
    target,
    tls,
    trace_first_line,
    trace_volume,
    traces,
    tracing,
    traffic,
    weekly_page,
    ws_echo,
    ws_held,
)
from bench.children import more_files
from bench.report import Section, not_held, replaced
from tests.support.nginx import nginx_path

__all__ = ["SECTIONS", "Part"]

RESULTS = Path(__file__).with_name("RESULTS.md")


@dataclass(frozen=True, slots=True)
class Part:
    """The function that measures one section, and its arguments for a smoke test."""

    measure: Callable[..., Section]
    quick: Mapping[str, Any] = field(default_factory=dict)


SECTIONS: dict[str, Part] = {
    "journey": Part(journey.measure, {"seconds": 1, "turns": 1}),
    "get": Part(get.measure, {"seconds": 1, "turns": 1}),
    "tls": Part(tls.measure, {"seconds": 1, "turns": 1}),
    "http2": Part(http2.measure, {"seconds": 1, "turns": 1}),
    "grpc": Part(grpc_calls.measure, {"calls": 300, "messages": 1_000, "lone": 50, "turns": 1, "beside": ()}),
    "http3": Part(http3.measure, {"requests": 80, "turns": 1}),
    "ws": Part(ws_echo.measure, {"echoes": 600, "turns": 1}),
    "ws_held": Part(ws_held.measure, {"few": 5, "many": 20, "seconds": 2.0, "beside": ("websockets",)}),
    "httpx": Part(sdk.measure, {"seconds": 1, "turns": 1}),
    "clock": Part(clock.measure, {"seconds": 1, "turns": 1, "cpu_seconds": 1, "cpu_turns": 1}),
    "interpreters": Part(interpreters.measure, {"seconds": 1, "turns": 1}),
    "memory": Part(memory.measure, {"users": (200,)}),
    "pacing": Part(pacing.measure, {"seconds": 2}),
    "open": Part(open_loads.measure, {"seconds": 1, "rates": (1_000,), "is_whole": False}),
    "cores": Part(cores.measure, {"seconds": 1, "rates": (1_000,)}),
    "growth": Part(growth.measure, {"users": (8, 64), "names": (1, 500), "seconds": 2, "turns": 1, "skip": 1}),
    "drive": Part(drive.measure),
    "record": Part(record.measure),
    "streams": Part(streams.measure, {"turns": 1}),
    "tags": Part(tags.measure, {"turns": 1}),
    "tracing": Part(tracing.measure, {"turns": 1}),
    "merge": Part(merge.measure, {"agents": 10, "seconds": 3}),
    "live": Part(live.measure, {"seconds": 10, "names": 5, "rate": 20, "turns": 1}),
    "history_store": Part(history_store.measure, {"runs": 20, "names": 3, "turns": 1}),
    "history": Part(history.measure, {"seconds": 20, "names": 5, "told_names": 3}),
    "listing": Part(listing.measure, {"runs": 30, "rows": 3, "turns": 1}),
    "page": Part(page.measure, {"turns": 1}),
    "outputs": Part(outputs.measure, {"names": (3,), "seconds": 3}),
    "controller": Part(controller.measure, {"fleets": (controller.Fleet(20, 20, 50),), "seconds": 6, "skip": 2}),
    "controller_large": Part(
        controller.measure_large, {"fleets": (controller.Fleet(30, 20, 50),), "seconds": 6, "skip": 2}
    ),
    "controller_beside_locust": Part(
        controller_beside_locust.measure,
        {"fleet": controller.Fleet(20, 20, 50), "turns": 1, "seconds": 6, "skip": 2},
    ),
    "locust": Part(locust_master.measure, {"workers": (20,), "seconds": 6, "skip": 3}),
    "share": Part(share.measure),
    "rendezvous": Part(rendezvous.measure, {"users": (8,), "groups": 2}),
    "screen": Part(screen.measure, {"turns": 1}),
    "target": Part(target.measure, {"seconds": 1}),
    "stall": Part(stall.measure),
    "llm": Part(llm.measure, {"streams": 10, "events": 20, "many": (20,)}),
    "alarms": Part(alarms.measure, {"runs": 1}),
    "trace_command": Part(trace_first_line.measure, {"seconds": 3, "turns": 1}),
    "trace_volume": Part(trace_volume.measure, {"traces": 300, "large": 1_000}),
    "traces": Part(traces.measure, {"traces": 20, "large": 1_000, "turns": 1}),
    "span_formats": Part(span_formats.measure, {"traces": 3, "long": 10, "large": 100, "turns": 1}),
    "causes": Part(causes.measure, {"seconds": 150, "resamples": 100, "turns": 1}),
    "goes_with": Part(goes_with.measure, {"seconds": 150, "series": 20, "turns": 1}),
    "probe_cost": Part(probe_cost.measure, {"seconds": 4, "pairs": 2, "warm_s": 3}),
    "weekly_page": Part(weekly_page.measure, {"runs": 20, "names": 20, "weeks": 5, "turns": 1}),
    "programme": Part(programme.measure, {"objectives": 3, "days": 2, "runs": 20, "names": 20, "weeks": 5, "turns": 1}),
    "traffic": Part(traffic.measure, {"combined": 3_000, "alb": 3_000, "long": 5_000, "turns": 1}),
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
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Run the benchmarks and compare them with their budgets."
    )
    parser.add_argument("section", nargs="*", help=f"sections to measure ({', '.join(SECTIONS)}); default: all")
    parser.add_argument("--write", action="store_true", help="replace these sections in RESULTS.md")
    parser.add_argument(
        "--quick", action="store_true", help="short turns, only to check that the benchmarks work; write nothing"
    )
    return parser.parse_args(words)


def _measured(name: str, quick: bool) -> str | None:
    """Measure a section and return its text; None if it failed, so that the other sections are still measured."""
    load_before = machine.load_now()
    part = SECTIONS[name]
    try:
        section = part.measure(**(part.quick if quick else {}))
    except Exception:  # noqa: BLE001  # one failed section must not lose an hour of other figures
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
    """Return what this machine lacks for the benchmarks, or ""."""
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
    more_files()
    sys.exit(main(sys.argv[1:]))
