"""Publishing of pages: what is written, what is sent, and how a partial publish is finished."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loadgen.errors import ExitCode, UsageError
from loadgen.history.store.write_once_storage import Folder
from loadgen.notify.event import EventKind
from loadgen.notify.settings import Channel
from loadgen.notify.transports import NotDelivered
from loadgen.programme.publishing import deliver as delivering
from loadgen.programme.publishing import publish as publish_module
from loadgen.programme.publishing.deliver import deliver
from loadgen.programme.publishing.publish import Published, publish_recommendation, publish_report, publish_week
from loadgen.programme.publishing.publish_file import PublishSettings
from loadgen.programme.publishing.published_text import PublishedText
from loadgen.programme.weekly.page_values import Row, Said, Shown, WeeklyPage
from tests.support.mail import mail_server
from tests.support.sinks import http_receiver

NOW = datetime(2026, 7, 27, 6, tzinfo=UTC)
FILES = {"index.html": b"<!doctype html>", "report.json": b"{}", "report.csv": b"a\n"}
TEXT = PublishedText(EventKind.REPORT, "Payments, 2026-W30", "13 of 14 promises were kept")


def publish(
    folder: Path,
    page: str = "w30-4f1a",
    week: str = "2026-W30",
    files: dict[str, bytes] | None = None,
    channels: tuple[Channel, ...] = (),
    send: Callable[..., str] = deliver,
    **settings: Any,
) -> Published:
    chosen = PublishSettings(str(folder / "out"), channels, "https://r.example/perf", **settings)
    place = Folder(folder / "history")
    return publish_week(week, page, files or FILES, TEXT, chosen, place, NOW, {"hook": "canary"}, send=send)


def written(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder / "out")) for one in (folder / "out").rglob("*") if one.is_file())


def channel(name: str, url: str = "https://x.example") -> Channel:
    return Channel(name=name, kind="webhook", url=url)


def accepting() -> tuple[list[str], Callable[..., str]]:
    """Return the names of the channels that were sent to, and a sender that every channel accepts."""
    sent: list[str] = []

    def send(one: Channel, *_: Any) -> str:
        sent.append(one.name)
        return ""

    return sent, send


def test_a_page_has_a_folder_of_its_own_and_two_copies(tmp_path: Path) -> None:
    found = publish(tmp_path)

    names = sorted(FILES)
    folders = ("2026-W30/latest", "2026-W30/w30-4f1a", "latest")
    assert written(tmp_path) == [f"{folder}/{name}" for folder in folders for name in names]
    assert found.link == "https://r.example/perf/2026-W30/w30-4f1a/index.html"
    assert found.exit_code == ExitCode.PASSED


def test_a_pdf_is_beside_its_page_only_since_a_copy_would_outlast_it(tmp_path: Path) -> None:
    publish(tmp_path, files={**FILES, "report.pdf": b"%PDF-"})
    publish(tmp_path, "w30-9999")

    assert [name for name in written(tmp_path) if name.endswith(".pdf")] == ["2026-W30/w30-4f1a/report.pdf"]


def test_a_second_run_repeats_nothing_and_says_so(tmp_path: Path) -> None:
    sent, send = accepting()
    publish(tmp_path, channels=(channel("a"),), send=send)
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in written(tmp_path)}

    again = publish(tmp_path, channels=(channel("a"),), send=send)

    assert sent == ["a"]
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in written(tmp_path)} == before
    assert again.done == ()
    assert len(again.before) == 3
    assert again.link == "https://r.example/perf/2026-W30/w30-4f1a/index.html"


def test_a_new_page_of_the_week_is_a_new_revision_and_becomes_the_latest(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path, "w30-9999", files={**FILES, "index.html": b"new"})

    out = tmp_path / "out"
    assert (out / "2026-W30/w30-4f1a/index.html").read_bytes() == FILES["index.html"]
    assert (out / "2026-W30/latest/index.html").read_bytes() == (out / "latest/index.html").read_bytes() == b"new"


def test_an_older_week_does_not_replace_the_newest_one(tmp_path: Path) -> None:
    publish(tmp_path, week="2026-W31", page="w31-1")
    publish(tmp_path, files={"index.html": b"old"})
    publish(tmp_path, week="2026-Q2", page="q2-1", files={"index.html": b"quarter"})

    out = tmp_path / "out"
    assert (out / "latest/index.html").read_bytes() == FILES["index.html"]
    assert (out / "2026-W30/latest/index.html").read_bytes() == b"old"
    assert (out / "latest-quarter/index.html").read_bytes() == b"quarter"


def test_the_same_id_with_other_content_never_changes_a_published_page(tmp_path: Path) -> None:
    publish(tmp_path)
    other = {**FILES, "index.html": b"made a minute later"}
    again = publish(tmp_path, files=other)
    found = publish(tmp_path, files={**other, "report.pdf": b"%PDF"})

    out = tmp_path / "out/2026-W30"
    assert (out / "w30-4f1a/index.html").read_bytes() == FILES["index.html"]
    assert again.done == ()
    assert (out / "w30-4f1a-r2/index.html").read_bytes() == other["index.html"]
    assert (out / "w30-4f1a-r2/report.pdf").read_bytes() == b"%PDF"
    assert found.where.endswith("2026-W30/w30-4f1a-r2/")


def test_a_half_written_page_is_finished_and_channels_wait_for_it(tmp_path: Path) -> None:
    (tmp_path / "out/2026-W30/w30-4f1a").mkdir(parents=True)
    (tmp_path / "out/2026-W30/w30-4f1a/report.json").write_bytes(FILES["report.json"])
    (tmp_path / "out/latest").write_text("a file where a folder has to be")
    sent, send = accepting()

    broken = publish(tmp_path, channels=(channel("a"),), send=send)
    (tmp_path / "out/latest").unlink()
    whole = publish(tmp_path, channels=(channel("a"),), send=send)

    assert broken.exit_code == ExitCode.INCOMPLETE
    assert "cannot write" in broken.troubles[0]
    assert broken.lines()[-1] == "run the same command again to finish it; nothing is sent twice"
    assert whole.exit_code == ExitCode.PASSED
    assert sent == ["a"]
    assert [text.partition(" ")[0] for text in whole.before] == ["files"]


def test_a_channel_that_fails_stops_no_other_and_only_it_is_tried_again(tmp_path: Path) -> None:
    sent: list[str] = []

    def send(one: Channel, *_: Any) -> str:
        sent.append(one.name)
        return "the server answers http 404 (tries: 1)" if one.name == "team" and sent.count("team") == 1 else ""

    channels = (channel("team"), channel("mail"))
    first = publish(tmp_path, channels=channels, send=send)
    second = publish(tmp_path, channels=channels, send=send)

    assert sorted(sent) == ["mail", "team", "team"]
    assert first.troubles == ("team (webhook): the server answers http 404 (tries: 1)",)
    assert second.exit_code == ExitCode.PASSED


def test_after_ctrl_c_messages_that_were_delivered_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    answers = threading.Event()

    def send(one: Channel, *_: Any) -> str:
        if one.name == "slow":
            answers.wait(60)
        sent.append(one.name)
        return ""

    def interrupted(all_: list[Future[str]]) -> None:
        wait(all_, return_when=FIRST_COMPLETED)
        raise KeyboardInterrupt

    channels = (channel("team"), channel("slow"))
    with monkeypatch.context() as patch:
        patch.setattr(publish_module, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            publish(tmp_path, channels=channels, send=send)
    before = list(sent)
    answers.set()
    second = publish(tmp_path, channels=channels, send=send)

    assert before == ["team"]
    assert sent.count("team") == 1
    assert "channel team" in second.before
    assert second.exit_code == ExitCode.PASSED


def test_slack_404_is_final_and_shows_no_secret(tmp_path: Path) -> None:
    with http_receiver(status=404) as receiver:
        team = Channel(name="team", kind="slack", url_secret="hook")
        place = Folder(tmp_path / "history")
        values = {"hook": f"{receiver.url}/services/canary"}
        found = publish_week("2026-W30", "p", FILES, TEXT, PublishSettings("", (team,)), place, NOW, values)

    assert found.troubles == ("team (slack): the server answers http 404 (tries: 1)",)
    assert len(receiver.got) == 1
    assert b"13 of 14 promises were kept" in receiver.got[0].body


def test_smtp_without_tls_is_refused_unless_it_is_allowed(tmp_path: Path) -> None:
    with mail_server() as server:
        fields: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": server.port,
            "sender": "a@b.example",
            "to": ("c@d.example",),
        }
        strict = Channel(name="strict", kind="email", **fields)
        allowed = Channel(name="allowed", kind="email", tls="none", **fields)
        place = Folder(tmp_path)
        found = publish_week("2026-W30", "p", FILES, TEXT, PublishSettings("", (strict, allowed)), place, NOW)

    assert len(server.texts) == 1
    assert "text/html" in server.texts[0]
    (trouble,) = found.troubles
    assert trouble.startswith("strict (email): the mail server cannot do it: STARTTLS")


def test_a_channel_has_five_tries_with_the_same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    ids: list[str] = []
    pauses: list[float] = []

    class Busy:
        def send(self, message: Any) -> None:
            ids.append(message.id)
            raise NotDelivered("busy")

    monkeypatch.setattr(delivering, "transport_of", lambda *_: Busy())
    message = delivering.message_of(TEXT.event("", ""), "key")

    assert deliver(channel("a"), {}, message, pauses.append) == "busy (tries: 5)"
    assert ids == [message.id] * 5
    assert pauses == [1.0, 5.0, 30.0, 120.0]


@pytest.mark.parametrize(
    ("week", "page", "name"),
    [
        ("2026-30", "p", "a"),
        ("../2026-W30", "p", "a"),
        ("2026-W30", "../p", "a"),
        ("2026-W30", "latest", "a"),
        ("2026-W30", "p", "a/b"),
        ("2026-W30", "p", ".."),
    ],
)
def test_names_never_lead_out_of_the_folder(tmp_path: Path, week: str, page: str, name: str) -> None:
    with pytest.raises(UsageError):
        publish(tmp_path, page, week, {name: b""})
    assert not (tmp_path / "out").exists()


def test_a_weekly_page_becomes_its_sentences_and_rows(tmp_path: Path) -> None:
    row = Row("checkout", "checkout-fast", "pay@shop.example", "99.5 % of 300 ms", "Occurrences", "bad",
              kept=Shown("no, 99.41 %", "bad"), gone=Shown("gone"))  # fmt: skip
    said = (
        Said("13 of 14 promises were kept.", "bad", owner="pay@shop.example"),
        Said("Search became slower by 6 %."),
    )
    page = WeeklyPage("Payments", "2026-W30", "UTC", 0, 1, "", "w30-4f1a", 0, (), (), said, (row,))
    with http_receiver() as receiver:
        settings = PublishSettings(str(tmp_path / "out"), (channel("bot", receiver.url),))
        publish_report(page, FILES, settings, Folder(tmp_path / "history"), NOW)

    (event,) = json.loads(receiver.got[0].body)["events"]
    assert event["headline"] == "13 of 14 promises were kept (owner: pay@shop.example)"
    assert event["reasons"] == ["Search became slower by 6 %."]
    assert event["rows"] == ["checkout (pay@shop.example), 99.5 % of 300 ms; kept: no, 99.41 %; gone: gone"]
    assert event["result"] == "bad"


def test_a_page_for_customers_has_a_place_of_its_own(tmp_path: Path) -> None:
    page = WeeklyPage("Payments", "2026-W30", "UTC", 0, 1, "", "w30-1", 0, (), (), (), (), is_public=True)
    publish_report(page, {"index.html": b""}, PublishSettings(str(tmp_path / "out")), Folder(tmp_path), NOW)

    folders = ("2026-W30/latest", "2026-W30/w30-1", "latest")
    assert written(tmp_path) == [f"public/{folder}/index.html" for folder in folders]


def test_the_page_of_a_team_has_a_place_of_its_own(tmp_path: Path) -> None:
    settings = PublishSettings(str(tmp_path / "out"))
    for team in ("payments", "pay/ments", "../pay ments"):
        page = WeeklyPage("Payments", "2026-W30", "UTC", 0, 1, "", "w30-1", 0, (), (), (), (), team=team)
        publish_report(page, {"index.html": b""}, settings, Folder(tmp_path), NOW)

    folders = {name.split("/")[1] for name in written(tmp_path)}
    assert {name.split("/")[0] for name in written(tmp_path)} == {"teams"}
    assert len(folders) == 3
    assert "payments" in folders
    assert "teams/payments/latest/index.html" in written(tmp_path)


def test_a_recommendation_is_published_by_its_number(tmp_path: Path) -> None:
    document = {
        "id": "D-7",
        "release": "v412",
        "journeys": ["checkout"],
        "recommendation": "NO-GO",
        "exit_code": 1,
        "evidence": [
            {"kind": "gate", "journey": "", "id": "G-1", "state": "no-go", "says": "slower by 6 %", "required": True}
        ],
        "missing": [{"command": "loadgen gate x.py", "minutes": 5.0, "why": "gate"}],
    }
    settings = PublishSettings(str(tmp_path / "out"))

    found = publish_recommendation(document, "NO-GO for v412", {"index.html": b"x"}, settings, Folder(tmp_path), NOW)

    assert written(tmp_path) == ["recommendations/D-7/index.html", "recommendations/latest/index.html"]
    assert found.exit_code == ExitCode.PASSED
    with pytest.raises(UsageError, match="recorded"):
        publish_recommendation({**document, "id": None}, "", {}, settings, Folder(tmp_path), NOW)
