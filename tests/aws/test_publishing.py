"""Pages in S3: what is written, half a publish, and a bucket without rights."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loadgen.errors import ExitCode
from loadgen.history.store.write_once_storage import Folder
from loadgen.notify.event import EventKind
from loadgen.notify.settings import Channel
from loadgen.programme.publishing.publish import Published, publish_week
from loadgen.programme.publishing.publish_file import PublishSettings
from loadgen.programme.publishing.published_text import PublishedText
from tests.support.aws import isolated
from tests.support.s3 import ACCESS, S3, SECRET, running_s3

FILES = {"index.html": b"<!doctype html>", "report.csv": b"a\n", "report.json": b"{}", "report.md": b"#"}
TEXT = PublishedText(EventKind.REPORT, "Payments, 2026-W30", "all were kept")
TEAM = Channel(name="team", kind="webhook", url="https://x.example")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3]:
    with running_s3() as state:
        isolated(monkeypatch, tmp_path, state.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        yield state


def publish(tmp_path: Path, sent: list[str], week: str = "2026-W30") -> Published:
    settings = PublishSettings("s3://loads/perf", (TEAM,))
    place = Folder(tmp_path / "history")

    def send(channel: Channel, *_: object) -> str:
        sent.append(channel.name)
        return ""

    return publish_week(week, "p1", FILES, TEXT, settings, place, datetime(2026, 7, 27, tzinfo=UTC), send=send)


def test_a_page_is_three_times_there_with_its_types(s3: S3, tmp_path: Path) -> None:
    sent: list[str] = []
    found = publish(tmp_path, sent)

    folders = ("perf/2026-W30/latest", "perf/2026-W30/p1", "perf/latest")
    assert s3.keys() == [f"{folder}/{name}" for folder in folders for name in sorted(FILES)]
    kinds = {key.rpartition("/")[2]: stored.headers["Content-Type"] for key, stored in s3.buckets["loads"].items()}
    assert kinds == {
        "index.html": "text/html; charset=utf-8",
        "report.csv": "text/csv; charset=utf-8",
        "report.json": "application/json",
        "report.md": "text/markdown; charset=utf-8",
    }
    assert found.where == "s3://loads/perf/2026-W30/p1/"
    assert sent == ["team"]


def test_an_older_week_leaves_latest_alone(s3: S3, tmp_path: Path) -> None:
    publish(tmp_path, [], "2026-W31")
    publish(tmp_path, [])

    assert [path for path in s3.sent("PUT") if path.startswith("/loads/perf/latest/")] == [
        f"/loads/perf/latest/{name}" for name in ("report.csv", "report.json", "report.md", "index.html")
    ]


@pytest.mark.parametrize("puts", [1, 7])
def test_a_half_published_page_is_finished_by_the_next_run_and_sent_once(s3: S3, tmp_path: Path, puts: int) -> None:
    sent: list[str] = []
    s3.denied_after = puts

    broken = publish(tmp_path, sent)
    s3.denied_after = None
    whole = publish(tmp_path, sent)

    assert broken.exit_code == ExitCode.INCOMPLETE
    assert "AWS returned AccessDenied" in broken.troubles[0]
    assert whole.exit_code == ExitCode.PASSED
    assert len(s3.keys()) == 12
    assert sent == ["team"]


def test_a_bucket_without_rights_is_a_sentence_and_nothing_is_sent(s3: S3, tmp_path: Path) -> None:
    s3.denied = {"PUT", "GET", "HEAD"}

    sent: list[str] = []
    found = publish(tmp_path, sent)

    assert found.exit_code == ExitCode.INCOMPLETE
    assert found.lines()[0].startswith(
        "not published: cannot send s3://loads/perf/2026-W30/p1/index.html: AWS returned"
    )
    assert "docs/publishing.md" in found.lines()[0]
    assert sent == []
