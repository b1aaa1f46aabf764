"""The question: gathers the evidence for a release, recommends, and writes the page and the template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from loadgen.atomic_files import atomic_write
from loadgen.errors import StorageError, UsageError
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event
from loadgen.history.store.write_once_storage import Place
from loadgen.measure.run_folder.rundir import list_runs
from loadgen.outside_text import one_line
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.programme.gathering.after_override import after_overrides, record_said
from loadgen.programme.gathering.promises import promises_of
from loadgen.programme.launching.at_stake import (
    Stake,
    impact_document,
    impact_rows,
    stakes,
    total_said,
    without_money,
)
from loadgen.programme.launching.settings import Settings
from loadgen.programme.promises.objectives import Objective
from loadgen.programme.publishing.publish import Published, publish_recommendation
from loadgen.programme.publishing.publish_file import PublishSettings
from loadgen.programme.recommending import overrides
from loadgen.programme.recommending.assess import Known, assess
from loadgen.programme.recommending.checklist import CHECKED, checks_of
from loadgen.programme.recommending.explained import explained, order_said
from loadgen.programme.recommending.gather import gather
from loadgen.programme.recommending.recommendation import Evidence, Recommendation
from loadgen.programme.recommending.record import RECOMMENDED, record_recommendation
from loadgen.programme.recommending.shown import as_document, as_report, headline
from loadgen.report.exports.markdown import report_lines
from loadgen.report.report_parts import Report
from loadgen_controller.past_runs.read_run_for_history import who
from loadgen_controller.past_runs.release_runs import release_runs

__all__ = ["Asked", "Decided", "ask"]

_NEAR: Final = 0.6
"""How similar two names are, from 0 to 1, so that one may be a slip for the other; as for other names."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question: the release and the journeys, and the files to read. is_as_of: `now` is an earlier time."""

    release: str
    journeys: tuple[str, ...]
    settings: Settings
    objectives: tuple[Objective, ...]
    runs_dir: Path
    now: datetime
    is_as_of: bool = False

    @property
    def as_of(self) -> str:
        """Return the time until which records count, RFC 3339; "": all of them."""
        return self.now.isoformat() if self.is_as_of else ""


@dataclass(frozen=True, slots=True)
class Decided:
    """The recommendation with everything that it rests on. id: "D-207"; "" if it was not recorded."""

    asked: Asked
    found: Recommendation
    known: Known
    id: str
    at_stake: tuple[Stake, ...] = ()
    entries: tuple[EvidenceEntry, ...] = ()

    @property
    def total(self) -> str:
        """Return a sentence about the sum over journeys; "" without one."""
        return total_said(self.at_stake)

    def document(self) -> dict[str, Any]:
        """Return the recommendation for programs."""
        asked = self.asked
        return dict(
            as_document(
                self.found,
                asked.release,
                asked.journeys,
                self.id,
                asked.now.isoformat(),
                impact=impact_document(self.at_stake),
                entries=self.entries,
            )
        )

    def json(self, *, explain: bool) -> str:
        """Return the document as JSON. explain: each row also has its rule and arithmetic."""
        asked, document = self.asked, self.document()
        if explain:
            lines = explained(self.found, asked.settings.programme.rules)
            rows = zip(document["evidence"], self.found.evidence, strict=True)
            document["evidence"] = [row | {"explained": list(lines[one.piece])} for row, one in rows]
            document["explained"] = order_said(self.found)
        return json.dumps(document, indent=2, ensure_ascii=False)

    def report(self, *, explain: bool, has_table: bool = False) -> Report:
        """Return the recommendation for the terminal, or with `has_table` for Markdown."""
        lines = explained(self.found, self.asked.settings.programme.rules) if explain else {}
        asked = self.asked
        made = as_report(self.found, asked.release, asked.journeys, self.id, has_table=has_table, explained=lines)
        foot = (f"{self.total}.",) if self.total else ()
        foot = (*foot, f"{order_said(self.found)}.") if explain else foot
        if asked.is_as_of:
            foot = (*foot, f"As it was known at {asked.now:%Y-%m-%d %H:%M} UTC. Not recorded.")
        return replace(made, foot=(*foot, *made.foot))

    def markdown(self, *, explain: bool) -> list[str]:
        """Return the lines of the recommendation in Markdown."""
        return list(report_lines(self.report(explain=explain, has_table=True)))

    def page(self) -> bytes:
        """Return the launch page, as HTML."""
        from loadgen.programme.launching.launch_page import launch_page
        from loadgen.programme.pages.launch_html import launch_html

        page = launch_page(
            self.found,
            self.asked.release,
            self.asked.journeys,
            self.id,
            self.asked.now.isoformat(timespec="seconds"),
            checks=self.known.checks,
            at_stake=self.at_stake,
            no_money=without_money(self.asked.journeys, self.asked.settings.money),
            total=self.total,
            notes=self.known.troubles,
        )
        return launch_html(page)

    def write_page(self, path: Path) -> None:
        """Write the launch page.

        Raises:
            StorageError: the file cannot be written.
        """
        _write(path, self.page())

    def publish(self, settings: PublishSettings, values: Mapping[str, str], place: Place) -> Published:
        """Publish the launch page and the document, and send the recommendation to the channels.

        values: the secrets of the channels, by name. place: the history.

        Raises:
            UsageError: the recommendation was not recorded.
        """
        asked = self.asked
        said = headline(self.found, asked.release, asked.journeys)
        markdown = "\n".join(self.markdown(explain=True))
        files = {
            "index.html": self.page(),
            "recommendation.json": f"{self.json(explain=True)}\n".encode(),
            "recommendation.md": f"{markdown}\n".encode(),
        }
        return publish_recommendation(self.document(), said, files, settings, place, datetime.now(UTC), values)

    def write_template(self, path: Path) -> None:
        """Write the template of the review; an existing file is never replaced.

        Raises:
            UsageError: the file exists. StorageError: it cannot be written.
        """
        from loadgen.programme.launching.template import review_template

        text = review_template(
            self.found,
            self.asked.release,
            self.asked.journeys,
            self.id,
            self.asked.now.isoformat(timespec="seconds"),
            runs=self.known.runs,
            facts=self.known.facts,
            checks=self.known.checks,
            at_stake=self.at_stake,
        )
        _write(path, text.encode(), is_exclusive=True)


def ask(store: Store, place: Place, asked: Asked, *, is_recorded: bool) -> Decided:
    """Return the recommendation for a release. store: as of the same time as the question.

    Raises:
        ExceptionGroup: journeys that nothing knows have nearly the name of a known one, all of them (`UsageError`).
        StorageError, CloudError: the history cannot be read or written.
    """
    programme = asked.settings.programme
    runs, troubles = release_runs(asked.runs_dir, asked.release, asked.now if asked.is_as_of else None)
    folders = [path.name for path in list_runs(asked.runs_dir)]
    facts = programme.journeys
    live = [one for one in asked.journeys if one not in facts or facts[one].is_live]
    promised = promises_of(place, asked.objectives, live, asked.now, asked.as_of)
    # Before `gather`, which reports the files that could not be read until then.
    answers = store.events(RECOMMENDED, overrides.OVERRIDDEN, overrides.SIGNED)
    checked = store.events(CHECKED)
    known = replace(
        gather(store, asked.release, asked.journeys, runs, programme, (*troubles, *promised.troubles), folders),
        promises=promised.promises,
        override=overrides.override_in_force(answers, asked.release, asked.journeys, asked.now),
        checks=checks_of(asked.settings.launch.items, checked, asked.release, asked.now),
    )
    _check_names(asked, {name for run in known.runs for name in run.journeys})
    at_stake = stakes(asked.journeys, asked.settings.money, promised.volumes, known.changes)
    found = assess(known, programme.rules, asked.now)
    informing = (
        *impact_rows(at_stake, asked.release),
        *_about_people(place, asked, found, known, answers, asked.settings.launch.two_people),
    )
    found = replace(found, evidence=(*found.evidence, *informing))
    entries = (*promised.entries, *(one.entry for one in at_stake))
    id_ = ""
    if is_recorded:
        impact = impact_document(at_stake)
        id_ = record_recommendation(
            store, found, asked.release, asked.journeys, who(), asked.now, impact=impact, entries=entries
        )
    return Decided(asked, found, known, id_, at_stake, entries)


def _check_names(asked: Asked, of_runs: set[str]) -> None:
    """Reject a journey that nothing knows if its name is nearly that of a known one.

    A new journey that resembles no other one passes: its missing evidence is the answer.
    """
    known = of_runs | set(asked.settings.programme.journeys) | {one.journey for one in asked.objectives if one.journey}
    wrong = []
    for name in asked.journeys:
        nearest = get_close_matches(name, known, n=1, cutoff=_NEAR)
        if name not in known and nearest:
            message = f"no promise, no run of {one_line(asked.release, 60)} and no programme.toml"
            message += f' has the journey "{one_line(name, 80)}"'
            hint = f'did you mean "{nearest[0]}"? A new journey needs a promise, or a table [journeys.NAME]'
            wrong.append(UsageError(message, hint=f"{hint} in programme.toml"))
    if wrong:
        raise ExceptionGroup("unknown journeys", wrong)


def _about_people(
    place: Place, asked: Asked, found: Recommendation, known: Known, answers: Sequence[Event], two_people: bool
) -> list[Evidence]:
    """Return rows that inform: overrides with what happened after them, and signatures."""
    after = after_overrides(place, asked.objectives, answers, asked.journeys, asked.now, asked.as_of)
    said = {one.key: one.says for one in after}
    rows = list(overrides.notes_about(answers, found, asked.release, asked.journeys, asked.now, said))
    if record := record_said(after):
        rows.append(Evidence("overrides so far", "", "open", record, release=asked.release, required=False))
    signers = overrides.signers_said(answers, asked.release, asked.journeys, known.authors) if two_people else None
    return [*rows, *([signers] if signers is not None else [])]


def _write(path: Path, data: bytes, *, is_exclusive: bool = False) -> None:
    try:
        atomic_write(path, data, 0o644, is_exclusive=is_exclusive, may_lack_links=True)
    except FileExistsError:
        raise UsageError(f"{path} exists, and people have edited it", hint="name another file") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}", hint="check the folder") from None
