"""G26, F36: an agent with a good key that sends legal but huge messages harms nobody but itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter

import pytest

from loadgen.errors import ExitCode
from loadgen.wire.messages import Rejected
from loadgen.wire.v1 import wire_pb2 as pb
from loadgen_controller.run.conductor import Result
from tests.controller.conftest import Play
from tests.support import insider
from tests.support.fake_agent import FakeAgent
from tests.support.wire import until

pytestmark = pytest.mark.usefixtures("small_heap")

Stage = Callable[..., Play]
MEMORY_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Attack:
    """messages: of (run id, agent, epoch). words: in the notice, after the agent's name.

    is_slow: what was within the limit, 20,000 series, takes 6 s to seal.
    """

    name: str
    messages: Callable[[str, str, int], Iterable[bytes]]
    words: str
    is_slow: bool = False


def sent(kind: pb.Type, message: Callable[[str], object]) -> Callable[[str, str, int], Iterable[bytes]]:
    return lambda run_id, agent, epoch: [insider.envelope(kind, message(run_id).SerializeToString())]  # type: ignore[attr-defined]


def delta(other: Callable[[], Mapping[str, object]]) -> Callable[[str, str, int], Iterable[bytes]]:
    """other: makes the fields when the test runs: some are large, and each worker of pytest imports this module."""
    return lambda run_id, agent, epoch: [insider._delta(run_id, agent, epoch, 0, **other())]


ATTACKS = [
    Attack(
        "a name of 12 MB",
        lambda run_id, agent, epoch: insider.named(run_id, agent, epoch, 12_000_000),
        "SeriesKey.request is 12,000,000 bytes long: the limit is 256",
    ),
    Attack(
        "a name of 257 bytes",
        lambda run_id, agent, epoch: insider.named(run_id, agent, epoch, 257),
        "SeriesKey.request is 257 bytes long: the limit is 256",
    ),
    Attack(
        "120,000 custom metrics in one message",
        lambda run_id, agent, epoch: insider.many_customs(run_id, agent, epoch, 120_000, 120_000),
        "Delta.custom is more than 9,000 entries long: the limit is 9,000",
    ),
    Attack(
        "120,000 custom metrics in 600 messages",
        lambda run_id, agent, epoch: insider.many_customs(run_id, agent, epoch, 120_000, 200),
        "custom metrics of one agent is 1,200: the limit is 1,000",
    ),
    Attack(
        "120,000 series in one message",
        lambda run_id, agent, epoch: insider.many_series(run_id, agent, epoch, 120_000, 120_000),
        "Delta.new_series is more than 20,000 entries long: the limit is 20,000",
    ),
    Attack(
        "120,000 series in 24 messages",
        lambda run_id, agent, epoch: insider.many_series(run_id, agent, epoch, 120_000, 5_000),
        "series of one agent is 25,000: the limit is 20,000",
        is_slow=True,
    ),
    Attack(
        "16 MB of empty parts in 1 kB",
        lambda run_id, agent, epoch: [insider.unfolding(16 << 20)],
        "Delta.custom is more than 9,000 entries long: the limit is 9,000",
    ),
    Attack(
        "a note of 2 MB",
        sent(pb.TYPE_HEARTBEAT, lambda run_id: pb.Heartbeat(run_id=run_id, phase="running", note="n" * 2_000_000)),
        "Heartbeat.note is 2,000,000 bytes long: the limit is 1,024",
    ),
    Attack(
        "20,000 notes",
        delta(lambda: {"health": pb.Health(notes=[f"note {n}" for n in range(20_000)])}),
        "Health.notes is more than 100 entries long: the limit is 100",
    ),
    Attack(
        "1,000,000 tags",
        delta(lambda: {"new_series": insider.series("GET /", tags=[pb.Tag()] * 1_000_000)}),
        "SeriesKey.tags is more than 20 entries long: the limit is 20",
    ),
    Attack(
        "due counts of journeys that are not there",
        delta(lambda: {"due": [pb.DueCounts(journey=f"j{n}", good=1) for n in range(10_000)]}),
        'DueCounts.objective is 0 of journey "j0": the limit is the plan\'s 1 objectives, and its journeys',
    ),
    Attack(
        "due counts a year ahead",
        delta(lambda: {"due": [pb.DueCounts(journey="shop", k=256 * n, good=1) for n in range(20_000)]}),
        "DueCounts.k is 256, an interval after the end of the delta: the limit is 1, where the delta ends",
    ),
    Attack(
        "a process of more CPUs than there are",
        delta(lambda: {"health": pb.Health(cpu_share=1e308)}),
        "Health.cpu_share is 1e+308: the limit is 0 to 1e+06",
    ),
    Attack(
        "a share that is no number",
        delta(lambda: {"health": pb.Health(steal_share=float("nan"))}),
        "steal_share is nan",
    ),
    Attack("a negative share", delta(lambda: {"health": pb.Health(cpu_share=-1)}), "is -1: the limit is 0 to 1e+06"),
    Attack(
        "gauges that add up to infinity",
        delta(lambda: {"custom": [pb.CustomStats(name="left", kind="gauge", n=1, low=1, high=1e308, last=1e308)]}),
        "CustomStats.high is 1e+308: the limit is -1e+300 to 1e+300",
    ),
    Attack(
        "counters near 64 bits",
        delta(lambda: {"counters": pb.Counters(iterations_started=1 << 62)}),
        "Delta.iterations_started is 4,611,686,018,427,387,904: the limit is 1,099,511,627,776",
    ),
    Attack(
        "a load steered beyond its plan",
        sent(pb.TYPE_STEERED, lambda run_id: pb.Steered(run_id=run_id, known=1, rate_per_s=1e308)),
        "Steered.rate_per_s is 1e+308: the limit is 0 to 1e+09",
    ),
    Attack(
        "a worker that no agent has",
        sent(pb.TYPE_WAITING, lambda run_id: pb.Waiting(run_id=run_id, worker=1 << 31)),
        "Waiting.worker is 2147483648: the limit is 1,023",
    ),
    Attack(
        "100,000 rendez-vous",
        sent(
            pb.TYPE_WAITING,
            lambda run_id: pb.Waiting(
                run_id=run_id, points=[pb.WaitingAt(name=f"p{n}", users=1) for n in range(100_000)]
            ),
        ),
        "Waiting.points is more than 50 entries long: the limit is 50",
    ),
    Attack(
        "100,000 faults",
        sent(
            pb.TYPE_REFUSED,
            lambda run_id: pb.Refused(run_id=run_id, faults=[pb.Fault(message="m")] * 100_000),
        ),
        "Refused.faults is more than 100 entries long: the limit is 100",
    ),
    Attack(
        "a shared value of 15 MB",
        sent(pb.TYPE_SET_UP_DONE, lambda run_id: pb.SetUpDone(run_id=run_id, value_json=b"1" * 15_000_000)),
        "SetUpDone.value_json is 15,000,000 bytes long: the limit is 4,194,304",
    ),
]


async def a_good_life(play: Play, a: FakeAgent, iterations: int = 10) -> Result:
    """What the other agent does, as if nothing had happened. iterations: due to it in each second."""
    for _ in range(3):
        a.recording.interval(iterations)
    await a.deliver()
    await until(lambda: a.acked >= 2)
    await a.finish()
    return await play.result_in_time(a)


def assert_exact(play: Play, a: FakeAgent) -> None:
    merge, fin = play.conductor.view().merge, a.recording.fin()
    assert merge.counters(agent="a") == fin.totals
    assert merge.epochs("a")[0].recorded == fin.recorded


@pytest.mark.fault("F36", "legal but huge messages of a keyed agent")
@pytest.mark.parametrize(
    "attack",
    [pytest.param(one, id=one.name, marks=[pytest.mark.slow] if one.is_slow else []) for one in ATTACKS],
)
async def test_g26_f36_the_agent_is_quarantined_and_named_and_the_other_stays_exact(
    attack: Attack, stage: Stage
) -> None:
    play = stage()
    a, b = await play.started()
    messages = list(attack.messages(b.recording.run_id, "b", 1))
    assert sum(map(len, messages)) < 4_000_000
    cost, began = insider.Cost(), perf_counter()
    for data in messages:
        await b.send_bytes(data)
    why = (await b.next(Rejected)).reason
    took_s, peak_bytes = perf_counter() - began, cost.peak_bytes
    print(f"{attack.name}: {peak_bytes / (1 << 20):.1f} MiB, {took_s * 1e3:.0f} ms")
    assert attack.words in why
    assert peak_bytes < MEMORY_BYTES
    assert any("messages of agent b are ignored for 60 s" in text and attack.words in text for text in notices(play))
    result = await a_good_life(play, a)
    assert_exact(play, a)
    assert result.exit_code is ExitCode.INCOMPLETE
    assert any("b" in reason for reason in result.verdict.reasons), result.verdict.reasons


HELLOS: list[tuple[dict[str, float | str], str]] = [
    ({"weight": 1e308}, "Hello.weight is 1e+308: the limit is a number above 0, at most 1024"),
    ({"weight": -1.0}, "Hello.weight is -1: the limit is a number above 0, at most 1024"),
    ({"weight": 0.0}, "Hello.weight is 0: the limit is a number above 0, at most 1024"),
    ({"weight": float("inf")}, "weight is inf: the limit is a finite number"),
    ({"weight": float("nan")}, "weight is nan: the limit is a finite number"),
    ({"host": "h" * 300}, "Hello.host is 300 bytes long: the limit is 256"),
    ({"python": "p" * 300}, "Hello.python is 300 bytes long: the limit is 256"),
    ({"instance_type": "i" * 12_000_000}, "Hello.instance_type is 12,000,000 bytes long: the limit is 256"),
]


@pytest.mark.fault("F36", "a weight that takes the whole region")
@pytest.mark.parametrize(("field", "words"), HELLOS, ids=[words.partition(":")[0][:40] for _, words in HELLOS])
async def test_g26_f36_an_agent_with_an_impossible_hello_gets_no_share(
    field: dict[str, float | str], words: str, stage: Stage
) -> None:
    play = stage(regions={"eu": 1.0})
    greedy = play.agent("greedy", "eu")
    cost = insider.Cost()
    await greedy.send_bytes(insider.hello("greedy", "eu", **field))
    assert words in (await greedy.next(Rejected)).reason
    assert cost.peak_bytes < MEMORY_BYTES
    assert any("messages of agent greedy are ignored" in text and words in text for text in notices(play))
    a = play.agent("a", "eu")
    await a.start()
    assert play.conductor.run.members == ("a",)
    play.clock.jump(1)
    result = await a_good_life(play, a, iterations=20)
    assert_exact(play, a)
    assert result.exit_code is ExitCode.PASSED


async def test_g26_a_delta_that_is_sent_again_does_not_count_twice(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """105 series are within a limit of 200, and 210 are not. The real one is a hundred times as high."""
    monkeypatch.setattr("loadgen_controller.run.delta_admission.SERIES_OF_AGENT", 200)
    play = stage()
    a, b = await play.started()
    (data,) = insider.many_series(b.recording.run_id, "b", 1, 105, 105)
    for _ in range(2):
        await b.send_bytes(data)
    await play.trouble("duplicate")
    await b.acknowledged(0)
    assert not play.conductor.rejected_input.get("over a limit")
    play.hub.lose("b", "it has done enough")
    await a_good_life(play, a)
    assert_exact(play, a)


def notices(play: Play) -> tuple[str, ...]:
    return tuple(play.conductor.view().notices)
