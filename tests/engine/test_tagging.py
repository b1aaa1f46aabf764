"""The limits on tags of one worker: whatever values a scenario meets, the number of series is known before the run."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.tagging import MAX_PARTS, MAX_TAGGED_SERIES, Tagging, TagSpec, looks_like_id
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import UsageError
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.series_key import OK, OTHER, UNTAGGED, Kind, SeriesKey, Tags
from loadgen.measure.histograms.histogram import Histogram
from loadgen.measure.merging.merge import Merge

TENANT = TagSpec(name="tenant", values=("gold", "silver", "free"))
KIND = TagSpec(name="kind", values=("first", "more"))
ZONE = TagSpec(name="zone", header="x-zone", most=3)


class FakeReply:
    """A request that ended ok."""

    outcome, size_bytes, first_byte_ns, trace = OK, 10, 0, ""

    def __init__(self, series: RequestSeries, asked_ns: int, done_ns: int) -> None:
        self.series, self.asked_ns, self.sent_ns, self.done_ns = series, asked_ns, asked_ns + 1, done_ns


def meter_of(*specs: TagSpec, recorder: Recorder | None = None) -> Meter:
    meter = Meter(recorder or Recorder(tagging=Tagging(specs, is_strict=True)))
    meter.begin("shop", warmup=False, pool_limited=False)
    return meter


def request(meter: Meter, name: str = "GET /", zone: str | None = None, ms: int = 1, **tags: str) -> SeriesKey:
    series = meter.ask(name)
    if tags:
        series = series.marked(tags)
    if zone is not None:
        series = series.split((("x-zone", zone),), 0)
    meter.hold(FakeReply(series, 0, ms * 1_000_000))
    meter.settle()
    return series.key


def keys(delta: Delta) -> set[Tags]:
    return {key.tags for key in delta.new_series if key.metric == "response"}


def test_an_undeclared_value_is_counted_in_other_and_noted_once() -> None:
    meter = meter_of(TENANT)
    for value in ("platinum", "bronze", "platinum"):
        meter.begin("shop", warmup=False, pool_limited=False)
        meter.tag("tenant", value)
        request(meter)
    assert keys(meter.recorder.flip(0, 1)) == {(("tenant", OTHER),)}
    assert meter.recorder.take_notes() == (
        'tag tenant: values that are not declared are in (other), such as "platinum"',
    )


def test_the_order_of_the_calls_does_not_matter() -> None:
    meter = meter_of(TENANT, KIND)
    meter.tag("kind", "more")
    meter.tag("tenant", "gold")
    assert request(meter).tags == (("tenant", "gold"), ("kind", "more"))
    assert request(meter, kind="first").tags == (("tenant", "gold"), ("kind", "first"))
    meter.tag("tenant", "free")
    assert request(meter).tags == (("tenant", "free"), ("kind", "more"))
    meter.begin("shop", warmup=False, pool_limited=False)
    assert request(meter).tags == ()


def test_a_header_keeps_its_first_values_for_each_row() -> None:
    meter = meter_of(TENANT, ZONE)
    zones = [request(meter, zone=f"z{n}").tags[-1][1] for n in range(6)]
    assert zones == ["z0", "z1", "z2", OTHER, OTHER, OTHER]
    meter.tag("tenant", "gold")  # another part of the same row
    assert request(meter, zone="z5").tags == (("tenant", "gold"), ("zone", OTHER))
    assert request(meter, zone="z0").tags == (("tenant", "gold"), ("zone", "z0"))
    assert request(meter, "POST /", zone="z5").tags == (("tenant", "gold"), ("zone", "z5"))


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"tennant": "gold"}, 'the plan declares no tag "tennant"'),
        ({"tenant": 3}, 'tag "tenant": 3 is not a text'),
        ({"tenant": ["gold"]}, "tag \"tenant\": ['gold'] is not a text"),
        ({"zone": "eu"}, 'tag "zone" is read from a response header'),
        ("tenant", "tags='tenant' must be a dictionary"),
    ],
)
def test_wrong_tags_of_a_request_are_errors_of_the_scenario(tags: dict[str, str], message: str) -> None:
    meter = meter_of(TENANT, ZONE)
    request(meter, tenant="gold")  # so that the quick way is tried first
    with pytest.raises(UsageError) as caught:
        meter.ask("GET /").marked(tags)
    assert str(caught.value).startswith(message)


def test_a_row_has_at_most_100_combinations() -> None:
    headers = [TagSpec(name=name, header=name, most=20) for name in ("x-a", "x-b")]
    meter = meter_of(*headers)
    for n in range(400):
        series = meter.ask("GET /").split((("x-a", f"{n % 20}"), ("x-b", f"{n // 20}")), 0)
        meter.hold(FakeReply(series, 0, 1_000_000))
    meter.settle()
    found = keys(meter.recorder.flip(0, 1))
    assert len(found) == MAX_PARTS + 1
    assert (("x-a", OTHER), ("x-b", OTHER)) in found
    assert meter.recorder.take_notes() == ("more than 100 combinations of tags for GET /: the rest is in (other)",)


def test_a_worker_has_at_most_2000_tagged_series() -> None:
    meter = meter_of(TagSpec(name="n", values=tuple(map(str, range(100)))))
    for n in range(100):
        meter.begin("shop", warmup=False, pool_limited=False)
        meter.tag("n", str(n))
        for name in range(30):
            request(meter, f"GET /{name}")
    found = [key for key in meter.recorder.flip(0, 1).new_series if key.metric == "response"]
    assert sum(key.tags[0][1] != OTHER for key in found) == MAX_TAGGED_SERIES
    assert sum(key.tags[0][1] == OTHER for key in found) == 30
    notes = [note for note in meter.recorder.take_notes() if "tagged" in note]
    assert notes == ["more than 2,000 tagged series in a worker: the rest is in (other)"]


def test_a_million_values_keep_the_memory_flat() -> None:
    meter = meter_of(TENANT, ZONE)

    def meet(values: range) -> None:
        for n in values:
            meter.begin("shop", warmup=False, pool_limited=False)
            meter.tag("tenant", f"t{n}")
            meter.ask("GET /").marked({"tenant": f"u{n}"}).split((("x-zone", f"z{n}"),), 0)

    meet(range(1_000))
    tracemalloc.start()
    meet(range(1_000, 7_000))  # what does not grow in 6,000 does not grow in a million
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 64 * 1024
    assert 'tag tenant: "t0" looks like' not in "".join(meter.recorder.take_notes())


def test_many_new_values_are_noted_as_ids() -> None:
    meter = meter_of(TENANT)
    for n in range(100):
        meter.tag("tenant", f"name {n}")
    assert 'tag tenant: "name 50" looks like an id; write user.note(tenant=...) for ids' in meter.recorder.take_notes()


@pytest.mark.parametrize(
    ("value", "is_id"),
    [
        ("2f1c7f0e-9a3b-4d7c-8a51-0d5c7e4b9f10", True),
        ("4711000", True),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", True),
        ("9e107d9d372bb6826bd81d3542a419d6", True),
        ("gold", False),
        ("eu-west-1", False),
        ("2026", False),
    ],
)
def test_ids_look_like_ids(value: str, is_id: bool) -> None:
    assert looks_like_id(value) is is_id


# -- the untagged row is exact ----------------------------------------------------------------------


def wander(recorder: Recorder, random: Random, specs: Sequence[TagSpec], untagged: Recorder) -> None:
    """Record the same iterations with tags and without."""
    meters = Meter(recorder, (("load", "day"),)), Meter(untagged, (("load", "day"),))
    for meter in meters:
        meter.begin("shop", warmup=False, pool_limited=False)
    for _ in range(random.randrange(8)):
        if specs and random.random() < 0.5:
            spec = random.choice(specs)
            if spec.values:
                meters[0].tag(spec.name, random.choice([*spec.values, "another"]))
        ms, name = random.randrange(1, 5_000), random.choice(["GET /a", "GET /b"])
        tags = {"kind": random.choice(["first", "more", "none of them"])} if random.random() < 0.3 else {}
        zone = random.choice([None, *"abcdef"])
        outer = [meter.enter("pay") for meter in meters] if random.random() < 0.4 else None
        request(meters[0], name, zone, ms, **tags)
        request(meters[1], name, None, ms)
        if outer is not None:
            for meter, back in zip(meters, outer, strict=True):
                meter.leave(back, ms * 1_000_000, ms * 1_000_000, OK, False)


def parts(merge: Merge, kind: Kind, name: str) -> list[tuple[list[tuple[int, int]], list[tuple[int, int]]]]:
    """For each row: its buckets, and the sum of the buckets over the values of a tag and over the rest."""
    found = []
    for row in merge.rows(kind):
        values = [*merge.row_tags(row).get(name, ()), UNTAGGED]
        total = Histogram()
        for value in values:
            for part in merge.select_row(row, tags=((name, value),)):
                total.add_histogram(part)
        found.append((buckets(merge.select_row(row)), buckets((total,))))
    return found


def buckets(histograms: Sequence[Histogram]) -> list[tuple[int, int]]:
    total = Histogram()
    for one in histograms:
        total.add_histogram(one)
    slots, counts = total.sparse()
    return list(zip(slots.tolist(), counts.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(12))
def test_sums_over_a_tag_equal_the_untagged_row_bucket_by_bucket(seed: int) -> None:
    random = Random(seed)
    specs = (TENANT, KIND, ZONE)
    with_tags, without = Merge(1_000_000_000), Merge(1_000_000_000)
    for worker in range(3):
        recorder = Recorder(tagging=Tagging(specs, is_strict=True))
        plain = Recorder()
        for second in range(1, 4):
            if worker == 2 and second == 3:
                continue  # a killed worker reports no more
            for _ in range(30):
                wander(recorder, random, specs, plain)
            for merge, one in ((with_tags, recorder), (without, plain)):
                start, end = (second - 1) * 1_000_000_000, second * 1_000_000_000
                merge.accept("eu", replace(one.flip(start, end), agent=f"agent-{worker}", epoch=1))
    kinds: tuple[Kind, ...] = ("step", "request")
    for kind in kinds:
        for name in ("tenant", "kind", "zone", "load"):
            for row, added in parts(with_tags, kind, name):
                assert row == added
        assert set(with_tags.rows(kind)) == set(without.rows(kind))
        for plain_row in without.rows(kind):
            assert buckets(with_tags.select_row(plain_row)) == buckets(without.select_row(plain_row))
