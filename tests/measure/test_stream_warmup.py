"""The warm-up of runs with requests to AI models: made-up merges whose warm-up is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.merging.merge import Merge
from loadgen.measure.merging.stored_interval import cell_of
from loadgen.measure.statistics.batches_of_run import recounted, recounted_cells
from loadgen.measure.statistics.warmup import (
    OUTPUT_TOKENS,
    RESPONSE_TIMES,
    TTFT,
    Levels,
    find_cut,
    find_cut_of,
    found_cut,
)
from tests.support.deltas import FakeAgent

S, MS, TOKEN = 1_000_000_000, 1_000_000, 1_000
SECONDS = 120


def key(kind: str, metric: str, *tags: tuple[str, str], journey: str = "ask") -> SeriesKey:
    request = None if kind == "journey" else "chat"
    return SeriesKey(kind, journey, None, request, "ok", metric, tags=tags)  # type: ignore[arg-type]


def run_of(
    ttft_ms: Sequence[Sequence[float]], tokens: Sequence[float] | None = None, cold: int = 0, seed: int = 1
) -> list[tuple[str, Delta]]:
    """A run by second: the times to the first token of its requests, and how many tokens each has.

    cold: so many of the first requests have the tag of cold ones. The response times wander as lengths of answers do.
    """
    rng, agent, n, made = np.random.default_rng(seed), FakeAgent("a"), 0, []
    for k, times in enumerate(ttft_ms):
        values: dict[SeriesKey, list[int]] = {}
        for ms in times:
            tags = (("cold", "first"),) if n < cold else ()
            n += 1
            took = round((ms + rng.uniform(100, 3_000)) * MS)
            length = round(20 if tokens is None else tokens[k]) * TOKEN
            for one, value in (
                (key("journey", "response"), took),
                (key("request", "response", *tags), took),
                (key("request", "ttft", *tags), round(ms * MS)),
                (key("request", "output_tokens", *tags), length),
            ):
                values.setdefault(one, []).append(value)
        made.append(("eu", agent.delta(values, k=k)))
    return made


def warm(per_s: int, first: Sequence[float], ms: float = 11, seed: int = 3) -> list[list[float]]:
    """The times to the first token of requests, with 10 % of noise: of the first ones, and then `ms`."""
    rng = np.random.default_rng(seed)
    flat = [*first, *[ms] * (per_s * SECONDS - len(first))]
    noisy = [one * float(np.exp(rng.normal(0, 0.1))) for one in flat]
    return [noisy[k * per_s : (k + 1) * per_s] for k in range(SECONDS)]


@pytest.mark.parametrize("cold", [0, 1])
@pytest.mark.parametrize(
    ("per_s", "first"),
    [
        (1, [574, 36]),  # a first request of llama.cpp, which loads the model, and the next ones
        (4, [574, 36]),
        (1, [511] * 5),
        (4, [511] * 5),
        (10, [511] * 5),
    ],
)
def test_slow_first_requests_are_cut_off(per_s: int, first: list[float], cold: int) -> None:
    cut = found_cut(run_of(warm(per_s, first), cold=cold), SECONDS * S)
    assert cut.cut_ns == 5 * S
    assert cut.why.startswith("until 5.00 s times to the first token were ")
    assert "This signal decided; output tokens/s were steady from the start" in cut.why


def test_a_throughput_that_ramps_is_cut_off_where_the_ramp_ends() -> None:
    rng = np.random.default_rng(2)
    tokens = [20 * min(1.0, 0.2 + 0.8 * k / 30) * float(np.exp(rng.normal(0, 0.05))) for k in range(SECONDS)]
    cut = found_cut(run_of(warm(4, [511] * 5), tokens), SECONDS * S)
    assert 20 * S <= cut.cut_ns <= 35 * S
    assert "output tokens/s were" in cut.why.partition(". This signal decided; ")[0]
    assert "lower than after it" in cut.why
    # Of 20 requests in 5 s, 5 are slow: exp(ln(511 / 11) / 4) - 1 = 161 %, and noise.
    assert cut.why.endswith("; until 5.00 s times to the first token were 156 % longer than after it (MSER-5)")


def test_a_steady_run_is_not_cut_although_the_lengths_of_its_answers_wander() -> None:
    cut = found_cut(run_of(warm(4, [])), SECONDS * S)
    assert cut.cut_ns == 0
    assert cut.why.startswith("nothing was cut: times to the first token were steady from the start")
    assert "; output tokens/s were steady" in cut.why


def test_one_signal_that_never_becomes_steady_does_not_hide_the_cut_of_the_other() -> None:
    tokens = [20.0 + k for k in range(SECONDS)]
    cut = found_cut(run_of(warm(4, [511] * 5), tokens), SECONDS * S)
    assert cut.cut_ns == 5 * S
    assert cut.why.endswith("output tokens/s had not become steady by half of the run")


def test_a_journey_that_asks_no_model_keeps_its_response_times_as_a_signal() -> None:
    agent, levels = FakeAgent("a"), Levels()
    for k in range(SECONDS):
        slow = 3 if k < 20 else 1
        levels.add(
            agent.delta(
                {
                    key("journey", "response"): [500 * MS],
                    key("request", "ttft"): [11 * MS],
                    key("request", "output_tokens"): [20 * TOKEN],
                    key("journey", "response", journey="shop"): [(10 + k % 3) * slow * MS],
                }
            )
        )
    signals = levels.signals(SECONDS * S)
    assert list(signals) == [TTFT, OUTPUT_TOKENS, RESPONSE_TIMES]
    cut = find_cut_of(signals)
    assert cut.cut_ns == 20 * S
    assert cut.why.startswith("until 20.0 s response times were ")


def test_a_run_without_requests_to_models_has_the_signal_and_the_words_that_it_had() -> None:
    agent, levels = FakeAgent("a"), Levels()
    for k in range(SECONDS):
        levels.add(agent.delta({key("journey", "response"): [(30 if k < 20 else 10) * MS + k % 3 * MS]}))
    assert list(levels.signals(SECONDS * S)) == [RESPONSE_TIMES]
    assert find_cut_of(levels.signals(SECONDS * S)) == find_cut(levels.series(SECONDS * S))
    assert "decided" not in find_cut_of(levels.signals(SECONDS * S)).why


def test_requests_without_token_counts_have_one_signal() -> None:
    agent, levels = FakeAgent("a"), Levels()
    for _ in range(SECONDS):
        levels.add(agent.delta({key("request", "ttft"): [11 * MS]}))
    assert list(levels.signals(SECONDS * S)) == [TTFT]
    assert find_cut_of(levels.signals(10 * S)).why == (
        "nothing was cut: 10 intervals with times to the first token are too few to find a warm-up in"
    )


def test_cells_give_the_same_cut_as_deltas() -> None:
    run = run_of(warm(4, [511] * 5), cold=1)
    merge = Merge()
    merge.kept = []
    for region, delta in run:
        merge.accept(region, delta)
    merge.close()
    names: Mapping[bool, Sequence[tuple[str, SeriesKey]]] = {True: merge.names, False: ()}
    cells = [replace(cell_of(made), names=names[at == 0]) for at, made in enumerate(merge.kept)]

    def again() -> Iterator[tuple[str, Delta]]:
        return iter(run)

    of_cells = recounted_cells(merge, lambda: cells, end_ns=SECONDS * S, is_found=True)
    of_deltas = recounted(again, end_ns=SECONDS * S, is_found=True)
    assert of_cells[1] == of_deltas[1]
    assert of_deltas[1] is not None
    assert of_deltas[1].cut_ns == 5 * S
    assert of_deltas[0].count("request", warmup=True) == of_cells[0].count("request", warmup=True) == 20
