"""Measure what it costs to make prompts for a tokenizer's file, and to count the tokens of answers with it.

    python -m bench.tokenizer tokenizer.json

It is no part of `make bench`, because it needs the file of a real model.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path
from statistics import median
from time import perf_counter_ns, thread_time_ns
from typing import Final

import numpy as np

from loadgen.clients.llm.tokenizer import Tokenizer, tokenizer_of
from loadgen.dsl.prompts.prompt import prompt
from loadgen.dsl.prompts.tokenizer_words import exact_words

__all__ = ["main"]

TOKENS: Final = (20, 256, 1_024, 4_096)
ANSWERS: Final = 60
MADE: Final = 1_000
TICK_S: Final = 0.001


def main(path: Path) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began_ns = perf_counter_ns()
    tokenizer = tokenizer_of(path)
    loaded_ns = perf_counter_ns()
    words = exact_words(tokenizer)
    more_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    print(f"load {(loaded_ns - began_ns) / 1e9:.2f} s, {more_mib:.0f} MiB", end="; ")
    print(f"words of one token: {0 if words is None else len(words)}, {(perf_counter_ns() - loaded_ns) / 1e6:.0f} ms")
    made_us = min(_made_us(words, n) for n in range(300))
    print(f"a prompt of {MADE:,} tokens: {made_us:.0f} us to make", end=", ")
    made = [prompt(tokens=MADE).text(1, n, words=words) for n in range(ANSWERS)]
    print(f"{_cpu_us(tokenizer, made):.0f} us to count")
    for tokens in TOKENS:
        texts = [prompt(tokens=tokens).text(1, n).capitalize() + "." for n in range(ANSWERS)]
        inside, aside = (asyncio.run(_lags(tokenizer, texts, aside=aside)) for aside in (False, True))
        print(
            f"{tokens:5} tokens: CPU {_cpu_us(tokenizer, texts):6.0f} us an answer; the loop was late by at most "
            f"{inside:6.2f} ms when it counted itself, {aside:6.2f} ms as it is"
        )


def _made_us(words: np.ndarray | None, n: int) -> float:
    """Return the time in which the n-th prompt of `MADE` tokens is made."""
    began_ns = perf_counter_ns()
    prompt(tokens=MADE).text(1, n, words=words)
    return (perf_counter_ns() - began_ns) / 1e3


def _cpu_us(tokenizer: Tokenizer, texts: list[str]) -> float:
    """Return the median CPU time of one answer."""
    took: list[float] = []
    for text in texts:
        began_ns = thread_time_ns()
        tokenizer.count_all([text])
        took.append((thread_time_ns() - began_ns) / 1e3)
    return median(took)


async def _lags(tokenizer: Tokenizer, texts: list[str], *, aside: bool) -> float:
    """Return how late a timer of 1 ms was at most, in ms, without the worst 1 %, while answers were counted."""
    late_ms: list[float] = []

    async def tick() -> None:
        while True:
            due_ns = perf_counter_ns() + TICK_S * 1e9
            await asyncio.sleep(TICK_S)
            late_ms.append((perf_counter_ns() - due_ns) / 1e6)

    ticking = asyncio.create_task(tick())
    for text in texts:
        await asyncio.sleep(2 * TICK_S)
        if aside:
            await tokenizer.count_aside([text])
        else:
            tokenizer.count_all([text])
    ticking.cancel()
    return sorted(late_ms)[int(len(late_ms) * 0.99)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
