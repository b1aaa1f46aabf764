"""The store: what is written is read again, nothing is changed, and what cannot be read is said."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from math import inf, isnan, nan
from pathlib import Path

import pytest

from loadgen.errors import CloudDenied, CloudError, IncompleteError, InvalidError, StorageError, UsageError
from loadgen.history.store.parquet_run import FORMAT, from_parquet, to_parquet
from loadgen.history.store.store import ACCEPTED, IN_SPITE, PINNED, Store
from loadgen.history.store.stored_run import Accepted, Event, Key, ObjectiveVerdict
from loadgen.history.store.write_once_storage import place_of
from tests.support.accepted import KEY, accepted, history
from tests.support.s3 import ACCESS, S3, SECRET, running_s3

NAMES = {"checkout": 200.0, "checkout > login": 100.0}
FLEET = replace(KEY, placement="fleet", instances="c7g.xlarge")


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3]:
    with running_s3() as s3:
        yield s3


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "folder":
        return Store.open(str(tmp_path / "history"))
    return Store.open(in_bucket(request.getfixturevalue("bucket"), monkeypatch))


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    """For what is the same wherever it is."""
    return Store.open(str(tmp_path / "history"))


def in_bucket(s3: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of its own in it."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3.url,
        "AWS_ACCESS_KEY_ID": ACCESS,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    s3.buckets["loads"].clear()
    return "s3://loads/team/history"


def file_of(folder: Path, run_id: str) -> Path:
    (found,) = folder.glob(f"runs/*/{run_id}.parquet")
    return found


def ids(runs: list[Accepted]) -> list[str]:
    return [run.run_id for run in runs]


# -- what is written is read again ---------------------------------------------------------------------


def test_a_run_comes_back_as_it_was(store: Store) -> None:
    run = accepted(
        NAMES,
        regions={"eu-west-1": NAMES},
        agents={("eu-west-1", "a1"): NAMES},
        failed={"checkout": 30},
        others={"p99": {"checkout": inf}},
        commit="4f2a+",
        labels={"release": "1.4", "team": "käse 購入"},
        reasons=("p95 is 200 ms",),
        result="failed",
        planned_rate=200.0,
    )
    run = replace(run, errors=tuple(replace(one, error=0.25) for one in run.errors))

    assert store.add(run)
    assert store.runs(KEY, is_whole=True) == [run]
    assert store.get([run.run_id]) == [run]
    (together,) = store.runs(KEY)
    assert {(one.region, one.agent) for one in together.figures} == {("*", "*")}
    assert together == replace(run, figures=tuple(one for one in run.figures if one.region == "*"))


def test_what_has_no_number_comes_back_without_one() -> None:
    run = accepted({"checkout": 200.0}, error=nan, why="too short", planned_rate=nan, achieved_rate=nan)

    back = from_parquet(to_parquet(run))

    assert all(isnan(one.error) and one.why == "too short" for one in back.figures)
    assert all(isnan(one.error) for one in back.errors)
    assert isnan(back.planned_rate)
    assert isnan(back.achieved_rate)
    assert to_parquet(back) == to_parquet(run)


def test_a_run_without_any_figure_comes_back() -> None:
    run = accepted({})

    assert from_parquet(to_parquet(run)) == run


def test_a_history_as_of_a_time_has_what_was_recorded_until_then_and_is_only_read(tmp_path: Path) -> None:
    then = datetime(2026, 11, 10, tzinfo=UTC)
    place, (first, second, third) = place_of(str(tmp_path)), history(3, NAMES)
    early = Store(place, lambda: "2026-11-09T00:00:00Z")
    late = Store(place, lambda: "2026-11-11T00:00:00Z")
    early.add(first)
    early.add_study({"kind": "sweep"})
    late.add(second)
    late.strike(first.run_id, "a deployment ran beside it")
    late.pin([second.run_id], "1.4")
    late.add_study({"kind": "sweep"})
    place.put_new(f"runs/key={KEY.hash()}/{third.run_id}.parquet", to_parquet(third))  # its writer stopped

    store = Store(place, as_of=then)

    assert store.run_ids() == [first.run_id, third.run_id]
    assert (store.struck(), store.references(KEY)) == ({}, [])
    assert [one.id for one in store.studies()] == ["C-1"]
    assert [event.kind for event in store.events()] == [ACCEPTED]
    assert Store(place, as_of=datetime(2026, 10, 1, tzinfo=UTC)).run_ids() == []
    with pytest.raises(ValueError, match="only read"):
        store.note(Event("verdict", ""))


def test_runs_come_oldest_first_and_the_newest_are_asked_for(store: Store) -> None:
    runs = history(7, NAMES)
    for run in reversed(runs):
        store.add(run)

    assert ids(store.runs(KEY)) == ids(runs)
    assert ids(store.runs(KEY, newest=3)) == ids(runs[-3:])
    assert store.runs(KEY, newest=0) == []


def test_only_the_newest_are_read(tmp_path: Path) -> None:
    """Who asks for three of a thousand does not wait for a thousand: the others may even be damaged."""
    store, runs = Store.open(str(tmp_path)), history(5, NAMES)
    for run in runs:
        store.add(run)
    for run in runs[:2]:
        file_of(tmp_path, run.run_id).write_bytes(b"")

    assert ids(store.runs(KEY, newest=3)) == ids(runs[2:])
    assert store.unreadable == ()


def test_runs_of_another_key_are_not_among_them(store: Store) -> None:
    store.add(accepted(NAMES, run_id="20261101-1-a"))
    store.add(accepted(NAMES, run_id="20261101-2-b", key=FLEET))

    assert ids(store.runs(KEY)) == ["20261101-1-a"]
    assert ids(store.runs(FLEET)) == ["20261101-2-b"]
    assert set(store.keys()) == {KEY, FLEET}


def test_keys_with_the_most_runs_come_first(folder: Store) -> None:
    for run in (*history(1, NAMES), *history(2, NAMES, first=1, key=FLEET)):
        folder.add(run)

    assert folder.keys() == [FLEET, KEY]


def test_a_run_that_is_there_stays_as_it_was(store: Store) -> None:
    run = accepted(NAMES)

    assert store.add(run)
    assert not store.add(replace(run, labels={"late": "yes"}))
    (kept,) = store.runs(KEY)
    assert to_parquet(kept) == to_parquet(run)  # since nan is not equal to itself
    assert [event.kind for event in store.events()] == [ACCEPTED]


def test_nothing_is_made_before_something_is_written(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "history"))

    assert (store.keys(), store.runs(KEY), store.events(), store.references(KEY)) == ([], [], [], [])
    assert not (tmp_path / "history").exists()


def test_files_are_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    store.add(accepted(NAMES))

    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert [name.partition("/")[0] for name in names] == ["events", "runs"]
    assert names[1] == f"runs/key={KEY.hash()}/20261101-120000-shop-0001.parquet"


# -- what cannot be read -------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["empty", "torn", "longer", "another file"])
def test_a_damaged_run_is_left_out_and_named(tmp_path: Path, damage: str) -> None:
    store, runs = Store.open(str(tmp_path)), history(3, NAMES)
    for run in runs:
        store.add(run)
    path = file_of(tmp_path, runs[1].run_id)
    data = path.read_bytes()
    broken = {
        "empty": b"",
        "torn": data[: len(data) // 2],
        "longer": data + b"0",
        "another file": b"PAR1 is how it begins, and it is none PAR1",
    }
    path.write_bytes(broken[damage])

    assert ids(store.runs(KEY)) == [runs[0].run_id, runs[2].run_id]
    (trouble,) = store.unreadable
    assert f"{runs[1].run_id}.parquet is damaged" in trouble


def test_a_byte_that_is_not_as_it_was_never_gives_another_run() -> None:
    """It is seen, or it is of what is not read."""
    run = accepted(NAMES, regions={"eu": NAMES}, labels={"release": "1.4"})
    run = replace(run, errors=tuple(replace(one, error=0.25) for one in run.errors))
    data = to_parquet(run)
    seen = 0
    for n in range(0, len(data), 13):
        broken = data[:n] + bytes([data[n] ^ 0x55]) + data[n + 1 :]
        try:
            back = from_parquet(broken, is_whole=True)
        except ValueError:
            seen += 1
            continue
        assert back == run, n
    assert seen > len(data) / 13 / 3


def test_a_damaged_run_does_not_hide_the_key_of_the_others(tmp_path: Path) -> None:
    store, runs = Store.open(str(tmp_path)), history(2, NAMES)
    for run in runs:
        store.add(run)
    file_of(tmp_path, runs[1].run_id).write_bytes(b"")

    assert store.keys() == [KEY]


def test_a_run_of_a_newer_loadgen_is_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(str(tmp_path))
    with monkeypatch.context() as newer:
        newer.setattr("loadgen.history.store.parquet_run.FORMAT", FORMAT + 1)
        store.add(accepted(NAMES))

    assert store.runs(KEY) == []
    (trouble,) = store.unreadable
    assert "was written by a newer loadgen: it has format 2, and this loadgen reads formats up to 1" in trouble


def test_a_damaged_event_is_left_out_and_named(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    store.add(accepted(NAMES))
    (path,) = (tmp_path / "events").iterdir()
    path.write_text(path.read_text()[:30])

    assert store.events() == []
    assert "is damaged" in store.unreadable[0]


def test_files_that_are_not_ours_are_none(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    store.add(accepted(NAMES))
    (tmp_path / "runs" / "notes.txt").write_text("mine")
    (tmp_path / "events" / "README").write_text("mine")
    (tmp_path / "runs" / f"key={KEY.hash()}" / ".x.parquet.1a.tmp").write_text("torn")

    assert (len(store.runs(KEY)), len(store.events()), store.unreadable) == (1, 1, ())


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "history").write_text("a file")
    with pytest.raises(UsageError, match="is a file"):
        Store.open(str(tmp_path / "history"))
    with pytest.raises(StorageError, match="cannot write") as wrong:
        Store.open(str(tmp_path / "history" / "below")).add(accepted(NAMES))
    assert "--store" in wrong.value.hint


@pytest.mark.parametrize("url", ["", "gs://bucket/x", "s3://", "s3://UPPER"])
def test_what_is_no_place_is_told(url: str) -> None:
    with pytest.raises(UsageError):
        Store.open(url)


def test_a_bucket_that_refuses_is_told(bucket: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(in_bucket(bucket, monkeypatch))
    bucket.denied.add("PUT")
    try:
        with pytest.raises(CloudDenied, match="AWS returned AccessDenied"):
            store.add(accepted(NAMES))
    finally:
        bucket.denied.clear()
    with pytest.raises(CloudError, match="NoSuchBucket"):
        Store.open("s3://nobody/history").keys()


# -- two at once -----------------------------------------------------------------------------------------


def _add_all(url: str, runs: list[Accepted], barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    store = Store.open(url)
    added = [store.add(run, by=str(os.getpid())) for run in runs]
    for run in runs[:1]:
        store.strike(run.run_id, "two at once")
    print(sum(added))


@pytest.mark.quiet
@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_of_two_who_write_at_once_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: S3, where: str
) -> None:
    url = str(tmp_path) if where == "folder" else in_bucket(bucket, monkeypatch)
    both, own = history(4, NAMES), [history(3, NAMES, first=4), history(3, NAMES, first=7)]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    writers = [context.Process(target=_add_all, args=(url, both + mine, barrier)) for mine in own]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)

    store = Store.open(url)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert ids(store.runs(KEY)) == ids([*both, *own[0], *own[1]][1:])
    accepted_ids = [event.run_ids[0] for event in store.events(ACCEPTED)]
    assert sorted(accepted_ids) == sorted({*accepted_ids})
    assert len(accepted_ids) == 10
    assert set(store.struck()) == {run.run_id for run in both[:1]}
    assert store.unreadable == ()


# -- what may come in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "error", "because_helps"),
    [
        (accepted(NAMES, result="invalid", validity="invalid", reasons=("lag",)), InvalidError, False),
        (accepted(NAMES, result="failed", validity="invalid", reasons=("lag",)), InvalidError, False),
        (accepted(NAMES, result="incomplete", reasons=("a1 was lost",)), IncompleteError, False),
        (accepted(NAMES, result="interrupted"), IncompleteError, False),
        (accepted({}, result="failed", reasons=("none of 150 requests succeeded",)), InvalidError, False),
        (accepted(NAMES, achieved_rate=150.0), InvalidError, True),
        (accepted(NAMES, faults=("warm-up was left in",)), InvalidError, True),
    ],
)
def test_an_unfit_run_is_refused_with_its_reason(
    tmp_path: Path, run: Accepted, error: type[Exception], because_helps: bool
) -> None:
    store = Store.open(str(tmp_path))

    with pytest.raises(error, match="cannot be accepted: "):
        store.add(run)
    if not because_helps:
        with pytest.raises(error):
            store.add(run, because="I say so")
        assert store.keys() == []
        return
    assert store.add(run, because="known since 1.3", by="ana")
    (event,) = store.events(IN_SPITE)
    assert (event.because, event.by, event.run_ids) == ("known since 1.3", "ana", (run.run_id,))
    assert event.details["unfit"]


def test_an_id_that_would_lead_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="invalid run id"):
        Store.open(str(tmp_path / "history")).add(accepted(NAMES, run_id="../../elsewhere"))
    assert list(tmp_path.iterdir()) == []


def test_who_has_no_history_is_told_how_to_begin(store: Store) -> None:
    assert store.why_none(KEY) == (
        f"there are no accepted runs in {store} yet; accept one with `loadgen history add RUN --store {store}`"
    )


def test_an_embedded_run_before_a_fleets_history_is_told_in_words(folder: Store) -> None:
    for run in history(2, NAMES, key=FLEET):
        folder.add(run)

    assert folder.runs(KEY) == []
    assert folder.why_none(KEY) == (
        f"none of the 2 accepted runs in {folder} can be compared with it; the nearest 2 differ:"
        " placement: embedded here, fleet there; machines: x86_64, 2 cpus here, c7g.xlarge there"
    )
    assert folder.why_none(FLEET) == ""


def test_the_nearest_keys_come_first(folder: Store) -> None:
    faster = replace(KEY, plan=KEY.plan.replace("200/s", "250/s"), rate="250/s")
    elsewhere = replace(KEY, target="staging")
    for n, key in enumerate([FLEET, faster, elsewhere]):
        folder.add(accepted(NAMES, run_id=f"20261101-{n}-x", key=key))

    near = folder.matching(KEY)

    assert near[0].key == elsewhere
    assert [len(one.differences) for one in near] == [1, 2, 2]
    assert folder.matching(faster)[0].differences == ()


# -- struck, pinned, noted -------------------------------------------------------------------------------


def test_a_struck_run_is_in_no_comparison_and_says_why(store: Store) -> None:
    runs = history(3, NAMES)
    for run in runs:
        store.add(run)

    assert store.strike(runs[2].run_id, "the database was being copied", by="ana")
    assert not store.strike(runs[2].run_id, "again")

    assert ids(store.runs(KEY)) == ids(runs[:2])
    assert ids(store.runs(KEY, newest=2)) == ids(runs[:2])
    assert {one: (e.because, e.by) for one, e in store.struck().items()} == {
        runs[2].run_id: ("the database was being copied", "ana")
    }
    assert ids(store.get([runs[2].run_id])) == [runs[2].run_id]


def test_striking_needs_a_run_and_a_reason(folder: Store) -> None:
    folder.add(accepted(NAMES))

    with pytest.raises(UsageError, match="needs a reason"):
        folder.strike("20261101-120000-shop-0001", " ")
    with pytest.raises(UsageError, match="no accepted run"):
        folder.strike("20261101-120000-shop-9999", "because")


def test_a_key_of_which_all_runs_are_struck_is_none(folder: Store) -> None:
    run = accepted(NAMES)
    folder.add(run)
    folder.strike(run.run_id, "wrong target")

    assert folder.keys() == []
    assert folder.why_none(KEY).startswith("there are no accepted runs")


def test_a_reference_is_pinned_and_pinned_anew(folder: Store) -> None:
    runs = history(4, NAMES)
    for run in runs:
        folder.add(run)

    folder.pin(ids(runs[:2]), "1.3", by="ana")
    folder.pin(ids(runs[2:3]), "1.4")
    folder.pin(ids(runs[1:2]), "1.3")

    assert [(one.name, one.run_ids) for one in folder.references(KEY)] == [
        ("1.4", (runs[2].run_id,)),
        ("1.3", (runs[1].run_id,)),
    ]
    assert folder.references(FLEET) == []
    assert [event.by for event in folder.events(PINNED)] == ["ana", "", ""]


def test_a_run_that_is_struck_later_leaves_its_reference(folder: Store) -> None:
    runs = history(2, NAMES)
    for run in runs:
        folder.add(run)
    folder.pin(ids(runs), "1.3")
    folder.pin(ids(runs[:1]), "1.2")

    folder.strike(runs[0].run_id, "wrong")

    assert [(one.name, one.run_ids) for one in folder.references(KEY)] == [("1.3", (runs[1].run_id,))]


def test_what_cannot_be_a_reference_is_refused(folder: Store) -> None:
    one, other = accepted(NAMES, run_id="20261101-1-a"), accepted(NAMES, run_id="20261101-2-b", key=FLEET)
    struck = accepted(NAMES, run_id="20261101-3-c")
    for run in (one, other, struck):
        folder.add(run)
    folder.strike(struck.run_id, "wrong")

    for run_ids, told in [
        ([], "at least one run"),
        (["20261101-9-z", "20261101-8-y"], "no accepted run 20261101-9-z, 20261101-8-y"),
        ([one.run_id, other.run_id], "cannot be one reference: placement: embedded here, fleet there"),
        ([struck.run_id], "struck because wrong"),
    ]:
        with pytest.raises(UsageError, match=told):
            folder.pin(run_ids, "1.3")
    with pytest.raises(UsageError, match="needs a name"):
        folder.pin([one.run_id], " ")


def test_events_are_kept_whole_and_found_by_kind(store: Store) -> None:
    verdict = Event("verdict", "2026-11-26T01:30:00.123Z", "ci", ("a", "b"), "", {"outcome": "FAIL", "name": "käse"})
    control = replace(verdict, kind="control", at="2026-11-26T01:31:00.000Z")

    assert store.note(control) == control
    store.note(verdict)

    assert store.events() == [verdict, control]
    assert store.events("control") == [control]
    assert store.events("verdict", "control") == [verdict, control]
    assert store.note(Event("verdict", "")).at.endswith("Z")


def test_a_run_is_found_by_how_its_id_begins(folder: Store) -> None:
    for run in history(3, NAMES):
        folder.add(run)

    assert folder.find("last") == "20261101-020000-shop-0002"
    assert folder.find("20261101-01") == "20261101-010000-shop-0001"
    with pytest.raises(UsageError, match="3 accepted runs begin with 2026"):
        folder.find("2026")
    with pytest.raises(UsageError, match="no accepted run 1999"):
        folder.find("1999")


# -- for others ----------------------------------------------------------------------------------------


def test_a_newer_field_of_an_event_is_no_trouble(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    store.note(Event("verdict", "2026-11-26T01:30:00Z"))
    (path,) = (tmp_path / "events").iterdir()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mood": "good"}))

    assert store.events() == [Event("verdict", "2026-11-26T01:30:00Z")]


def test_the_files_are_one_flat_table_that_others_read(tmp_path: Path) -> None:
    """As DuckDB and Athena do: the key of a run is the folder's name."""
    dataset = pytest.importorskip("pyarrow.dataset")
    store = Store.open(str(tmp_path))
    for run in (*history(2, NAMES, labels={"release": "1.4"}), *history(1, NAMES, first=2, key=FLEET)):
        store.add(run)

    table = dataset.dataset(tmp_path / "runs", format="parquet", partitioning="hive").to_table()
    rows = [row for row in table.to_pylist() if row["name"] == "checkout" and row["statistic"] == "p95"]

    assert {(row["run_id"], row["key"], row["placement"]) for row in rows} == {
        ("20261101-000000-shop-0000", KEY.hash(), "embedded"),
        ("20261101-010000-shop-0001", KEY.hash(), "embedded"),
        ("20261101-020000-shop-0002", FLEET.hash(), "fleet"),
    }
    assert all(150 < row["value_ms"] < 250 for row in rows)
    assert {row["labels"] for row in rows} == {'{"release":"1.4"}', "{}"}


def test_a_key_has_the_columns_of_its_parts() -> None:
    """So that SQL can ask for them."""
    from loadgen.history.store.parquet_run import COLUMNS

    assert set(Key.__slots__) <= {name for name, _ in COLUMNS}


def test_runs_with_a_label_are_found_over_all_keys_without_struck_ones(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "history"))
    ours = [
        replace(run, labels={"release": "v412"}, objectives=(ObjectiveVerdict("p(99) < 300ms", "passed", "checkout"),))
        for run in history(3, {"checkout": 100.0})
    ]
    for run in (*ours, *history(2, {"checkout": 100.0}, first=3)):
        store.add(run)
    store.strike(ours[1].run_id, "a deployment ran beside it")

    assert store.runs_with_label("release", "v412") == [ours[0], ours[2]]
    assert store.runs_with_label("release", "v41") == []
