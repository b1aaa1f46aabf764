"""The runs that pages can show: the running ones of this process, and the ended ones in the folder of runs."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from loadgen.errors import UsageError
from loadgen.measure.run_folder.rundir import find_run
from loadgen.report.from_run_folder import document_of
from loadgen.report.run_as_dataframes import open_run
from loadgen.report.run_json_document import encode
from loadgen_controller.control.control_request import ControlReply, ControlRequest
from loadgen_controller.control.unix_socket import CONTROL_FILE
from loadgen_controller.past_runs.listing import Entry, entries
from loadgen_controller.ui.run_feed import Conducted, RunFeed

__all__ = ["NoRun", "PageRuns"]

_KEPT: Final = 4
"""Number of cached documents of ended runs, gzipped."""
_LISTED: Final = 200
_ID: Final = re.compile(r"[A-Za-z0-9-]{1,128}")


class NoRun(UsageError):
    """The requested run does not exist."""


class PageRuns:
    """Serves runs to pages. Create it in the running loop.

    Args:
        runs_dir: the folder of runs.
        answer: carries out a control request; gets the request and its sender.
    """

    def __init__(self, runs_dir: Path, answer: Callable[[ControlRequest, str], ControlReply]) -> None:
        self.answer = answer
        self.is_closing = False
        self._runs_dir = runs_dir
        self._going: dict[str, tuple[RunFeed, asyncio.Task[None]]] = {}
        self._kept: dict[tuple[str, int], bytes] = {}
        self._reading = asyncio.Lock()

    # -- for the conducting process ---------------------------------------------------------------

    def begin(self, conductor: Conducted) -> None:
        """Show a run on the page from now on, with a feed that updates each second."""
        feed = RunFeed(conductor)
        self._going[conductor.run_id] = feed, asyncio.create_task(feed.serve(), name=f"page {conductor.run_id}")

    async def end(self, run_id: str, summary: Mapping[str, object] | None) -> None:
        """Send the end of a run to the pages that show it. summary: None if the run failed with a bug.

        Raises the exception that ended the run's feed, if any. That is a bug, and the caller must log it.
        """
        feed, serving = self._going.pop(run_id)
        serving.cancel()
        try:
            feed.end(summary)
        finally:
            (error,) = await asyncio.gather(serving, return_exceptions=True)
            if isinstance(error, Exception):
                raise error

    def close(self) -> None:
        """End the streams of events to all open pages."""
        self.is_closing = True
        for feed, _ in self._going.values():
            feed.news.set()

    # -- for pages --------------------------------------------------------------------------------

    def feed(self, run_id: str) -> RunFeed | None:
        """Return the feed with a running run's data for pages; None if the run is not running in this process."""
        found = self._going.get(run_id)
        return None if found is None else found[0]

    async def listed(self) -> list[dict[str, object]]:
        """Return the running runs and then at most 200 ended ones, each newest first, as JSON objects."""
        here: list[dict[str, object]] = []
        for run_id, (feed, _) in reversed(self._going.items()):
            here.append({"id": run_id, "is_going": True, **feed.line()})
        return here + await asyncio.to_thread(_over, self._runs_dir, set(self._going))

    async def history(self, run_id: str) -> bytes:
        """Return the JSON document that the page shows of a run (figures, timeline, story), gzipped.

        Raises:
            NoRun: there is no such run.
            UsageError: another process conducts the run.
            StorageError: its folder cannot be read.
        """
        if (feed := self.feed(run_id)) is not None:
            return await asyncio.to_thread(gzip.compress, feed.document(), 5)
        async with self._reading:  # one at a time: it takes a while, and memory
            return await asyncio.to_thread(self._read, run_id)

    def folder(self, run_id: str) -> Path:
        """Return the folder of a run. Only ids are accepted and no paths, since callers may be on other machines.

        Raises:
            NoRun: there is no such run.
        """
        if not _ID.fullmatch(run_id):
            raise NoRun("invalid run id", hint="choose a run from the list of runs")
        try:
            return find_run(run_id, self._runs_dir)
        except UsageError as error:
            raise NoRun(error.message, hint=error.hint) from error

    def _read(self, run_id: str) -> bytes:
        folder = self.folder(run_id)
        if (folder / CONTROL_FILE).exists():
            raise UsageError(
                f"another process conducts run {folder.name}", hint="open the page that this process printed"
            )
        key = folder.name, max((path.stat().st_mtime_ns for path in folder.iterdir()), default=0)
        found = self._kept.get(key)
        if found is None:
            found = gzip.compress(encode(document_of(open_run(folder))), 9)
            while len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = found
        return found


def _over(runs_dir: Path, going: set[str]) -> list[dict[str, object]]:
    """Return an entry for each ended run. going: ids of running runs, which are left out.

    Blocks: it reads the runs' folders.
    """
    found = [entry for entry in entries(runs_dir) if entry.run_id not in going]
    return [_line(entry) for entry in found[:_LISTED]]


def _line(entry: Entry) -> dict[str, object]:
    is_over = entry.duration_s is not None
    without = "in another process" if entry.result == "going on" else "ended by force"
    return {
        "id": entry.run_id,
        "is_going": False,
        "phase": "done" if is_over else without,
        "result": entry.result if is_over else None,
        "scenario": entry.scenario,
        "started_at": entry.started_at,
    }
