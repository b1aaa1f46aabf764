"""A look at a run that never was: for drawing."""

from __future__ import annotations

from dataclasses import replace

from loadgen.measure.deltas.delta import Counters, Health
from loadgen.measure.histograms.histogram import Value
from loadgen_controller.screen.live_figures import AgentRow, Cells, Figures, Row, SloRow


def cells(count: int, base_ms: float, *, bound: bool = False) -> Cells:
    """Percentiles that grow from `base_ms`; the last one only a bound if `bound`."""
    values = [base_ms * f * 1000 for f in (1, 1.8, 2.2, 3.5, 6.1)]
    return Cells(count, tuple(Value(v, bound and n == 4) for n, v in enumerate(values)))


def row(name: str, count: int, base_ms: float, *, bound: bool = False) -> Row:
    return Row(name, cells(count // 12, base_ms), cells(count, base_ms, bound=bound))


def agent(region: str, *, state: str = "running", note: str = "", reported: bool = True) -> AgentRow:
    health = Health(users=22, in_flight=5, generator_lag_p99_us=420, cpu_share=0.31, rss_bytes=81 << 20)
    silent_s = 0.3 if reported else 6.2
    return AgentRow(f"{region}-1", f"{region} (simulated)", state, reported, silent_s, health, note)


def figures(**changes: object) -> Figures:
    regions = ("us-east-1", "eu-west-1", "ap-south-1")
    made = Figures(
        run_id="20261124-170312-checkout-a1b2",
        plan="checkout",
        phase="running",
        clock_s=12.4,
        duration_s=20.0,
        is_warmup=False,
        offered_per_s=200.0,
        level=None,
        last_s=1.0,
        last_n=11,
        last=Counters(iterations_due=200, iterations_started=199, iterations_finished=199, requests_finished=602),
        total=Counters(iterations_started=2400, iterations_finished=2388, iterations_errors=15),
        users=66,
        in_flight=15,
        waiting=0,
        journeys=(row("checkout", 2388, 71.3, bound=True),),
        regions=tuple(row(f"{region} (simulated)", 796, 71) for region in regions),
        parts=(
            row("  login", 2395, 12.1),
            row("    POST /login", 2395, 12.0),
            row("  browse", 2391, 8.2),
            row("    GET /products/{sku}", 2391, 8.1),
            row("  add to cart", 2390, 15.4),
            row("    POST /cart", 2390, 15.3),
        ),
        errors=(("http 503", 12), ("timeout", 3)),
        slos=(
            SloRow("p(95) < 300ms", "passed", "157 ms", 2388, "48 % below"),
            SloRow('p(99, step="add to cart") < 40ms', "failed", "53.9 ms", 2390, "35 % above"),
            SloRow("error_ratio() < 1%", "passed", "0.63 %", 2388, "37 % below"),
        ),
        agents=tuple(agent(region) for region in regions),
        registered=3,
        reported=3,
        agents_wanted=3,
        notices=(),
    )
    return replace(made, **changes)  # type: ignore[arg-type]
