"""A set of objectives as it was read from files, with every fault, note and loss.

A *fault* makes the files unusable. A *note* is about something that is useless, lost or not judged; the files are
read anyway. `loadgen slo check --strict` treats notes as faults.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from loadgen.errors import Fault, ScenarioError
from loadgen.programme.composites.composite import Composite
from loadgen.programme.promises.objectives import DataSource, Objective

__all__ = ["Findings", "Loss", "Place", "Reading", "Service", "SloSet"]


@dataclass(frozen=True, slots=True)
class Service:
    """A service that objectives belong to."""

    name: str
    display_name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class SloSet:
    """Objectives with the sources, services and composites of files. All are sorted by name, which is unique."""

    objectives: tuple[Objective, ...] = ()
    sources: tuple[DataSource, ...] = ()
    services: tuple[Service, ...] = ()
    composites: tuple[Composite, ...] = ()

    @classmethod
    def of(
        cls,
        objectives: Iterable[Objective],
        sources: Iterable[DataSource] = (),
        services: Iterable[Service] = (),
        composites: Iterable[Composite] = (),
    ) -> SloSet:
        """Return a set, sorted by name."""
        return cls(
            tuple(sorted(objectives, key=lambda one: one.name)),
            tuple(sorted(sources, key=lambda one: one.name)),
            tuple(sorted(services, key=lambda one: one.name)),
            tuple(sorted(composites, key=lambda one: one.name)),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where an objective stands: its file, and the line of each of its fields that a later check may name."""

    file: str
    line: int
    lines: Mapping[str, int] = field(default_factory=dict)

    def of(self, name: str) -> int:
        """Return the line of a field, or else that of the objective."""
        return self.lines.get(name, self.line)


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that an exported file cannot express. objective: its name, or "" for all."""

    objective: str
    field: str
    reason: str
    effect: str

    def __str__(self) -> str:
        of = f"{self.objective}: " if self.objective else ""
        return f"{of}{self.field}: {self.reason}; {self.effect}"


@dataclass(slots=True)
class Findings:
    """The faults and notes of one file, as they are found."""

    file: str
    faults: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)

    def fault(self, line: int, message: str, hint: str = "") -> None:
        """Add a fault: what is wrong, and what to write."""
        self.faults.append(Fault(self.file, line, message, hint))

    def note(self, line: int, message: str, hint: str = "") -> None:
        """Add a note: what is useless or lost, and what follows from that."""
        self.notes.append(Fault(self.file, line, message, hint))


@dataclass(frozen=True, slots=True)
class Reading:
    """The content of files. places: by the name of an objective. With faults, `slos` has only the whole objectives."""

    slos: SloSet
    faults: tuple[Fault, ...] = ()
    notes: tuple[Fault, ...] = ()
    places: Mapping[str, Place] = field(default_factory=dict)

    def faults_of(self, *, strict: bool = False) -> tuple[Fault, ...]:
        """Return the faults, sorted by place; with `strict` the notes are faults, too."""
        return tuple(sorted({*self.faults, *(self.notes if strict else ())}))

    def check(self, *, strict: bool = False) -> SloSet:
        """Return the set if it has no fault.

        Raises:
            ScenarioError: all faults at once, with file and line.
        """
        if faults := self.faults_of(strict=strict):
            raise ScenarioError(faults)
        return self.slos
