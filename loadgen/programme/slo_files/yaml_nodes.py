"""YAML as text with lines: no value is converted, and every node has its line.

YAML 1.1 reads `12:30:00` as 45000, `no` as false, and a date as a date. Here all of them stay texts, and the reader of
a field decides. A file is refused if it has more than 10 MB, 32 levels, 100 aliases, or 200,000 nodes after its
aliases are expanded (aliases of aliases grow exponentially). Duplicate keys are faults; the first one is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadgen.errors import Fault, UsageError
from loadgen.outside_text import one_line
from loadgen.yaml_file import YamlEvent, yaml_events

__all__ = [
    "MOST_BYTES",
    "Node",
    "Parsed",
    "YamlList",
    "YamlMap",
    "YamlText",
    "parse_documents",
    "plain_value",
    "read_documents",
]

_NO_YAML: Final = frozenset((".py", ".toml", ".html", ".csv", ".jsonl"))
MOST_BYTES: Final = 10_000_000
_MOST_DEPTH: Final = 32
_MOST_ALIASES: Final = 100
_MOST_NODES: Final = 200_000


@dataclass(frozen=True, slots=True)
class YamlText:
    """A scalar. is_plain: written without quotes, so that `null`, `~` and nothing mean "no value"."""

    text: str
    line: int
    is_plain: bool = True

    @property
    def is_null(self) -> bool:
        """Return whether this is YAML's null."""
        return self.is_plain and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(slots=True)
class YamlList:
    """A list of nodes."""

    line: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class YamlMap:
    """A mapping. values: by key. keys: the line of each key."""

    line: int
    values: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)


Node = YamlText | YamlList | YamlMap


@dataclass(slots=True)
class Parsed:
    """The documents of one file, and its faults. After a fault of syntax or of a limit, the rest is missing."""

    file: str
    documents: list[Node] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def read_documents(path: Path) -> Parsed:
    """Read the documents of a YAML file. A file that cannot be read is a fault, too."""
    name = str(path)

    def bad(message: str, hint: str) -> Parsed:
        return Parsed(name, faults=[Fault(name, 0, message, hint)])

    if path.suffix.lower() in _NO_YAML:
        return bad("is not a YAML file", "name a file with objectives; `loadgen slo new NAME` writes one")
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as exc:
        return bad(
            f"cannot be read: {exc.strerror or exc}", "name a file with objectives; `loadgen slo new NAME` writes one"
        )
    if len(data) > MOST_BYTES:
        return bad("larger than 10 MB", "split it into several files")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        return Parsed(name, faults=[Fault(name, line, "not UTF-8", "save it as UTF-8")])
    return parse_documents(text, name)


def parse_documents(text: str, name: str) -> Parsed:
    """Parse the documents of a text. name: of the file, for faults. A file without any document is a fault.

    Raises:
        UsageError: PyYAML is not installed.
    """
    parsed = Parsed(name)
    composer = _Composer(parsed)
    try:
        for event in yaml_events(text, name):
            composer.add(event)
    except UsageError as error:
        message = error.message
        if not message.startswith(f"{name}:") or "invalid YAML" not in message:
            raise
        head, _, rest = message.removeprefix(f"{name}:").partition(": ")
        line, problem = (int(head), rest) if head.strip().isdecimal() else (0, message.removeprefix(f"{name}: "))
        parsed.faults.append(Fault(name, line, problem, error.hint))
    except _LimitError as error:
        parsed.faults.append(error.fault)
    parsed.documents = [one for one in parsed.documents if not (isinstance(one, YamlText) and one.is_null)]
    if not parsed.documents and not parsed.faults:
        parsed.faults.append(Fault(name, 0, "empty: no document in it", "write one with: loadgen slo new NAME"))
    return parsed


class _LimitError(Exception):
    """The rest of the file is not read."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass(slots=True)
class _Open:
    """A map or list whose end has not come yet. key: waits for its value. size: nodes so far, with expanded aliases."""

    node: YamlMap | YamlList
    anchor: str
    key: YamlText | None = None
    is_skipping: bool = False
    size: int = 1


@dataclass(slots=True)
class _Composer:
    """Makes nodes of events, without recursion."""

    parsed: Parsed
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Node, int]] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)
    aliases: int = 0
    nodes: int = 0

    def add(self, event: YamlEvent) -> None:
        if event.tag and event.tag != "!":
            self._fault(event.line, f"tag {_quoted(event.tag)}", "leave tags out; all values are read as text")
        match event.kind:
            case "document":
                self.anchors, self.pending = {}, set()
            case "end document":
                pass
            case "map" | "list":
                if len(self.stack) >= _MOST_DEPTH:
                    raise _LimitError(
                        Fault(self.parsed.file, event.line, "more than 32 levels of nesting", "use fewer levels")
                    )
                node = YamlMap(event.line) if event.kind == "map" else YamlList(event.line)
                self.stack.append(_Open(node, event.anchor))
                if event.anchor:
                    self.pending.add(event.anchor)
            case "end":
                done = self.stack.pop()
                self.pending.discard(done.anchor)
                self._place(done.node, done.anchor, done.size)
            case "scalar":
                self._place(YamlText(event.text, event.line, event.is_plain), event.anchor, 1)
            case "alias":
                self._alias(event)

    def _alias(self, event: YamlEvent) -> None:
        self.aliases += 1
        if self.aliases > _MOST_ALIASES:
            raise _LimitError(Fault(self.parsed.file, event.line, "more than 100 aliases", "write the values out"))
        name = _quoted(event.text)
        if event.text in self.pending:
            self._fault(event.line, f"alias {name} is inside of its own anchor", "write the value out")
            self._place(YamlText("", event.line), "", 1)
        elif event.text not in self.anchors:
            self._fault(event.line, f"alias {name} has no anchor before it", f"define &{event.text}, or write it out")
            self._place(YamlText("", event.line), "", 1)
        else:
            node, size = self.anchors[event.text]
            self._place(node, "", size)

    def _place(self, node: Node, anchor: str, size: int) -> None:
        """Put a complete node into the open one. size: its nodes, with expanded aliases."""
        self.nodes += 1
        if max(size, self.nodes) > _MOST_NODES:
            raise _LimitError(
                Fault(
                    self.parsed.file,
                    node.line,
                    "more than 200,000 values, with aliases expanded",
                    "write fewer objectives into one file",
                )
            )
        if anchor:
            self.anchors[anchor] = (node, size)
        if not self.stack:
            self.parsed.documents.append(node)
            return
        top = self.stack[-1]
        top.size += size
        if isinstance(top.node, YamlList):
            top.node.items.append(node)
        elif top.key is None and not top.is_skipping:
            if isinstance(node, YamlText):
                top.key = node
            else:
                self._fault(node.line, "a list or a mapping as a key", "use a text as a key")
                top.is_skipping = True
        else:
            self._pair(top.node, top.key, node)
            top.key, top.is_skipping = None, False

    def _pair(self, mapping: YamlMap, key: YamlText | None, value: Node) -> None:
        if key is None:
            return
        if key.text == "<<" and key.is_plain:
            self._fault(key.line, "merge key <<", "write the fields out")
        elif key.text in mapping.values:
            first = mapping.keys[key.text]
            self._fault(key.line, f"duplicate key {_quoted(key.text)}, first on line {first}", "keep one of them")
        else:
            mapping.values[key.text] = value
            mapping.keys[key.text] = key.line

    def _fault(self, line: int, message: str, hint: str) -> None:
        self.parsed.faults.append(Fault(self.parsed.file, line, message, hint))


def _quoted(text: str) -> str:
    return f'"{one_line(text, 60)}"'


def plain_value(node: Node) -> object:
    """Return a node as JSON values, for fields that we do not interpret.

    Unquoted numbers, `true`, `false` and null become such values, because other readers of the file read them so;
    all other texts stay texts.
    """
    match node:
        case YamlList(items=items):
            return [plain_value(one) for one in items]
        case YamlMap(values=values):
            return {key: plain_value(value) for key, value in values.items()}
        case YamlText(text=text, is_plain=True):
            return _core_value(text, is_null=node.is_null)
        case YamlText(text=text):
            return text


def _core_value(text: str, *, is_null: bool) -> object:
    if is_null:
        return None
    if text in ("true", "false"):
        return text == "true"
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdecimal() and len(digits) <= 15 and (digits == "0" or digits[0] != "0"):
        return int(text)
    whole, dot, part = digits.partition(".")
    is_decimal = dot and whole.isascii() and whole.isdecimal() and part.isascii() and part.isdecimal()
    if is_decimal and len(digits) <= 16 and (whole == "0" or whole[0] != "0"):
        return float(text)
    return text
