"""Publishes a page: first its files, then the copies called `latest`, then a message to each channel.

    2026-W30/w30-4f1a/index.html, report.json, report.csv, ...     the page; never changed. A PDF is only here
    2026-W30/latest/...                                            a copy of the newest page of that week
    latest/...                                                     a copy of the newest page of the newest week
    public/2026-W30/...                                            pages for customers, in the same order
    teams/payments/2026-W30/...                                    pages of one team, in the same order
    recommendations/D-207/..., recommendations/latest/...          pages of `loadgen decide`

Each step is recorded in the history when it is finished (`finished_steps`). If a step fails, the next ones are left
out, and a further run continues there. Channels do not wait for each other, and one that fails stops no other one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import datetime
from threading import Thread
from typing import Any, Final

from loadgen.errors import CloudDenied, ExitCode, LoadgenError, UsageError
from loadgen.history.store.write_once_storage import Place
from loadgen.measure.run_folder.rundir import utc_text
from loadgen.notify.settings import Channel
from loadgen.outside_text import one_line
from loadgen.programme.publishing.deliver import deliver, message_of
from loadgen.programme.publishing.destination import Destination, destination_of
from loadgen.programme.publishing.finished_steps import FinishedSteps, finished_steps, note_step
from loadgen.programme.publishing.publish_file import PublishSettings
from loadgen.programme.publishing.published_text import PublishedText, text_of_page, text_of_recommendation
from loadgen.programme.weekly.page_values import WeeklyPage
from loadgen.units import quantity

__all__ = ["Published", "publish_recommendation", "publish_report", "publish_week"]

_WEEK: Final = re.compile(r"[0-9]{4}-(?:W[0-9]{2}|Q[1-4])")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PUBLIC: Final = "public/"
_TEAMS: Final = "teams/"
_RECOMMENDATIONS: Final = "recommendations"
_MOST_REVISIONS: Final = 99
_FIRST_PAGE: Final = "index.html"
_NOT_COPIED: Final = ".pdf"
"""A page has a PDF only with --pdf. A copy would outlast its page if a page without a PDF follows."""
Send = Callable[[Channel, Mapping[str, str], Any], str]


@dataclass(frozen=True, slots=True)
class Published:
    """The result of publishing a page. Texts are sentences without a full stop."""

    page: str
    """Such as "2026-W30/w30-4f1a"."""
    where: str = ""
    """Where its files are: "s3://bucket/prefix/2026-W30/w30-4f1a/"; "" if files are not published."""
    link: str = ""
    """The address of the page for people; "" without `link` in [publish]."""
    done: tuple[str, ...] = ()
    """The steps of this run."""
    before: tuple[str, ...] = ()
    """The steps that an earlier run finished, and this one left out."""
    troubles: tuple[str, ...] = ()
    """Why a step could not be finished, and what to do."""
    notes: tuple[str, ...] = ()
    """Files of the history that could not be read: a step may have been done a second time."""

    @property
    def exit_code(self) -> ExitCode:
        """Return 0, or 3 if a step is not finished: the same command again finishes it."""
        return ExitCode.INCOMPLETE if self.troubles else ExitCode.PASSED

    def lines(self) -> list[str]:
        """Return what happened, one line each."""
        lines = [f"published: {text}" for text in self.done]
        lines += [f"published before: {text}" for text in self.before]
        lines += [f"not published: {text}" for text in self.troubles]
        lines += [f"note: {text}" for text in self.notes]
        return lines + (["run the same command again to finish it; nothing is sent twice"] if self.troubles else [])


def publish_report(
    page: WeeklyPage,
    files: Mapping[str, bytes],
    settings: PublishSettings,
    place: Place,
    now: datetime,
    values: Mapping[str, str] | None = None,
) -> Published:
    """Publish a weekly page. files: by name, such as {"index.html": ..., "report.json": ...}. Others: `publish_week`.

    A page for customers (`is_public`) goes to `public/`, and that of one team to `teams/payments/`, so neither replaces
    the page of all teams.
    """
    prefix = (_PUBLIC if page.is_public else "") + (f"{_TEAMS}{_folder_of(page.team)}/" if page.team else "")
    return publish_week(page.week, page.id, files, text_of_page(page), settings, place, now, values, prefix=prefix)


def publish_recommendation(
    document: Mapping[str, Any],
    headline: str,
    files: Mapping[str, bytes],
    settings: PublishSettings,
    place: Place,
    now: datetime,
    values: Mapping[str, str] | None = None,
) -> Published:
    """Publish a recommendation. document, headline: of `recommending.shown`. Others: `publish_week`.

    Raises:
        UsageError: it has no id, because it was not recorded.
    """
    if not document.get("id"):
        raise UsageError("only a recorded recommendation can be published", hint="leave --no-record out")
    page = _Page(_RECOMMENDATIONS, str(document["id"]), files, (f"{_RECOMMENDATIONS}/latest",))
    return _publish(page, text_of_recommendation(document, headline), settings, place, now, values or {}, deliver)


def publish_week(
    week: str,
    page_id: str,
    files: Mapping[str, bytes],
    text: PublishedText,
    settings: PublishSettings,
    place: Place,
    now: datetime,
    values: Mapping[str, str] | None = None,
    *,
    prefix: str = "",
    send: Send = deliver,
) -> Published:
    """Publish the files of a week or quarter, and send a message to each channel.

    A failed step does not raise: `Published.troubles` names it, and the same call later finishes it.

    Args:
        week: "2026-W30" or "2026-Q3". page_id: made from the content, "w30-4f1a".
        files: content by name. `index.html` is written last to `latest`, and is the page that a message links to.
        place: the history, which records the finished steps.
        values: the secrets of the channels, by name.
        prefix: "public/" or "teams/payments/" for a page of a part, which then never replaces the whole one; else "".
        send: sends a message to a channel, and returns "" or why it was not delivered.

    Raises:
        UsageError: an invalid week, id or name of a file.
        StorageError, CloudError: the history cannot be listed, so it is unknown what was sent. Nothing is published.
    """
    if not _WEEK.fullmatch(week):
        raise UsageError(f'invalid week "{one_line(week, 40)}"', hint="write 2026-W30 or 2026-Q3")
    page = _Page(f"{prefix}{week}", page_id, files, (f"{prefix}{week}/latest",), prefix)
    return _publish(page, text, settings, place, now, values or {}, send)


def _folder_of(team: str) -> str:
    """Return the name of the team's folder. Teams whose names differ only in other characters get different ones."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", team)[:60].strip("-")
    return name if name == team else f"{name}-{hashlib.sha256(team.encode()).hexdigest()[:6]}".lstrip("-")


@dataclass(frozen=True, slots=True)
class _Page:
    folder: str
    id: str
    files: Mapping[str, bytes]
    copies: tuple[str, ...]
    """Folders of copies. A page of a week is also copied to `latest` if no newer week is there."""
    prefix: str | None = None
    """None: not of a week."""

    def check(self) -> None:
        for name in (self.id, *self.files):
            if not _NAME.fullmatch(name) or name == "latest":
                hint = "use letters, digits, '.', '_' and '-', but not \"latest\""
                raise UsageError(f'invalid name of a page or file "{one_line(name, 60)}"', hint=hint)

    def all_copies(self, at: Destination) -> tuple[str, ...]:
        if self.prefix is None:
            return self.copies
        week = self.folder.removeprefix(self.prefix)
        is_quarter = "Q" in week
        others = [one for one in at.folders(self.prefix) if _WEEK.fullmatch(one) and ("Q" in one) == is_quarter]
        newest = f"{self.prefix}{'latest-quarter' if is_quarter else 'latest'}"
        return (*self.copies, newest) if week >= max(others, default=week) else self.copies


def _publish(
    page: _Page,
    text: PublishedText,
    settings: PublishSettings,
    place: Place,
    now: datetime,
    values: Mapping[str, str],
    send: Send,
) -> Published:
    page.check()
    name = f"{page.folder}/{page.id}"
    run = _Run(place, name, finished_steps(place, name), now)
    where = link = ""
    if settings.to and page.files:
        try:
            folder = _publish_files(page, destination_of(settings.to), settings.to, run)
        except LoadgenError as error:
            waiting = "; nothing was sent to channels" if settings.channels else ""
            run.troubles.append(f"{_sentence(error)}{waiting}")
            return run.result(f"{settings.to}/{name}/", "")
        where = f"{settings.to.rstrip('/')}/{folder}/"
        first = _FIRST_PAGE if _FIRST_PAGE in page.files else ""
        link = f"{settings.link}/{folder}/{first}" if settings.link else ""
    elif settings.link:
        link = settings.link
    event = text.event(utc_text(now), link, values.values())
    waiting_for = [one for one in settings.channels if text.kind in one.events and not run.is_done("channel", one.name)]
    _send_all(waiting_for, event, name, values, send, run)
    return run.result(where, link)


def _send_all(channels: list[Channel], event: Any, name: str, values: Mapping[str, str], send: Send, run: _Run) -> None:
    """Send a message to all channels at the same time. After Ctrl-C, those that have it by then are recorded."""
    message = message_of(event, f"{event.kind} {name}")
    answers = [(one, _in_thread(send, one, values, message)) for one in channels]
    try:
        wait([answer for _, answer in answers])
    finally:
        for channel, answer in answers:
            if not answer.done():
                continue
            if why := answer.result():
                run.troubles.append(f"{channel.name} ({channel.kind}): {one_line(why, 400)}")
            else:
                run.finish("channel", channel.name, "", f"{channel.name} ({channel.kind}, {channel.where})")


def _in_thread(send: Send, channel: Channel, values: Mapping[str, str], message: Any) -> Future[str]:
    """Send a message in a daemon thread: a pool would make Ctrl-C wait for its tries, which take four minutes."""
    answer: Future[str] = Future()

    def run() -> None:
        try:
            answer.set_result(send(channel, values, message))
        except BaseException as error:  # noqa: BLE001  the caller of `result` raises it
            answer.set_exception(error)

    Thread(target=run, name=f"publish {channel.name}", daemon=True).start()
    return answer


def _publish_files(page: _Page, at: Destination, to: str, run: _Run) -> str:
    """Write the files and the copies, and return the folder of the files."""
    # The id stands for the figures. The files also have the time at which they were made, so their bytes are no key.
    # With other names, such as a PDF that the first run did not have, both steps are new.
    key = f"{to} {','.join(sorted(page.files))}"
    folder = run.note_of("files", key)
    if folder:
        run.is_done("files", key)
    else:
        folder = _written(page, at)
        run.finish("files", key, folder, f"{quantity(len(page.files), 'file')} in {at}{folder}/")
    if not run.is_done("latest", key):
        copies = page.all_copies(at)
        for copy in copies:
            for name in sorted(page.files, key=lambda name: (name == _FIRST_PAGE, name)):
                if not name.endswith(_NOT_COPIED):
                    at.replace(f"{copy}/{name}", page.files[name])
        run.finish("latest", key, "", f"copies in {' and '.join(f'{at}{copy}/' for copy in copies)}")
    return folder


def _written(page: _Page, at: Destination) -> str:
    """Write the files of a page to its folder, and return the folder's name.

    Files with the same content stay, so a publication that was interrupted continues. If the folder has other content,
    the next free revision is written, such as `ID-r2`.
    """
    for number in range(1, _MOST_REVISIONS + 1):
        folder = f"{page.folder}/{page.id}" + (f"-r{number}" if number > 1 else "")
        if all(_is_there(at, f"{folder}/{name}", data) for name, data in sorted(page.files.items())):
            return folder
    raise UsageError(
        f"{at}{page.folder}/{page.id} has {_MOST_REVISIONS} revisions with other content",
        hint="remove revisions that nobody needs, or choose another place in [publish]",
    )


def _is_there(at: Destination, name: str, data: bytes) -> bool:
    """Write a file. Return False if there is one with other content, such as that of a run that broke off."""
    return at.put_new(name, data) or at.sha256(name) == hashlib.sha256(data).hexdigest()


class _Run:
    """Collects the steps of this run, those of earlier runs, and troubles."""

    def __init__(self, place: Place, page: str, finished: FinishedSteps, now: datetime) -> None:
        self._place, self._page, self._now = place, page, now
        self._finished, self._notes = finished.notes, finished.unreadable
        self._done: list[str] = []
        self._before: list[str] = []
        self.troubles: list[str] = []

    def note_of(self, step: str, where: str) -> str:
        return self._finished.get((step, where), "")

    def is_done(self, step: str, where: str) -> bool:
        if is_done := (step, where) in self._finished:
            self._before.append(f"{step} {one_line(where, 200)}")
        return is_done

    def finish(self, step: str, where: str, note: str, text: str) -> None:
        self._done.append(text)
        try:
            note_step(self._place, self._page, step, where, note, self._now)
        except LoadgenError as error:
            self.troubles.append(f"the history did not record that {text} is published: {_sentence(error)}")

    def result(self, where: str, link: str) -> Published:
        steps = tuple(self._done), tuple(self._before), tuple(self.troubles)
        return Published(self._page, where, link, *steps, self._notes)


def _sentence(error: LoadgenError) -> str:
    if isinstance(error, CloudDenied):
        return one_line(f"{error.message} (your identity lacks a permission: docs/publishing.md has the policy)", 400)
    return one_line(f"{error.message} ({error.hint})" if error.hint else error.message, 400)
