"""Results of `loadgen trace` that nobody measured, for tests of page, report and terminal."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from loadgen.report.why_slow.cause_file import (
    Attribute,
    CauseFile,
    Chosen,
    Example,
    Failed,
    Found,
    ObjectivePart,
    Part,
    Ranked,
    Resampling,
    Same,
    WaterfallRow,
)

__all__ = ["MS", "made_causes"]

MS = 1_000_000
ROOT = "shop: POST /checkout"


def made_causes(**changes: Any) -> CauseFile:
    """A query that runs 41 times instead of once, and a smaller pause."""
    causes = CauseFile(
        run="20261124-170312-shop-a1b2",
        made_at="2026-11-24T17:20:00.000Z",
        source="file traces.json",
        chosen=Chosen(
            journey="checkout",
            request="add to cart",
            text='p(99, request="add to cart") < 300ms',
            why="the broken objective",
            observed_ms=812.0,
            above=0.029,
            above_interval=(0.026, 0.033),
        ),
        objective=ObjectivePart(
            name="checkout > add to cart",
            threshold_ns=300.0 * MS,
            has_threshold=True,
            share_over=0.029,
            requests=84_120,
        ),
        found=Found(asked=360, found=344, slow=0.96, fast=0.95, slow_asked=170, fast_asked=190),
        resampling=Resampling(seed=7, resamples=1_000, block_s=30.0),
        n_slow=164,
        n_fast=180,
        fast_mean_ns=120.0 * MS,
        difference_ns=283.0 * MS,
        ranked=(
            Ranked(
                path=(ROOT, "stock: reserve", "stock: SELECT item"),
                added_ns=190.0 * MS,
                share=190 / 283,
                without_share_over=0.001,
                without_percentile_ns=148.0 * MS,
                stays_first=0.998,
                n_slow=160,
                n_fast=180,
                kind="more calls",
                more_calls_ns=171.0 * MS,
                slower_calls_ns=19.0 * MS,
                slow_calls=41.0,
                fast_calls=1.0,
                attributes=(
                    Attribute(
                        where="stock",
                        key="service.version",
                        value="2.1",
                        slow=0.96,
                        fast=0.22,
                        q=1e-12,
                        together=(Same("stock", "k8s.pod.name", "stock-7f"),),
                    ),
                    Attribute(where="", key="payload.kb", value=None, slow=120.5, fast=12.0, q=0.004),
                ),
                since_s=312.0,
                since_error_s=5.0,
            ),
            Ranked(
                path=(ROOT, "standing still of stock-2"),
                added_ns=73.0 * MS,
                share=73 / 283,
                without_share_over=0.029,
                without_percentile_ns=799.0 * MS,
                stays_first=0.002,
                n_slow=20,
                n_fast=0,
                kind="pause",
                pauses=14,
                pause_ns=180 * MS,
            ),
        ),
        unexplained=(
            Part(path=("catalog: GET /item/{n}",), added_ns=11.5 * MS),
            Part(path=("between client and server",), added_ns=8.1 * MS),
            Part(path=("all other paths",), added_ns=0.4 * MS),
        ),
        failed=Failed(
            traces=12,
            outcomes={"timeout": 10, "http 503": 2},
            added_ns=2_000.0 * MS,
            paths=(Part(path=(ROOT, "payment: charge"), added_ns=1_900.0 * MS),),
        ),
        repair={"clock moved": 12, "cut at parent": 3},
        left_out={"incomplete trace": 2},
        cost_ns=0.4 * MS,
        cost_interval_ns=(0.1 * MS, 0.7 * MS),
        rerun="loadgen runs rerun 20261124-170312",
        slow_example=_example(41, 403),
        fast_example=_example(1, 120),
    )
    return replace(causes, **changes)


def _example(calls: int, took_ms: int) -> Example:
    own = (took_ms - 60) * MS
    begin = 20 * MS
    return Example(
        trace="65630c0f" + "4bf92f3577b34da6a3ce929d",
        response_ns=took_ms * MS,
        at_s=312.4,
        rows=(
            WaterfallRow(
                name=ROOT,
                depth=0,
                begin_ns=10 * MS,
                end_ns=(took_ms - 10) * MS,
                own_ns=20 * MS,
                pieces=((10 * MS, 20 * MS), ((took_ms - 20) * MS, (took_ms - 10) * MS)),
            ),
            WaterfallRow(
                name="stock: reserve", depth=1, begin_ns=begin, end_ns=begin + own, own_ns=0, pieces=(), is_error=True
            ),
            WaterfallRow(
                name="stock: SELECT item",
                depth=2,
                begin_ns=begin,
                end_ns=begin + own,
                own_ns=own,
                pieces=tuple((begin + n * own // calls, begin + (2 * n + 1) * own // calls // 2) for n in range(calls)),
                more=calls - 1,
            ),
            WaterfallRow(name="catalog: GET /item/{n}", depth=1, begin_ns=begin, end_ns=begin + own // 2),
        ),
        left_out=3,
    )
