"""The draft: a scenario before it is Python. Every reader of traffic makes a draft, and one writer writes it.

`draft_of_logs` makes it from access logs, `write_scenario` turns it into Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "Call",
    "Child",
    "ChoiceFile",
    "DataFile",
    "Draft",
    "DraftEdge",
    "DraftGraph",
    "DraftNode",
    "Expression",
    "KnownNames",
    "Pick",
]


@dataclass(frozen=True)
class Pick:
    """A text that a request draws from a `ChoiceFile`. variable: its name in the scenario."""

    variable: str


@dataclass(frozen=True)
class Call:
    """One request. path: texts and picks, one after the other."""

    method: str
    path: tuple[str | Pick, ...]
    name: str = ""
    """Name in reports; empty: method and path."""
    expect: tuple[int, ...] = ()
    """Statuses that are no failure; empty: any."""
    notes: tuple[str, ...] = ()
    """Comments above the request, such as what is left to do."""


@dataclass(frozen=True)
class Child:
    """A part of an action: a request that is sent after the main request. mean: its number for each action."""

    call: Call
    mean: float


@dataclass(frozen=True)
class DraftNode:
    """A node of graphs. name: of its function. of: the name of its requests.

    children: the parts of its action, which are sent after the calls.
    """

    name: str
    of: str
    calls: tuple[Call, ...]
    children: tuple[Child, ...] = ()
    doc: str = ""

    @property
    def picks(self) -> set[str]:
        """The variables of the files that its requests draw from."""
        every = (*self.calls, *(child.call for child in self.children))
        return {part.variable for call in every for part in call.path if isinstance(part, Pick)}


@dataclass(frozen=True)
class Expression:
    """A call in Python, such as `lognormal(1.4, 0.8)`. arguments: as Python text."""

    function: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.function}({', '.join(self.arguments)})"


@dataclass(frozen=True)
class DraftEdge:
    """A successor of a node. to: name of the next node; empty: the session ends. think: None for the usual time."""

    to: str
    count: int
    think: Expression | None = None


@dataclass(frozen=True)
class DataFile:
    """A CSV file beside the scenario."""

    path: str
    rows: tuple[tuple[str, ...], ...]
    """The first one is the header."""


@dataclass(frozen=True)
class ChoiceFile:
    """A CSV file of texts with weights, and its variable in the scenario."""

    variable: str
    file: DataFile
    of: str
    """The template whose values it has; `other` for the paths of all other names."""
    note: str = ""

    @property
    def columns(self) -> tuple[str, str]:
        """The columns of the texts and of the weights."""
        value, weight = self.file.rows[0]
        return value, weight


@dataclass(frozen=True)
class DraftGraph:
    """The graph of one kind of sessions, and its load. name: its variable. starts, edges: counts by node."""

    name: str
    starts: dict[str, int]
    edges: dict[str, tuple[DraftEdge, ...]]
    think: Expression | None
    """Usual time between actions; None: no time at all."""
    load: str
    """The load, as Python text."""
    load_note: str = ""
    note: str = ""


@dataclass(frozen=True)
class Draft:
    """A scenario with at least one graph."""

    title: str
    command: str
    """The command that made it, for the docstring."""
    target: str
    nodes: tuple[DraftNode, ...]
    graphs: tuple[DraftGraph, ...]
    again: tuple[tuple[str, str], ...] = ()
    """Further nodes that do the same as another: name and name of the other."""
    session_header: str = "User-Agent"
    """The request header whose value is different for each session."""
    choices: tuple[ChoiceFile, ...] = ()
    files: tuple[DataFile, ...] = ()
    """Further files, such as arrivals."""
    words: tuple[str, ...] = ()
    """Names from `loadgen` that the loads, the pauses and the edges use."""

    @property
    def node_of(self) -> dict[str, DraftNode]:
        """All nodes by name, also those that do the same as another."""
        found = {node.name: node for node in self.nodes}
        return found | {name: found[other] for name, other in self.again}

    @property
    def data_files(self) -> tuple[DataFile, ...]:
        """All files beside the scenario."""
        return (*(one.file for one in self.choices), *self.files)


@dataclass(frozen=True)
class KnownNames:
    """Names in a scenario that exists, which a new draft keeps.

    nodes: functions by name of their requests. choices: variables of files by template.
    """

    nodes: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
