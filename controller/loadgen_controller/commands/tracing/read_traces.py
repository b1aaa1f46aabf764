"""Reads the traces of a run from a file or a backend, and keeps them in the run folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadgen.backends.backend import (
    Backend,
    BackendRefused,
    CallPlan,
    Found,
    Progress,
    Refused,
    read_until_still,
)
from loadgen.backends.files import FilesBackend
from loadgen.backends.kept_traces import KeptTraces, absent_ids, keep_absent, kept_sizes
from loadgen.backends.settings import TraceSource
from loadgen.dsl.plans.loadgen_toml import Settings
from loadgen.dsl.secret import secret_value
from loadgen.errors import UsageError
from loadgen_controller.commands.cloudwatch_metrics import span_of
from loadgen_controller.console_output import echo

__all__ = ["TraceReading", "reading_of"]

_FILE: Final = "file"
_KEPT: Final = "run folder"
_SHOW_NOTES: Final = 200


@dataclass(slots=True)
class TraceReading:
    """A source of traces for one run. backend: None if the traces are already in the run folder.

    name: the source in words. label: its name in the files of the run folder. refused: reasons for which the source did
    not return traces, with counts. kept: ids in the run folder: 0, or the number of spans of a trace that is cut.
    absent: ids that the file is known not to have.
    """

    folder: Path
    name: str
    label: str
    backend: Backend | None
    refused: Counter[str] = field(default_factory=Counter)
    kept: dict[str, int] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Return the ids to read: those that are not in the run folder, and those that a backend may have whole by now.

        A file does not change: what it lacks, or has cut, is not read again.
        """
        if isinstance(self.backend, FilesBackend):
            return [one for one in ids if one not in self.kept and one not in self.absent]
        return [one for one in ids if self.kept.get(one, 1)]

    def plan(self, ids: Sequence[str]) -> CallPlan | None:
        """Return the calls that reading these traces needs; None if all of them are in the run folder."""
        wanted = self.missing(ids)
        return self.backend.plan(len(wanted)) if wanted and self.backend is not None else None

    def read(self, ids: Sequence[str], wait_s: float, ended_ago_s: float) -> BackendRefused | None:
        """Read those traces that are not in the run folder, and store them there. Ctrl-C keeps what was read.

        wait_s: most time to wait for traces that have not arrived. ended_ago_s: the age of the run.

        Returns:
            The refusal with which the source ended the reading early; None if it answered all ids.
        """
        wanted = self.missing(ids)
        if self.backend is None or not wanted:
            return None
        if isinstance(self.backend, FilesBackend):
            wait_s = 0.0  # a file does not grow while we wait
        absent: list[str] = []
        progress = _Notes()
        refusal: BackendRefused | None = None
        try:
            cut = {one: spans for one in wanted if (spans := self.kept.get(one, 0))}
            with KeptTraces(self.folder, self.label, cut=cut) as kept:
                for one, answer in read_until_still(self.backend, wanted, wait_s, progress, ended_ago_s=ended_ago_s):
                    kept.add(answer)
                    if isinstance(answer, Refused):
                        self.refused[answer.reason] += 1
                    elif isinstance(answer, Found):
                        progress.found += 1
                        self.kept[one] = len(answer.trace.spans) if answer.is_cut else 0
                    else:
                        absent.append(one)
            if absent and isinstance(self.backend, FilesBackend):
                keep_absent(self.folder, self.backend.content, self.absent.union(absent))
        except BackendRefused as error:
            refusal = error
        finally:
            self.backend.close()
        return refusal


class _Notes:
    """Prints the notes of a reading on stderr, each once."""

    def __init__(self) -> None:
        self.found = 0
        self._last = ""
        self._count = 0

    def __call__(self, progress: Progress) -> None:
        """Print the note of a progress, if it is a new one."""
        if progress.note and progress.note != self._last and self._count < _SHOW_NOTES:
            self._last = progress.note
            self._count += 1
            echo(f"{progress.done:,} of {progress.of:,} traces: {progress.note}", err=True)


def reading_of(path: Path, file: Path | None, backend: str, env: str, settings: Settings) -> TraceReading:
    """Return the source of the traces of a run: a file, a table of `loadgen.toml`, or what is in the run folder.

    file, backend, env: options, of which at most one is given. Without any, the run folder is used if it has traces,
    or else the only source in `loadgen.toml`.

    Raises:
        UsageError: there is no such source, it cannot be opened, or no source was chosen.
    """
    kept = kept_sizes(path)
    if env:
        if env not in settings.environments:
            raise UsageError(f"--env: loadgen.toml has no environment {env!r}", hint=f"write [env.{env}]")
        backend = settings.environments[env].trace or ""
        if not backend:
            raise UsageError(f"--env: [env.{env}] has no source of traces", hint='add trace = "NAME" to it')
    if file is not None:
        files = FilesBackend(file)
        return TraceReading(path, f"file {file.name}", _FILE, files, kept=kept, absent=absent_ids(path, files.content))
    if not backend and kept:
        return TraceReading(path, _KEPT, _FILE, None, kept=kept)
    source = _source_of(settings, backend)
    return TraceReading(path, f"{source.name} ({source.backend})", source.name, _opened(source, path), kept=kept)


def _source_of(settings: Settings, name: str) -> TraceSource:
    known = settings.traces
    if name:
        if name not in known:
            hint = f"choose one of: {', '.join(known)}" if known else "add a table [trace.NAME], or use --file PATH"
            raise UsageError(f"--backend: loadgen.toml has no source of traces {name!r}", hint=hint)
        return known[name]
    if len(known) == 1:
        return next(iter(known.values()))
    if known:
        raise UsageError("loadgen.toml has several sources of traces", hint=f"add --backend: {', '.join(known)}")
    raise UsageError(
        "no source of traces is configured",
        hint="add --file PATH, or a table [trace.NAME] to loadgen.toml (docs/traces.md)",
    )


def _opened(source: TraceSource, path: Path) -> Backend:
    begin, end = (at.timestamp() for at in span_of(path))
    if source.backend == "xray":
        from loadgen.aws.account.boto_clients import Clients
        from loadgen.aws.target.xray_spans import XrayBackend  # slow to import (boto3), so only here

        clients = Clients()
        if not (region := source.region or clients.default_region):
            raise UsageError(
                f"trace.{source.name}: the AWS region of the traces is unknown",
                hint='write region = "eu-west-1", or set AWS_REGION',
            )
        return XrayBackend(clients, region, (begin, end), source.keep)
    from loadgen.backends.open_backend import open_backend  # imports httpx, which files do not need

    secrets = {name: value for name in source.secrets if (value := secret_value(name)) is not None}
    return open_backend(source, secrets, (begin, end))
