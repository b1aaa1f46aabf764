"""Measures how often unrelated series are named, for the table in docs/what-goes-together.md.

    python -m tests.statistics.goes_with_rates [--runs 1000] [--seconds 600] [--period 1] [--gaps 0] [KIND ...]

Each line: the kind, the share of runs in which any of 30 unrelated series is named, the upper end of its 95 % interval
(Clopper-Pearson), series that were not tested per run, and processor time per run.
"""

from __future__ import annotations

import argparse
import time

from scipy.stats import beta

from tests.statistics.unrelated_series import KINDS, SHARES, unrelated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=[*KINDS, *SHARES])
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--period", type=int, default=1)
    parser.add_argument("--gaps", type=float, default=0.0)
    given = parser.parse_args()
    print(f"{given.runs} runs of {given.seconds} s, period {given.period} s, gaps {given.gaps:.0%}", flush=True)
    for kind in given.kinds:
        begun = time.process_time()
        named = rhythms = left = 0
        for seed in range(given.runs):
            found = unrelated(kind, seed, given.seconds, period=given.period, gaps=given.gaps)
            named += bool(found.named)
            left += len(found.left_out)
            rhythms += sum("rhythm" in one.why for one in found.left_out)
        upper = beta.ppf(0.975, named + 1, given.runs - named) if named < given.runs else 1.0
        each_ms = 1e3 * (time.process_time() - begun) / given.runs
        print(
            f"{kind:20} {named / given.runs:6.1%} (at most {upper:5.1%}) "
            f"not tested {left / given.runs:5.2f} rhythm {rhythms / given.runs:5.2f} {each_ms:4.0f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
