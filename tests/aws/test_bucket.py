"""Runs into a bucket and back, against a small S3 that computes each signature itself."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen.aws.account import boto_clients
from loadgen.aws.storage import s3 as ours
from loadgen.aws.storage.s3 import Bucket, parse_url
from loadgen.errors import CloudDenied, StorageError, UsageError
from loadgen.measure.run_folder.rundir import RunDir
from loadgen_controller import cli
from tests.support.s3 import ACCESS, S3, SECRET, Stored, running_s3

OLD = Path(__file__).parents[1] / "data" / "runs" / "20261124-browse-format-1"
RUN = "20261124-210823-browse-1ba6"
URL = "s3://loads/team/"
FILES = ["bundle.tar", "deltas.log", "events.jsonl", "histograms.hlog", "manifest.json", "summary.json"]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3]:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with running_s3() as state:
        monkeypatch.setenv("AWS_ENDPOINT_URL", state.url)
        yield state


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path(shutil.copytree(OLD, Path("runs") / RUN))
    (path / "failures").mkdir()
    (path / "failures" / "eu-1.json").write_text("{}")
    (path / "agents").mkdir()
    (path / "agents" / "eu.err").write_text("what an agent wrote")
    (path / "checkpoint").write_text("derived")
    (path / "shared.json").write_text('{"token": "of the set-up"}')
    return path


def loadgen(*args: str | Path) -> Result:
    result = CliRunner().invoke(cli.app, [str(a) for a in args], env={"COLUMNS": "200"})
    assert SECRET not in result.output
    assert SECRET not in result.stderr
    return result


def test_run_that_was_pushed_comes_back_the_same_and_only_what_is_needed_travels(s3: S3, run: Path) -> None:
    pushed = loadgen("runs", "push", "last", "s3://loads/team")
    assert pushed.exit_code == 0, pushed.stderr
    assert s3.keys() == sorted(f"team/{RUN}/{name}" for name in (*FILES, "contents.json", "failures/eu-1.json"))

    pulled = loadgen("runs", "pull", "20261124", URL, "--runs-dir", "elsewhere")
    assert pulled.exit_code == 0, pulled.stderr
    back = Path("elsewhere") / RUN
    for name in (*FILES, "failures/eu-1.json"):
        assert (back / name).read_bytes() == (run / name).read_bytes()
    assert [path.name for path in Path("elsewhere").iterdir()] == [RUN]
    assert loadgen("runs", "show", back).exit_code == 0
    assert s3.refused == []


def test_run_that_is_there_is_not_sent_again_but_what_has_changed_is(s3: S3, run: Path) -> None:
    loadgen("runs", "push", "last", URL)
    s3.requests.clear()
    again = loadgen("runs", "push", "last", URL)
    assert "0 files, 0.0 MB, uploaded" in again.output
    assert "7 were already there" in again.output
    assert s3.sent("PUT") == [f"/loads/team/{RUN}/contents.json"]

    loadgen("runs", "label", "last", "release=1.4")
    changed = (run / "summary.json").read_bytes().replace(b"failed", b"FAILED", 1)
    (run / "summary.json").write_bytes(changed)  # as long as it was
    s3.requests.clear()
    loadgen("runs", "push", "last", URL)
    assert [path.rpartition("/")[2] for path in s3.sent("PUT")] == ["summary.json", "notes.json", "contents.json"]


def test_push_that_was_interrupted_goes_on_and_until_then_is_no_run_to_pull(s3: S3, run: Path) -> None:
    s3.denied_after = 3
    broken = loadgen("runs", "push", "last", URL)
    assert broken.exit_code == 5
    assert "AWS returned AccessDenied" in broken.stderr
    assert len(s3.keys()) == 3
    half = loadgen("runs", "pull", RUN, URL, "--runs-dir", "elsewhere")
    assert (half.exit_code, "is incomplete: contents.json is missing" in half.stderr) == (5, True)
    assert not Path("elsewhere").exists()

    s3.denied_after = None
    s3.requests.clear()
    assert "3 were already there" in loadgen("runs", "push", "last", URL).output
    assert len(s3.sent("PUT")) == 5
    assert loadgen("runs", "pull", RUN, URL, "--runs-dir", "elsewhere").exit_code == 0


def test_pull_that_was_interrupted_keeps_what_came_and_goes_on(s3: S3, run: Path) -> None:
    loadgen("runs", "push", "last", URL)
    log = f"team/{RUN}/deltas.log"
    whole = s3.buckets["loads"][log]
    s3.buckets["loads"][log] = Stored(whole.data[:-1], whole.headers)
    torn = loadgen("runs", "pull", RUN, URL, "--runs-dir", "elsewhere")
    assert (torn.exit_code, "is damaged" in torn.stderr) == (5, True)
    partial = Path("elsewhere") / f".{RUN}.partial"
    assert sorted(path.name for path in partial.iterdir()) == ["bundle.tar", "manifest.json"]
    assert loadgen("runs", "list", "--runs-dir", "elsewhere").exit_code == 0

    (partial / "stray.txt").write_text("of another time")
    s3.buckets["loads"][log] = whole
    s3.requests.clear()
    assert "2 were already there" in loadgen("runs", "pull", RUN, URL, "--runs-dir", "elsewhere").output
    assert f"/loads/team/{RUN}/bundle.tar" not in s3.sent("GET")
    assert sorted(path.name for path in (Path("elsewhere") / RUN).iterdir()) == sorted([*FILES, "failures"])


def test_file_that_was_changed_in_the_bucket_is_not_taken(s3: S3, run: Path) -> None:
    loadgen("runs", "push", "last", URL)
    key = f"team/{RUN}/summary.json"
    stored = s3.buckets["loads"][key]
    stored.data = stored.data.replace(b"failed", b"passed", 1)
    result = loadgen("runs", "pull", RUN, URL, "--runs-dir", "elsewhere")
    assert (result.exit_code, f"{URL}{RUN}/summary.json is damaged" in result.stderr) == (5, True)
    assert not (Path("elsewhere") / RUN).exists()


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "failures/../../evil.json", "shared.json", "failures/.x.json"]
)
def test_bucket_cannot_write_outside_of_the_run(s3: S3, run: Path, name: str) -> None:
    loadgen("runs", "push", "last", URL)
    stored = s3.buckets["loads"][f"team/{RUN}/contents.json"]
    contents = json.loads(stored.data)
    contents["files"][name] = {"bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    stored.data = json.dumps(contents).encode()
    s3.buckets["loads"][f"team/{RUN}/{name}"] = Stored(b"x", {})
    result = loadgen("runs", "pull", RUN, URL, "--runs-dir", "elsewhere")
    assert (result.exit_code, "is not a file of a run folder" in result.stderr) == (5, True)
    assert not Path("elsewhere").exists()


@pytest.mark.parametrize("contents", [b"", b"{", b"[]", b'{"format": 9, "run_id": "x", "files": {}}'])
def test_contents_that_cannot_be_read_are_named(s3: S3, run: Path, contents: bytes) -> None:
    loadgen("runs", "push", "last", URL)
    s3.buckets["loads"][f"team/{RUN}/contents.json"].data = contents
    result = loadgen("runs", "pull", RUN, URL, "--runs-dir", "elsewhere")
    assert (result.exit_code, "contents.json" in result.stderr) == (5, True)


def test_long_files_are_sent_in_parts(s3: S3, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "PART_BYTES", 5 << 20)
    data = bytes(range(256)) * (11 << 12)
    (run / "bundle.tar").write_bytes(data)
    assert loadgen("runs", "push", "last", URL).exit_code == 0
    assert len([path for method, path in s3.requests if method == "PUT" and "partNumber=" in path]) == 3
    assert s3.buckets["loads"][f"team/{RUN}/bundle.tar"].data == data
    assert loadgen("runs", "pull", "last", URL, "--runs-dir", "elsewhere").exit_code == 0
    s3.requests.clear()
    loadgen("runs", "push", "last", URL)
    assert s3.sent("PUT") == [f"/loads/team/{RUN}/contents.json"]


def test_runs_in_a_bucket_are_found_by_how_they_begin_over_several_pages(s3: S3, run: Path) -> None:
    for n in range(5):
        shutil.copytree(OLD, Path("runs") / f"20261123-00000{n}-browse-0000")
        loadgen("runs", "push", f"20261123-00000{n}", URL)
    loadgen("runs", "push", RUN, URL)
    many = loadgen("runs", "pull", "20261123", URL, "--runs-dir", "elsewhere")
    assert (many.exit_code, "5 runs in s3://loads/team/ begin with 20261123" in many.stderr) == (2, True)
    assert "no run 2025" in loadgen("runs", "pull", "2025", URL).stderr
    assert "invalid run id" in loadgen("runs", "pull", "../x", URL).stderr
    last = loadgen("runs", "pull", "last", URL, "--runs-dir", "elsewhere")
    assert (last.exit_code, (Path("elsewhere") / RUN).exists()) == (0, True)
    there = loadgen("runs", "pull", RUN, URL, "--runs-dir", "elsewhere")
    assert (there.exit_code, "exists already" in there.stderr) == (2, True)


def test_report_is_read_by_whoever_has_the_address_until_it_expires(s3: S3, run: Path) -> None:
    result = loadgen("runs", "share", "last", URL, "--expires", "2d")
    assert result.exit_code == 0, result.stderr
    (address,) = result.stdout.split()
    assert "everybody with this link can read the report for 48h" in result.stderr
    with urllib.request.urlopen(address) as answer:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert b"<title>" in answer.read()
    for wrong in (address.replace("report.html", "summary.json"), address.partition("?")[0]):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(wrong)
    s3.later = timedelta(days=3)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address)


def test_address_says_when_it_ends_with_the_credentials(s3: S3, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "passing")
    assert "stops working when they expire" in loadgen("runs", "share", "last", URL).stderr


# -- what can be wrong ------------------------------------------------------------------------------


def test_wrong_arguments_are_said_at_once(run: Path) -> None:
    result = loadgen("runs", "share", "none", "gs://loads", "--expires", "8d")
    assert result.exit_code == 2
    for what in ("no run none", "invalid S3 address", "S3 links are valid for 1s to 7d"):
        assert what in result.stderr


def test_run_that_goes_on_is_not_sent(s3: S3, run: Path) -> None:
    folder = RunDir.open(run, writable=True)
    for command in ("push", "share"):
        result = loadgen("runs", command, "last", URL)
        assert (result.exit_code, "is still going on" in result.stderr) == (2, True)
    folder.close()
    assert s3.requests == []


def test_wrong_credentials_are_told_with_what_to_do_and_without_their_text(
    s3: S3, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another/secret")
    result = loadgen("runs", "push", "last", URL)
    assert result.exit_code == 2
    assert "AWS returned SignatureDoesNotMatch" in result.stderr
    assert "another/secret" not in result.stderr
    assert ACCESS not in result.stderr
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    none = loadgen("runs", "push", "last", URL)
    assert (none.exit_code, "AWS_PROFILE" in none.stderr) == (2, True)


def test_bucket_that_is_not_there_and_endpoint_that_is_not_there_are_told(
    s3: S3, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "AWS returned NoSuchBucket" in loadgen("runs", "push", "last", "s3://others/x").stderr
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(boto_clients, "TRIES", 1)
    gone = loadgen("runs", "push", "last", URL)
    assert (gone.exit_code, "EndpointConnectionError" in gone.stderr) == (5, True)


def test_without_boto3_it_is_said_how_to_get_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    result = loadgen("runs", "push", "last", URL)
    assert (result.exit_code, "install the extra `aws`: " in result.stderr) == (2, True)


def test_addresses_of_buckets() -> None:
    assert parse_url("s3://loads") == parse_url("s3://loads/") == ("loads", "")
    assert parse_url("s3://loads/a/b/") == ("loads", "a/b/")
    for wrong in ("s3://", "s3:/loads", "https://loads", "s3://Up/x", "loads/x"):
        with pytest.raises(ValueError, match="s3://bucket/prefix"):
            parse_url(wrong)
        with pytest.raises(UsageError):
            Bucket(wrong)


def test_object_that_is_too_long_is_not_read_whole(s3: S3, tmp_path: Path) -> None:
    bucket = Bucket(URL)
    bucket.put_bytes("long", b"x" * 100)
    with pytest.raises(StorageError, match="more than 10 bytes"):
        bucket.read("long", 10)
    assert not bucket.get("long", tmp_path / "file", 10, hashlib.sha256(b"x" * 10).hexdigest())
    assert not list(tmp_path.glob("file*"))


def test_what_is_put_as_new_is_never_put_over_another(s3: S3) -> None:
    bucket = Bucket(URL)

    assert bucket.put_new("a.json", b"first")
    assert not bucket.put_new("a.json", b"second")

    assert bucket.read("a.json", 100) == b"first"
    s3.denied.add("PUT")
    with pytest.raises(CloudDenied, match=r"cannot send s3://loads/team/b\.json: AWS returned AccessDenied"):
        bucket.put_new("b.json", b"third")


def test_push_of_a_long_file_goes_on_with_the_part_it_was_at(
    s3: S3, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tags of this bucket say nothing, as where a key of KMS is used: parts are known by their SHA-256."""
    monkeypatch.setattr(ours, "PART_BYTES", 5 << 20)
    data = bytes(range(256)) * (11 << 12)
    (run / "bundle.tar").write_bytes(data)
    s3.denied_after = 3  # manifest.json and two parts
    assert loadgen("runs", "push", "last", URL).exit_code == 5

    s3.denied_after = None
    s3.requests.clear()
    assert loadgen("runs", "push", "last", URL).exit_code == 0
    parts = [path for method, path in s3.requests if method == "PUT" and "partNumber=" in path]
    assert [path.partition("partNumber=")[2][:1] for path in parts] == ["3"]
    assert s3.buckets["loads"][f"team/{RUN}/bundle.tar"].data == data


def test_pull_goes_on_in_the_middle_of_a_file(s3: S3, run: Path) -> None:
    loadgen("runs", "push", "last", URL)
    whole = (run / "deltas.log").read_bytes()
    partial = Path("elsewhere") / f".{RUN}.partial"
    partial.mkdir(parents=True)
    (partial / "deltas.log.part").write_bytes(whole[:100])
    assert loadgen("runs", "pull", RUN, URL, "--runs-dir", "elsewhere").exit_code == 0
    assert (Path("elsewhere") / RUN / "deltas.log").read_bytes() == whole
    assert not list((Path("elsewhere") / RUN).glob("*.part"))


def test_who_may_write_and_not_list_uploads_begins_anew(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "PART_BYTES", 5 << 20)
    (tmp_path / "long").write_bytes(bytes(6 << 20))
    s3.denied.add("GET")
    Bucket(URL).put("long", tmp_path / "long", "noted")
    assert len(s3.buckets["loads"]["team/long"].data) == 6 << 20


def test_a_refused_look_at_an_object_is_told_although_its_answer_has_no_body(s3: S3) -> None:
    s3.denied.add("HEAD")
    with pytest.raises(CloudDenied, match=r"cannot read the metadata of s3://loads/team/a\.json: AWS returned 403"):
        Bucket(URL).sha256("a.json")
