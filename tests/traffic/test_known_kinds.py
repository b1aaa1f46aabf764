"""Logs of three kinds of sessions whose chains are known, in three formats: kinds, mix and edges are found again."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from math import sqrt
from pathlib import Path

import numpy as np
import pytest

from loadgen.traffic.model.model_counts import ModelCounts
from loadgen.traffic.model.walks import Walks
from loadgen.traffic.read_logs import read_logs
from loadgen.traffic.reading.log_options import LogOptions, ModelRules
from tests.support.made_logs import LEAVE, Chain, lines_of, written_log

NAMES = [f"GET /p{letter}" for letter in "abcdefghijklmno"]
MIX = (0.5, 0.25, 0.25)
KINDS = ("alb", "json", "combined")


def chain_of(rng: np.random.Generator) -> Chain:
    """A chain over 15 names with a few successors each."""
    rows, think = {}, {}
    for name in NAMES:
        shares = rng.dirichlet(np.full(len(NAMES) + 1, 0.2))
        shares[-1] += 0.15
        row = {to: float(share) for to, share in zip([*NAMES, LEAVE], shares, strict=True) if share > 0.004}
        rows[name] = {to: share / sum(row.values()) for to, share in row.items()}
        think[name] = (float(rng.uniform(0.8, 2)), float(rng.uniform(0.3, 0.8)))
    starts = zip(NAMES, rng.dirichlet(np.full(len(NAMES), 0.2)), strict=True)
    return Chain(rows, {name: float(share) for name, share in starts if share > 0.004}, think)


def model_of(folder: Path, seed: int, kind: str, sessions: int) -> tuple[list[Chain], ModelCounts]:
    rng = np.random.default_rng(seed)
    chains, lines, users = [chain_of(rng) for _ in MIX], [], 0
    for number, (chain, share) in enumerate(zip(chains, MIX, strict=True)):
        count = round(sessions * share)
        made = lines_of(chain, count, 10 * seed + number)
        lines += [replace(line, user=line.user + users) for line in made]
        users += count
    log = written_log(sorted(lines), folder / f"{seed}.{kind}", kind)
    counts = read_logs([log], LogOptions(model=ModelRules())).model
    log.unlink()
    assert counts is not None
    return chains, counts


def edges_of(walks: Walks, counts: ModelCounts, chain: Chain) -> list[tuple[float, float, int]]:
    """Share in the chain, share found, steps from the node: of each edge of at least 1 % from a node with 50 steps."""
    at = {name: number for number, name in enumerate(counts.states)}
    found = []
    for name in NAMES:
        if name not in at:
            continue
        row, leaves = walks.moves[at[name]], int(walks.leaves[at[name]])
        total = int(row.sum()) + leaves
        for to, share in chain.rows[name].items():
            if total >= 50 and share >= 0.01 and (to == LEAVE or to in at):
                found.append((share, (leaves if to == LEAVE else int(row[at[to]])) / total, total))
    return found


def judged(folder: Path, seeds: range, kind: str, sessions: int = 5_000) -> tuple[int, int, int]:
    """Logs whose kinds and mix are not found, edges, and edges that are off."""
    wrong_mixes = edges = off = 0
    for seed in seeds:
        chains, counts = model_of(folder, seed, kind, sessions)
        starts = np.array([len(one.starts) for one in counts.classes])
        if len(starts) != len(MIX) or np.abs(starts / starts.sum() - MIX).max() > 0.015:
            wrong_mixes += 1
            continue
        found = [[edges_of(one.walks, counts, chain) for chain in chains] for one in counts.classes]
        order = min(
            permutations(range(len(MIX))),
            key=lambda order: sum(
                abs(share - seen) * total for k, one in enumerate(order) for share, seen, total in found[k][one]
            ),
        )
        for k, one in enumerate(order):
            for share, seen, total in found[k][one]:
                edges += 1
                off += abs(seen - share) > max(0.01, 3.5 * sqrt(share * (1 - share) / total))
    return wrong_mixes, edges, off


@pytest.mark.parametrize(
    ("kind", "sessions"), [("alb", 2_500), *(pytest.param(kind, 5_000, marks=pytest.mark.slow) for kind in KINDS)]
)
def test_three_kinds_are_found_again_in_a_log(tmp_path: Path, kind: str, sessions: int) -> None:
    wrong_mixes, edges, off = judged(tmp_path, range(1), kind, sessions)

    assert not wrong_mixes
    assert off <= 0.05 * edges


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_three_kinds_of_200_logs_are_found_again_in_95_percent(tmp_path: Path, kind: str) -> None:
    wrong_mixes, edges, off = judged(tmp_path, range(200), kind)

    assert wrong_mixes <= 10
    assert off <= 0.05 * edges
