"""What of a run's folder is carried, and how one arrives: whole or not at all, and nothing beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.errors import StorageError
from loadgen.measure.run_folder.transfer import PIECE_BYTES, Coming, is_needed, needed, pieces_of


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with a log of several pieces, an empty file, a failure, and what is not for others."""
    path = tmp_path / "there" / "20261124-120000-shop-0001"
    (path / "failures").mkdir(parents=True)
    (path / "deltas.log").write_bytes(bytes(range(256)) * (2 * PIECE_BYTES // 256) + b"and a rest")
    (path / "manifest.json").write_text("{}")
    (path / "events.jsonl").write_text("")
    (path / "failures" / "0001.json").write_text("{}")
    for name in ("control.sock.json", "agent-a.log", "failures/.hidden.json"):
        (path / name).write_text("of a run that goes on")
    return path


def test_folder_arrives_as_it_was_sent_without_what_is_not_for_others(run: Path, tmp_path: Path) -> None:
    coming = Coming(tmp_path / "here", run.name)
    with coming:
        for name, piece in pieces_of(run):
            assert len(piece) <= PIECE_BYTES
            coming.add(name, piece)
    assert coming.path == tmp_path / "here" / run.name
    assert sorted(needed(coming.path)) == ["deltas.log", "events.jsonl", "failures/0001.json", "manifest.json"]
    assert all((coming.path / name).read_bytes() == (run / name).read_bytes() for name in needed(run))
    assert [one.name for one in (tmp_path / "here").iterdir()] == [run.name]


def test_traces_and_what_they_show_are_carried_and_nothing_beside_them(run: Path) -> None:
    (run / "traces").mkdir()
    for name in ("cause.json", "traces/staging-00001.jsonl.zst", "traces/notes.txt", "traces/.x-00001.jsonl.zst"):
        (run / name).write_text("{}")
    found = set(needed(run))
    assert found >= {"cause.json", "traces/staging-00001.jsonl.zst"}
    assert not found & {"traces/notes.txt", "traces/.x-00001.jsonl.zst"}
    assert not is_needed("traces/../x-00001.jsonl.zst")


def test_folder_that_does_not_arrive_whole_is_not_there(run: Path, tmp_path: Path) -> None:
    coming = Coming(tmp_path / "here", run.name)

    def broken_off() -> None:
        with coming:
            coming.add(*next(pieces_of(run)))
            raise ConnectionError

    with pytest.raises(ConnectionError):
        broken_off()
    assert list((tmp_path / "here").iterdir()) == []
    assert not coming.is_there


def test_what_one_that_was_killed_has_left_is_in_nobodys_way(run: Path, tmp_path: Path) -> None:
    left = tmp_path / "here" / f".{run.name}.coming"
    left.mkdir(parents=True)
    (left / "deltas.log").write_text("half of it")
    with Coming(tmp_path / "here", run.name) as coming:
        for piece in pieces_of(run):
            coming.add(*piece)
    assert (coming.path / "deltas.log").read_bytes() == (run / "deltas.log").read_bytes()


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "failures/../../x.json", "failures/a/b.json", "", "x" * 300, "agent-a.log"]
)
def test_name_that_is_no_file_of_a_run_is_refused(tmp_path: Path, name: str) -> None:
    assert not is_needed(name)
    with pytest.raises(StorageError, match="is not a file of a run"), Coming(tmp_path / "here", "run") as coming:
        coming.add(name, b"x")
    assert list((tmp_path / "here").iterdir()) == []


def test_file_that_comes_twice_is_refused(tmp_path: Path) -> None:
    """A sender of ours sends each once; of another its second one would be added to the first, or replace it."""
    with Coming(tmp_path / "here", "run") as coming:
        coming.add("manifest.json", b"{}")
        coming.add("summary.json", b"{}")
        with pytest.raises(StorageError):
            coming.add("manifest.json", b"{}")


@pytest.mark.parametrize("name", ["", "..", "../elsewhere", "a/b", ".hidden", "x" * 200])
def test_name_that_is_no_runs_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="cannot receive a run: invalid run id"):
        Coming(tmp_path, name)
