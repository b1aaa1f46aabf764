"""The sample of sessions: whole ones, the same for any order of the lines and any key of the users' hashes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadgen.traffic.read_logs import read_logs
from loadgen.traffic.reading.log_options import LogOptions, ModelRules
from loadgen.traffic.rows.rows import ROW
from loadgen.traffic.sessions.second_pass import SessionRule, Visits, visits_of
from loadgen.traffic.sessions.session_sample import SampledSessions, SessionSampler
from tests.support.made_logs import SHOP, lines_of, written_log

S = 1_000_000


def partitions(sessions: int, seed: int, parts: int = 8) -> list[Visits]:
    """Users with one session each of 1 to 5 requests, in `parts` partitions by user."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 6, sessions)
    rows = np.zeros(int(lengths.sum()), ROW)
    rows["user"] = np.repeat(rng.permutation(sessions), lengths)
    rows["start"] = rng.integers(0, 36_000 * S, len(rows)) // 100 + np.repeat(np.arange(sessions) * S, lengths)
    rows["path"] = rng.integers(0, 7, len(rows))
    rows["status"] = 200
    rule = SessionRule(1_800 * S, -(10**12), 10**12)
    part = rows["user"] % parts
    return [visits_of(rows[part == n], np.arange(7), rule) for n in range(parts)]


def sampled(visits: list[Visits], **most: int) -> SampledSessions:
    sampler = SessionSampler(**most)
    for one in visits:
        sampler.add(one)
    return sampler.sample()


def test_a_sample_has_all_sessions_of_a_small_log() -> None:
    visits = partitions(500, 1)

    sample = sampled(visits)

    assert sample.is_all
    assert sample.table.count == sum(len(one.sessions.first) for one in visits)
    assert len(sample.table.state) == sum(len(one.start) for one in visits)


@pytest.mark.parametrize("most", [{"sessions": 100}, {"requests": 300}, {"sessions": 100, "requests": 150}])
def test_a_smaller_sample_is_a_part_of_the_larger_one_in_any_order(most: dict[str, int]) -> None:
    visits = partitions(2_000, 2)
    every = sampled(visits)

    one, other = sampled(visits, **most), sampled(visits[::-1], **most)

    assert not one.is_all
    assert 0 < one.table.count <= most.get("sessions", 2_000)
    assert len(one.table.state) <= most.get("requests", 20_000)
    for name in ("bounds", "start", "state", "status"):
        assert np.array_equal(getattr(one.table, name), getattr(other.table, name))
    assert set(one.hashes.tolist()) == set(np.sort(every.hashes)[: one.table.count].tolist())


def test_a_session_that_is_larger_than_the_limit_is_a_sample() -> None:
    assert sampled(partitions(50, 3), requests=1).table.count == 1


def test_sessions_of_the_sample_have_all_their_requests() -> None:
    visits = partitions(2_000, 4)
    lengths = dict(
        pair
        for one in visits
        for pair in zip(one.start[one.sessions.first].tolist(), one.sessions.length.tolist(), strict=True)
    )

    table = sampled(visits, sessions=200).table

    assert [lengths[start] for start in table.starts.tolist()] == np.diff(table.bounds).tolist()


def test_the_key_of_the_users_does_not_change_the_sample(tmp_path: Path) -> None:
    log = written_log(lines_of(SHOP, 200, 2), tmp_path / "a.log", "alb")
    options = LogOptions(model=ModelRules())

    one, other = (read_logs([log], options, salt=salt).model for salt in (b"1" * 32, b"2" * 32))

    assert one is not None
    assert other is not None
    assert np.array_equal(one.sample.table.start, other.sample.table.start)
    assert np.array_equal(one.sample.hashes, other.sample.hashes)
