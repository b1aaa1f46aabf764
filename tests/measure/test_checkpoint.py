"""A merge that was written down and read back goes on as if nothing had happened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure.deltas.custom import CustomStats
from loadgen.measure.deltas.delta import Delta, Health, WorkerHealth
from loadgen.measure.deltas.exemplar import Exemplar
from loadgen.measure.deltas.worker_loss import NOBODY, Loss
from loadgen.measure.merging.checkpoint import Checkpoint, freeze, read_checkpoint, thaw, write_checkpoint
from loadgen.measure.merging.merge import Accepted, Merge
from tests.measure.test_cells import runs
from tests.support.deltas import FakeAgent, request_key
from tests.support.examples import examples


def of(deltas: list[tuple[str, Delta]], merge: Merge | None = None) -> Merge:
    merge = merge or Merge()
    for region, delta in deltas:
        assert merge.accept(region, delta) is Accepted.MERGED
    return merge


def windows_of(merge: Merge) -> list[tuple[int, object]]:
    return [
        (w.k, (dict(w.health), w.counters(), [(key, str(w.histogram(key))) for key in w.keys()]))  # noqa: SIM118
        for w in merge.windows()
    ]


@settings(max_examples=examples(10), deadline=None)
@given(runs(), st.integers(0, 80))
def test_a_merge_read_back_at_any_place_ends_as_one_that_was_never_written(
    deltas: list[tuple[str, Delta]], cut: int
) -> None:
    first, rest = deltas[:cut], deltas[cut:]
    read_back = thaw(freeze(of(first)))
    assert freeze(read_back) == freeze(of(first))
    right, ours = of(deltas), of(rest, read_back)
    assert freeze(ours) == freeze(right)
    first_k = min((window.k for window in of(first).windows()[-5:]), default=0)
    assert windows_of(ours) == [one for one in windows_of(right) if one[0] >= first_k]
    assert all(ours.accept(region, delta) is not Accepted.MERGED for region, delta in deltas)


def test_everything_that_an_agent_says_is_in_it() -> None:
    """One of each; what is not told in the tests above."""
    agent = FakeAgent("a")
    health = Health(unfit=("lag p99 12 ms of 100 ms",), notes=("s.py:3 (browse) blocked the event loop for 2 s",))
    delta = replace(
        agent.delta({request_key(): [5_000_000]}, health=health),
        losses=(Loss(0, 2, 7, 5, NOBODY, 1, "was killed by SIGKILL"),),
        workers=(WorkerHealth(1, 3, health),),
        custom=(CustomStats("orders", "counter", 1, 5), CustomStats("queue", "gauge", 2, 0, 1.5, 2.5, 2.0)),
        exemplars=(
            Exemplar("shop", "", "GET /", "ok", "slowest", 0, 1, 0, 5_000_000),
            Exemplar("shop", "", "GET /", "http 503", "failed", 0, 2, 0, 5_000_000),
            Exemplar("shop", "", "GET /", "ok", "random", 0, 3, 0, 5_000_000),
        ),
    )
    merge = of([("eu", delta)])
    ours = thaw(freeze(merge))
    assert ours.losses("a") == merge.losses("a") != ()
    assert ours.fitness == merge.fitness
    assert ours.fitness["a"].causes == {"lag": 1}
    assert ours.worker_fitness == merge.worker_fitness != {}
    assert ours.custom == merge.custom
    assert list(ours.exemplars) == list(merge.exemplars)
    assert len(list(ours.exemplars)) == 3


def test_a_file_that_was_cut_or_lost_a_bit_is_none(tmp_path: Path) -> None:
    path, made = tmp_path / "checkpoint", Checkpoint(100, 200, freeze(Merge()), b"extra")
    assert read_checkpoint(path) is None
    write_checkpoint(path, made)
    assert read_checkpoint(path) == made
    sound = path.read_bytes()
    for at in range(len(sound)):
        path.write_bytes(sound[:at])
        assert read_checkpoint(path) is None
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 16]) + sound[at + 1 :])
        assert read_checkpoint(path) is None


def test_that_of_another_version_is_none(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    write_checkpoint(path, Checkpoint(100, 200, b"", version="0.0.0-older"))
    assert read_checkpoint(path) is None
