"""Content under its own hash: never written twice, never believed, and going on where it was interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadgen.aws import artefacts as ours
from loadgen.aws.artefacts import Artefacts
from loadgen.aws.clients import Clients
from loadgen.errors import CloudError, StorageError, UsageError
from tests.support.aws import BUCKET, REGION, client, emptied, isolated, running_aws

DATA = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()
NAME = f"bundles/{SHA256}.tar"
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
        self.store, self.folder = Artefacts(clients, BUCKET, REGION), folder
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

    def file(self, data: bytes) -> Path:
        path = self.folder / "a.tar"
        path.write_bytes(data)
        return path

    def spoil(self, data: bytes, name: str = NAME) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=name, Body=data)


@pytest.fixture
def stage(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    isolated(monkeypatch, tmp_path, emptied(server))
    monkeypatch.setattr(ours, "PART_BYTES", MIB_5)
    return Stage(server, tmp_path)


def test_what_is_put_is_named_by_its_hash_comes_back_the_same_and_is_sent_once(stage: Stage) -> None:
    assert stage.store.put(stage.file(DATA)) == (SHA256, True)
    assert stage.store.put(stage.file(DATA)) == (SHA256, False)
    assert len(stage.calls("PutObject")) == 1
    stage.store.get(SHA256, stage.folder / "back.tar")
    assert (stage.folder / "back.tar").read_bytes() == DATA


def test_of_two_who_put_the_same_at_once_one_is_told_that_it_is_there(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.store, "_size", lambda name: None)  # neither has seen the other's
    assert stage.store.put(stage.file(DATA)) == (SHA256, True)
    assert stage.store.put(stage.file(DATA)) == (SHA256, False)
    assert all(call["IfNoneMatch"] == "*" for call in stage.calls("PutObject"))


@pytest.mark.parametrize("data", [DATA[:-1] + b"x", DATA + b"x", b""])
def test_what_is_not_what_its_name_says_is_not_taken_whatever_s3_says(stage: Stage, data: bytes) -> None:
    stage.spoil(data)
    with pytest.raises(CloudError, match="is not what its name says"):
        stage.store.get(SHA256, stage.folder / "back.tar")
    assert not list(stage.folder.glob("back*"))


def test_other_content_under_the_name_is_not_silently_left_there(stage: Stage) -> None:
    stage.spoil(DATA[:-1])
    with pytest.raises(CloudError, match="it has 255999 bytes, and not 256000"):
        stage.store.put(stage.file(DATA))


def test_download_goes_on_where_it_was_interrupted(stage: Stage) -> None:
    stage.store.put(stage.file(DATA))
    (stage.folder / "back.tar.part").write_bytes(DATA[:1234])
    stage.store.get(SHA256, stage.folder / "back.tar")
    assert [call.get("Range") for call in stage.calls("GetObject")] == ["bytes=1234-"]
    assert (stage.folder / "back.tar").read_bytes() == DATA


@pytest.mark.parametrize("rest", [b"of another time", DATA, DATA + b"too much"])
def test_rest_of_another_time_costs_one_more_try_and_no_wrong_file(stage: Stage, rest: bytes) -> None:
    stage.store.put(stage.file(DATA))
    (stage.folder / "back.tar.part").write_bytes(rest)
    stage.store.get(SHA256, stage.folder / "back.tar")
    assert (stage.folder / "back.tar").read_bytes() == DATA
    assert not (stage.folder / "back.tar.part").exists()


def test_upload_that_was_interrupted_sends_what_is_missing_and_nothing_twice(stage: Stage) -> None:
    stage.stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        stage.store.put(stage.file(LONG))
    stage.stop_after = None
    stage.sent.clear()
    sha256, is_new = stage.store.put(stage.file(LONG))
    assert (sha256, is_new) == (hashlib.sha256(LONG).hexdigest(), True)
    assert [call["PartNumber"] for call in stage.calls("UploadPart")] == [3]
    assert stage.s3.get_object(Bucket=BUCKET, Key=f"bundles/{sha256}.tar")["Body"].read() == LONG
    assert "Uploads" not in stage.s3.list_multipart_uploads(Bucket=BUCKET)


def test_what_cannot_be_found_read_or_named_is_said(stage: Stage) -> None:
    with pytest.raises(CloudError, match="NoSuchKey"):
        stage.store.get(SHA256, stage.folder / "back.tar")
    with pytest.raises(StorageError):
        stage.store.put(stage.folder / "none.tar")
    with pytest.raises(UsageError, match="no SHA-256"):
        stage.store.get("../secret", stage.folder / "back.tar")
