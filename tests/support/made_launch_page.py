"""Made values of launch pages: an inconclusive launch with all parts, and one of hostile texts."""

from __future__ import annotations

from loadgen.programme.pages.launch_values import LaunchCheck, LaunchEvidence, LaunchPage, MissingEvidence
from loadgen.programme.weekly.page_values import Said
from tests.support.made_weekly_page import HOSTILE

__all__ = ["hostile_launch", "made_launch"]


def made_launch() -> LaunchPage:
    """Return the page of a launch of which two runs are missing."""
    return LaunchPage(
        "Checkout · launch of v412",
        "v412",
        ("checkout", "settle"),
        "INCONCLUSIVE",
        "Two of five required pieces of evidence are open: the gate has 3 of 5 runs, and the capacity is 94 days old.",
        "D-207",
        "2026-07-27T06:00:00Z",
        (
            LaunchEvidence(
                "promise",
                "checkout",
                "kept",
                "99.62 % of requests were good, 99.5 % are promised.",
                "S-11800001",
                "good",
            ),
            LaunchEvidence(
                "gate", "checkout", "undecided", "p95 +2 % (-1 to 5 %) in 3 runs; the limit is +3 %.", "G-88", "open"
            ),
            LaunchEvidence("gate", "settle", "passed", "p95 did not change by more than 2 %.", "G-89", "good"),
            LaunchEvidence(
                "headroom",
                "checkout",
                "too old",
                "1.3 × of the peak, measured 94 days ago; 90 are allowed.",
                "C-12",
                "open",
            ),
            LaunchEvidence("health", "", "healthy", "1 of 24 A/A controls failed (0.1 to 21 %).", "H-60000001", "good"),
        ),
        (
            MissingEvidence("loadgen run shop.py --label release=v412 --repeat 2", 21, "the gate decides with 5 runs"),
            MissingEvidence("loadgen capacity find shop.py:peak", 95, "the capacity is older than 90 days"),
            MissingEvidence("loadgen slo pull", None, "settle lacks 27 minutes of counts"),
        ),
        (
            Said(
                "If checkout became slower by 5 %, that would cost 3,900 € a week (2,100 to 5,800).",
                "plain",
                ("F-90000001",),
            ),
            Said("Only checkout and settle were tested; other journeys are not part of this figure."),
        ),
        (
            LaunchCheck("Rollback was rehearsed", "done", "kim@shop.example", "2026-07-24", "in 4 minutes", "good"),
            LaunchCheck("On-call knows of the launch", "open", tone="open"),
        ),
        (
            Said(
                "Override of D-201 by lee@shop.example until 1 August: known regression of search, fix is merged.",
                "open",
            ),
        ),
        ("The history has 2 runs of v412 that are not valid; they do not count.",),
    )


def hostile_launch() -> LaunchPage:
    """Return a page whose texts all come from an enemy."""
    said = tuple(Said(text, "bad", HOSTILE, text, text) for text in HOSTILE)
    return LaunchPage(
        HOSTILE[0],
        HOSTILE[1],
        HOSTILE,
        HOSTILE[3],
        HOSTILE[6],
        HOSTILE[5],
        HOSTILE[4],
        tuple(LaunchEvidence(text, text, text, text, text, "bad") for text in HOSTILE),
        tuple(MissingEvidence(text, 1e9, text) for text in HOSTILE),
        said,
        tuple(LaunchCheck(text, text, text, text, text, "bad") for text in HOSTILE),
        said,
        HOSTILE,
    )
