"""Files go on where they were interrupted, both ways, are sent once, and are never believed: against moto's S3."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadgen.aws.account.boto_clients import Clients
from loadgen.aws.storage import s3 as ours
from loadgen.aws.storage.s3 import Bucket, hashed
from loadgen.errors import CloudError, StorageError
from tests.support.aws import BUCKET, REGION, client, emptied, isolated, running_aws

DATA = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()
NAME = "run/deltas.log"
LONG = bytes(range(256)) * (11 << 12)
MIB_5 = 5 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_aws() as url:
        yield url


class Stage:
    def __init__(self, url: str, folder: Path) -> None:
        self.s3 = client(url, "s3")
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        clients = Clients()
        self.bucket, self.folder = Bucket(f"s3://{BUCKET}", clients, REGION), folder
        self.sent: list[tuple[str, dict[str, Any]]] = []
        events = clients.client("s3", REGION).meta.events
        events.register("provide-client-params.s3.*", self._on_call)
        self.stop_after: int | None = None

    def _on_call(self, params: dict[str, Any], model: Any, **_: object) -> None:
        self.sent.append((model.name, params))
        if self.stop_after is not None and len(self.calls("UploadPart")) > self.stop_after:
            raise KeyboardInterrupt

    def calls(self, name: str) -> list[dict[str, Any]]:
        return [params for called, params in self.sent if called == name]

    def put(self, data: bytes) -> None:
        path = self.folder / "a"
        path.write_bytes(data)
        self.bucket.put(NAME, path, hashed(path)[1])

    def interrupted(self, data: bytes, after: int) -> None:
        self.stop_after = after
        with pytest.raises(KeyboardInterrupt):
            self.put(data)
        self.stop_after = None
        self.sent.clear()

    def get(self) -> bool:
        return self.bucket.get(NAME, self.folder / "back", len(DATA), SHA256)

    def there(self) -> bytes:
        return bytes(self.s3.get_object(Bucket=BUCKET, Key=NAME)["Body"].read())


@pytest.fixture
def stage(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    isolated(monkeypatch, tmp_path, emptied(server))
    monkeypatch.setattr(ours, "PART_BYTES", MIB_5)
    return Stage(server, tmp_path)


@pytest.mark.parametrize("data", [DATA[:-1] + b"x", DATA + b"x", b""])
def test_what_is_not_what_it_should_be_is_not_taken_whatever_s3_says(stage: Stage, data: bytes) -> None:
    stage.s3.put_object(Bucket=BUCKET, Key=NAME, Body=data)
    assert not stage.get()
    assert not list(stage.folder.glob("back*"))


def test_download_goes_on_where_it_was_interrupted(stage: Stage) -> None:
    stage.put(DATA)
    (stage.folder / "back.part").write_bytes(DATA[:1234])
    assert stage.get()
    assert [call.get("Range") for call in stage.calls("GetObject")] == ["bytes=1234-"]
    assert (stage.folder / "back").read_bytes() == DATA


@pytest.mark.parametrize("rest", [b"of another time", DATA, DATA + b"too much"])
def test_rest_of_another_time_costs_one_more_try_and_no_wrong_file(stage: Stage, rest: bytes) -> None:
    stage.put(DATA)
    (stage.folder / "back.part").write_bytes(rest)
    assert stage.get()
    assert (stage.folder / "back").read_bytes() == DATA
    assert not (stage.folder / "back.part").exists()


@pytest.mark.parametrize("already", [0, 1, 2])
def test_upload_that_was_interrupted_sends_what_is_missing_and_nothing_twice(stage: Stage, already: int) -> None:
    stage.interrupted(LONG, after=already)
    stage.put(LONG)
    assert [call["PartNumber"] for call in stage.calls("UploadPart")] == list(range(already + 1, 4))
    assert stage.there() == LONG
    assert stage.bucket.sha256(NAME) == hashlib.sha256(LONG).hexdigest()
    assert "Uploads" not in stage.s3.list_multipart_uploads(Bucket=BUCKET)


@pytest.mark.parametrize("other", [b"x" + LONG, LONG[: MIB_5 + 1], LONG + LONG])
def test_upload_that_was_begun_of_another_content_is_never_mixed_with_ours(stage: Stage, other: bytes) -> None:
    stage.interrupted(LONG, after=2)
    stage.put(other)
    assert stage.there() == other


def test_upload_of_a_longer_name_is_not_taken_for_ours(stage: Stage) -> None:
    stage.s3.create_multipart_upload(Bucket=BUCKET, Key=f"{NAME}.old")
    stage.put(LONG)
    assert stage.there() == LONG
    assert len(stage.s3.list_multipart_uploads(Bucket=BUCKET)["Uploads"]) == 1


def test_what_cannot_be_found_or_read_is_said(stage: Stage) -> None:
    with pytest.raises(CloudError, match="NoSuchKey"):
        stage.get()
    assert stage.bucket.sha256(NAME) == ""
    with pytest.raises(StorageError, match="cannot read"):
        stage.bucket.put(NAME, stage.folder / "none", SHA256)
