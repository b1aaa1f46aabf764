"""What was durable survives a crash, a bad disk says so, and nothing that is not durable counts as such."""

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.errors import ExitCode, StorageError, UsageError
from loadgen.measure.run_folder import rundir
from loadgen.measure.run_folder.rundir import RunDir, find_run, list_runs, new_run_id, replace_file, utc_text
from tests.support.examples import examples

NOW = datetime(2026, 11, 24, 17, 3, 12, 345_678, tzinfo=UTC)


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[RunDir]:
    made = RunDir.create(tmp_path / "runs", "run-1", now=lambda: NOW)
    yield made
    made.close()


def read(path: Path) -> list[bytes]:
    return list(RunDir.open(path).records())


def full_disk(run_dir: RunDir) -> int:
    """Every write from here on meets a device without space; the descriptor of the true log."""
    true_fd, run_dir._fd = run_dir._fd, os.open("/dev/full", os.O_RDWR)
    return true_fd


# -- the log --------------------------------------------------------------------------------


def test_what_was_synced_is_read_back_in_order(run_dir: RunDir) -> None:
    payloads = [bytes([n]) * (n + 1) for n in range(50)]
    for n, payload in enumerate(payloads):
        assert run_dir.append(payload) == n + 1
        if n % 6 == 0:
            assert run_dir.sync() == n + 1
    assert run_dir.durable < 50
    assert run_dir.sync() == run_dir.durable == 50
    assert read(run_dir.path) == payloads


def test_what_was_not_synced_is_not_there(run_dir: RunDir) -> None:
    run_dir.append(b"one")
    run_dir.sync()
    run_dir.append(b"two")
    assert run_dir.durable == 1
    assert read(run_dir.path) == [b"one"]


@settings(max_examples=examples(80))
@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=6), st.data())
def test_torn_log_is_cut_to_its_whole_records_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], data: st.DataObject
) -> None:
    made = RunDir.create(tmp_path_factory.mktemp("runs"), "run")
    for payload in payloads:
        made.append(payload)
    made.sync()
    made.close()
    size = made.log_path.stat().st_size
    kept = data.draw(st.integers(0, size), label="bytes that reached the disk")
    os.truncate(made.log_path, kept)
    ends = [8 + sum(8 + len(p) for p in payloads[: n + 1]) for n in range(len(payloads))]
    whole = [p for p, end in zip(payloads, ends, strict=True) if end <= kept]

    assert read(made.path) == whole
    again = RunDir.open(made.path, writable=True)
    assert again.cut_bytes == max(0, kept - max([8, *(end for end in ends if end <= kept)]))
    again.append(b"after the crash")
    assert again.sync() == 1
    again.close()
    assert read(made.path) == [*whole, b"after the crash"]


@settings(max_examples=examples(80))
@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=6), st.data())
def test_flipped_bit_ends_the_log_and_never_gives_a_wrong_record(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], data: st.DataObject
) -> None:
    made = RunDir.create(tmp_path_factory.mktemp("runs"), "run")
    for payload in payloads:
        made.append(payload)
    made.sync()
    made.close()
    raw = bytearray(made.log_path.read_bytes())
    bit = data.draw(st.integers(8 * 8, len(raw) * 8 - 1), label="bit")
    raw[bit // 8] ^= 1 << bit % 8
    made.log_path.write_bytes(raw)

    found = read(made.path)
    assert found == payloads[: len(found)]
    assert len(found) < len(payloads)
    again = RunDir.open(made.path, writable=True)
    assert again.cut_bytes > 0
    again.close()
    assert made.log_path.stat().st_size == len(raw) - again.cut_bytes


def test_a_log_has_one_writer_and_a_process_that_is_killed_leaves_it_free(run_dir: RunDir) -> None:
    run_dir.append(b"one")
    run_dir.sync()
    with pytest.raises(StorageError, match="another controller"):
        RunDir.open(run_dir.path, writable=True)
    assert read(run_dir.path) == [b"one"], "reading needs no lock"
    run_dir.append(b"two")
    assert run_dir.sync() == 2
    run_dir.close()
    code = f"""
import os, signal
from pathlib import Path
from loadgen.measure.run_folder.rundir import RunDir
kept = RunDir.open(Path({str(run_dir.path)!r}), writable=True)
kept.append(b"three")
kept.sync()
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    again = RunDir.open(run_dir.path, writable=True)
    again.close()
    assert read(run_dir.path) == [b"one", b"two", b"three"]


def test_reading_changes_nothing(run_dir: RunDir) -> None:
    run_dir.append(b"one")
    run_dir.sync()
    with run_dir.log_path.open("ab") as file:
        file.write(b"torn")
    before = run_dir.log_path.read_bytes()
    assert RunDir.open(run_dir.path).cut_bytes == 4
    assert run_dir.log_path.read_bytes() == before


def test_other_file_in_place_of_the_log_is_refused_and_kept(run_dir: RunDir) -> None:
    run_dir.close()
    run_dir.log_path.write_bytes(b"something else entirely")
    for writable in (False, True):
        with pytest.raises(StorageError, match="not a log of deltas"):
            RunDir.open(run_dir.path, writable=writable)
    assert run_dir.log_path.read_bytes() == b"something else entirely"


def test_records_from_many_threads_are_all_there(run_dir: RunDir) -> None:
    """The loop appends while another thread syncs."""

    def append(name: int) -> None:
        for n in range(200):
            run_dir.append(b"%d %d" % (name, n))

    threads = [threading.Thread(target=append, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        run_dir.sync()
    assert run_dir.sync() == 600
    found = read(run_dir.path)
    for name in range(3):
        assert [r for r in found if r.startswith(b"%d " % name)] == [b"%d %d" % (name, n) for n in range(200)]


# -- a disk that fails ----------------------------------------------------------------------


def test_full_disk_is_an_error_that_says_what_to_do(run_dir: RunDir) -> None:
    true_fd = full_disk(run_dir)
    run_dir.append(b"one")
    with pytest.raises(StorageError, match=r"cannot write .*deltas\.log: No space left on device") as caught:
        run_dir.sync()
    assert "make space" in caught.value.hint
    assert caught.value.exit_code is ExitCode.FLEET
    assert run_dir.durable == 0
    os.close(true_fd)


def test_what_met_a_full_disk_is_written_once_there_is_space(run_dir: RunDir) -> None:
    run_dir.append(b"one")
    run_dir.sync()
    true_fd = full_disk(run_dir)
    assert run_dir.append(b"two") == 2
    with pytest.raises(StorageError):
        run_dir.sync()
    assert run_dir.append(b"three") == 3
    os.close(run_dir._fd)
    run_dir._fd = true_fd
    assert run_dir.sync() == 3
    assert read(run_dir.path) == [b"one", b"two", b"three"]


def test_write_that_ends_midway_leaves_no_half_record(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir.append(b"one")
    run_dir.sync()
    true_write, room = os.write, [10]

    def write(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = true_write(fd, bytes(data)[: room[0]])
        room[0] -= written
        return written

    run_dir.append(b"two two two")
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        with pytest.raises(StorageError):
            run_dir.sync()
    assert read(run_dir.path) == [b"one"]
    assert RunDir.open(run_dir.path).cut_bytes == 0
    run_dir.sync()
    assert read(run_dir.path) == [b"one", b"two two two"]


def test_data_are_not_durable_when_the_disk_did_not_confirm_them(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(fd: int) -> None:
        raise OSError(5, "Input/output error")

    run_dir.append(b"one")
    with monkeypatch.context() as patched:
        patched.setattr(rundir, "_fdatasync", failing)
        with pytest.raises(StorageError, match="Input/output error"):
            run_dir.sync()
    assert run_dir.durable == 0
    assert run_dir.sync() == 1
    assert read(run_dir.path) == [b"one"]


def test_events_that_cannot_be_written_do_not_take_back_durable_records(run_dir: RunDir) -> None:
    run_dir.events_path.mkdir()
    run_dir.append(b"one")
    run_dir.event("started")
    with pytest.raises(StorageError, match=r"events\.jsonl"):
        run_dir.sync()
    assert run_dir.durable == 1
    run_dir.events_path.rmdir()
    assert run_dir.sync() == 1
    assert read(run_dir.path) == [b"one"]
    assert run_dir.events_path.read_text().count("started") == 1


def test_folder_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"Not a directory|File exists") as caught:
        RunDir.create(tmp_path / "file", "run")
    assert "--runs-dir" in caught.value.hint
    RunDir.create(tmp_path, "run").close()
    with pytest.raises(StorageError, match="File exists"):
        RunDir.create(tmp_path, "run")


def test_run_that_is_not_there_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file") as caught:
        RunDir.open(tmp_path / "nothing")
    assert "loadgen runs" in caught.value.hint


# -- events, manifest, summary --------------------------------------------------------------


def test_events_are_lines_of_json_with_both_clocks(run_dir: RunDir) -> None:
    run_dir.event("agent lost", agent="a", silent_s=10.5, folder=run_dir.path)
    run_dir.event("done")
    run_dir.sync()
    first, second = (msgspec.json.decode(line) for line in run_dir.events_path.read_bytes().splitlines())
    assert (first["at"], first["kind"], first["agent"], first["silent_s"]) == (
        "2026-11-24T17:03:12.345Z",
        "agent lost",
        "a",
        10.5,
    )
    assert 0 < first["mono_ns"] <= second["mono_ns"]


def test_torn_event_is_cut_and_events_go_on(run_dir: RunDir) -> None:
    run_dir.event("one")
    run_dir.sync()
    run_dir.close()
    with run_dir.events_path.open("ab") as file:
        file.write(b'{"kind":"to')
    again = RunDir.open(run_dir.path, writable=True)
    again.event("two")
    again.sync()
    again.close()
    assert [msgspec.json.decode(line)["kind"] for line in run_dir.events_path.read_bytes().splitlines()] == [
        "one",
        "two",
    ]


def test_sealed_run_holds_everything(run_dir: RunDir) -> None:
    run_dir.write_manifest({"format": 1, "plan": "checkout"})
    run_dir.write_bundle(b"tar")
    run_dir.append(b"one")
    run_dir.event("done")
    run_dir.seal({"format": 1, "result": "passed"})
    opened = RunDir.open(run_dir.path)
    assert opened.read_manifest() == {"format": 1, "plan": "checkout"}
    assert opened.read_summary() == {"format": 1, "result": "passed"}
    assert opened.bundle_path.read_bytes() == b"tar"
    assert list(opened.records()) == [b"one"]
    assert sorted(p.name for p in run_dir.path.iterdir()) == [
        "bundle.tar",
        "deltas.log",
        "events.jsonl",
        "manifest.json",
        "summary.json",
    ]


def test_file_is_replaced_whole_or_not_at_all(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir.write_manifest({"version": 1})

    def failing(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        with pytest.raises(StorageError, match=r"manifest\.json: No space left"):
            run_dir.write_manifest({"version": 2})
    assert run_dir.read_manifest() == {"version": 1}


def test_a_run_folder_of_a_newer_version_is_refused_with_both_formats(run_dir: RunDir) -> None:
    newer = rundir.MANIFEST_FORMAT + 1
    run_dir.write_manifest({"format": newer})

    with pytest.raises(StorageError, match=f"has format {newer}, and this version reads formats up to {newer - 1}"):
        run_dir.read_manifest()
    assert {p.name for p in run_dir.path.iterdir()} == {"deltas.log", "manifest.json"}


def test_summary_that_is_torn_is_said_to_be_so(run_dir: RunDir) -> None:
    run_dir.summary_path.write_text('{"format": 1, "resu')
    with pytest.raises(StorageError, match=r"cannot read .*summary\.json"):
        run_dir.read_summary()


def modes(folder: Path) -> dict[str, int]:
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    return {**found, ".": stat.S_IMODE(folder.stat().st_mode)}


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    """Sets the umask of this process until the end of the test."""
    before = os.umask(0o022)
    yield lambda mask: (os.umask(mask), None)[1]
    os.umask(before)


def filled(runs_dir: Path) -> Path:
    run_dir = RunDir.create(runs_dir, "r1")
    run_dir.write_manifest({})
    run_dir.event("begun")
    run_dir.seal({})
    return run_dir.path


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_a_run_is_its_owners_alone_whatever_the_umask(tmp_path: Path, umask: Callable[[int], None], mask: int) -> None:
    umask(mask)
    path = filled(tmp_path / "runs")
    files = ("manifest.json", "summary.json", "deltas.log", "events.jsonl")
    assert modes(path) == {".": 0o700, **dict.fromkeys(files, 0o600)}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_umask_takes_bits_away_and_is_never_given_back(tmp_path: Path, umask: Callable[[int], None]) -> None:
    umask(0o177)
    path = tmp_path / "file"
    replace_file(path, b"")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    umask(0o277)
    replace_file(path, b"")
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


def test_in_a_teams_folder_of_runs_the_group_may_read_as_far_as_the_umask_lets_it(
    tmp_path: Path, umask: Callable[[int], None]
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    runs.chmod(0o2750)
    umask(0o027)
    path = filled(runs)
    found = modes(path)
    assert found.pop(".") & 0o777 == 0o750
    assert set(found.values()) == {0o640}
    umask(0o077)
    (runs / "r1").rename(runs / "r0")
    assert set(modes(filled(runs)).values()) <= {0o600, 0o700, 0o2700}


def test_a_file_that_is_added_to_a_run_that_was_opened_to_others_may_be_read_by_them(
    tmp_path: Path, umask: Callable[[int], None]
) -> None:
    """Also to a run that an older loadgen has made."""
    umask(0o022)
    path = filled(tmp_path / "runs")
    path.chmod(0o755)
    replace_file(path / "notes.json", b"{}")
    assert modes(path)["notes.json"] == 0o644


def test_a_file_is_not_written_through_a_symbolic_link(tmp_path: Path) -> None:
    path = filled(tmp_path / "runs")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (path / "events.jsonl").unlink()
    (path / "events.jsonl").symlink_to(victim)
    (path / "notes.json").symlink_to(victim)
    run_dir = RunDir(path)
    run_dir.event("again")
    with pytest.raises(StorageError, match=r"events\.jsonl"):
        run_dir.sync()
    replace_file(path / "notes.json", b"{}")
    assert victim.read_text() == "mine"
    assert not (path / "notes.json").is_symlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_runs_that_other_users_keep_to_themselves_are_not_listed(tmp_path: Path) -> None:
    path = filled(tmp_path)
    path.chmod(0)
    try:
        assert list_runs(tmp_path) == []
    finally:
        path.chmod(0o700)


def test_a_run_whose_folder_refuses_is_left_out_of_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)

    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    assert list_runs(tmp_path) == []


# -- names ----------------------------------------------------------------------------------


def test_run_ids_sort_by_time_whatever_the_zone() -> None:
    names = [new_run_id(NOW + timedelta(seconds=n), "x") for n in range(5)]
    assert names == sorted(names)
    assert new_run_id(NOW.astimezone(timezone(timedelta(hours=9))), "x").startswith("20261124-170312-x-")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("checkout.py", "checkout-py"),
        ("../../etc/passwd", "etc-passwd"),
        ("Größe 7", "gr-e-7"),
        ("", None),
        ("??", None),
    ],
)
def test_run_id_is_a_plain_file_name(name: str, slug: str | None) -> None:
    parts = ["20261124", "170312", *([slug] if slug else [])]
    made = new_run_id(NOW, name)
    assert made.rsplit("-", 1)[0] == "-".join(parts)
    assert len(made.rsplit("-", 1)[1]) == 4


def test_runs_are_listed_newest_first(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "nothing") == []
    for name in ("20260101-000000-a-0000", "20260202-000000-a-0000"):
        made = RunDir.create(tmp_path, name)
        made.write_manifest({})
        made.close()
    (tmp_path / "other").mkdir()
    assert [path.name for path in list_runs(tmp_path)] == ["20260202-000000-a-0000", "20260101-000000-a-0000"]


def test_time_is_written_in_utc() -> None:
    assert utc_text(NOW.astimezone(timezone(timedelta(hours=-8)))) == "2026-11-24T17:03:12.345Z"


def test_a_run_is_found_by_id_by_its_beginning_as_the_last_and_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    for name in ("20260101-000000-a-0000", "20260101-000000-b-0000"):
        made = RunDir.create(runs, name)
        made.write_manifest({})
        made.close()
    older, newer = sorted(runs.iterdir())
    assert find_run(older.name, runs) == find_run("20260101-000000-a", runs) == older
    assert find_run("last", runs) == newer
    assert find_run(str(older), Path("elsewhere")) == older
    assert find_run("runs/20260101-000000-a-0000", Path("elsewhere")) == Path("runs/20260101-000000-a-0000")
    with pytest.raises(UsageError, match="2 runs begin with 2026") as caught:
        find_run("2026", runs)
    assert caught.value.hint == f"give more of the id: {newer.name}, {older.name}"
    for name in ("", "x", "../x", "runs"):
        with pytest.raises(UsageError, match="no run"):
            find_run(name, runs)
    with pytest.raises(UsageError, match="no run last"):
        find_run("last", tmp_path / "nothing")


def test_events_are_read_back_and_a_damaged_line_is_named(run_dir: RunDir) -> None:
    assert list(run_dir.read_events()) == []
    run_dir.event("one", agent="a")
    run_dir.event("two")
    run_dir.sync()
    with run_dir.events_path.open("ab") as file:
        file.write(b'{"kind":"torn')
    assert [event["kind"] for event in run_dir.read_events()] == ["one", "two"]
    with run_dir.events_path.open("ab") as file:
        file.write(b"\n")
    with pytest.raises(StorageError, match="line 3"):
        list(run_dir.read_events())
