"""Every message that a user meets has a remedy: in the message, in its hint, or in docs/troubleshooting.md.

The messages are read from the source, which is not imported. There are two kinds of them:

- Raised messages are the texts of the errors of `loadgen/errors.py` and of their subclasses, and of the errors that
  commands collect. Each has a hint, or its own text contains the remedy.
- Shown messages are the warnings, notices, notes and reasons that a run, an agent or the controller prints. They have
  no hint. Each has an entry in the page, or its own text contains the remedy. In `ROOMS`, every text of three words
  or more is a message.

An entry of the page is a text in backticks in the first column of a table. "..." in it stands for names and numbers.
"""

from __future__ import annotations

import ast
import gc
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/troubleshooting.md"
PACKAGES = ("loadgen", "controller/loadgen_controller", "agent/loadgen_agent")

ROOMS = (
    "agent/loadgen_agent/",
    "controller/loadgen_controller/agents/",
    "controller/loadgen_controller/control/",
    "controller/loadgen_controller/core/",
    "controller/loadgen_controller/judging/",
    "controller/loadgen_controller/launch/",
    "controller/loadgen_controller/run/",
    "loadgen/drive/",
    "loadgen/engine/health/selfcheck.py",
    "loadgen/engine/recording/",
    "loadgen/measure/deltas/worker_loss.py",
)
"""Folders and files in which every text is one that a run, an agent or the controller shows."""

SHOWN_BY = frozenset(
    {
        "_note",
        "_notice",
        "_on_refused",
        "_trouble",
        "_warn",
        "critical",
        "error",
        "exception",
        "note",
        "notice",
        "warn",
        "warning",
    }
)
"""Functions that show a text, outside of `ROOMS`."""

NOT_SHOWN = frozenset(
    {
        "ArgumentParser",
        "ControlReply",
        "_hold",
        "add_argument",
        "add_argument_group",
        "compile",
        "debug",
        "echo",
        "event",
        "info",
        "log_to_stderr",
        "print",
        "say",
    }
)
"""Functions whose texts are help, progress, answers to a command, or names of limits: they report no problem."""

RAISED_BY = frozenset(("Fault", "_faulty", "fault"))
"""Functions that make an error of a scenario from a message and a hint."""

PARSERS = (
    "controller/loadgen_controller/commands/scale.py",
    "controller/loadgen_controller/commands/time_options.py",
    "controller/loadgen_controller/planning/option_parsing.py",
    "loadgen/aws/storage/s3.py",
    "loadgen/dsl/executors/parse_quantities.py",
    "loadgen/dsl/executors/standard.py",
    "loadgen/profiles/smooth_curves.py",
    "loadgen/units.py",
)
"""Modules whose ValueErrors become errors of a scenario or of a command line as they are, without a hint."""

PASSED_ON = {
    "loadgen/aws/storage/s3.py: UsageError(str(wrong))": "a ValueError of PARSERS",
    "loadgen/dsl/data/feed.py: here().fault(message)": "the message of _faulty, which is in RAISED_BY",
    "loadgen/dsl/executors/recorded_traffic_load.py: origin.fault(str(error))": "a ValueError of PARSERS",
    "loadgen/dsl/executors/standard.py: origin.fault(str(error))": "a ValueError of PARSERS",
    "loadgen/dsl/plans/plan_check.py: ProfileError(str(error))": "a ValueError of PARSERS",
}
"""Errors without a hint whose text is made elsewhere, where it is checked."""

_IGNORED = 'parts of "ignored ... messages from the controller", which has an entry, or of a BundleError with a hint'
_REPLY = "the result of a command that succeeded"
_CAUSE = "a part of a sentence that ends with its advice"
_PROGRESS = "a line about the progress of a run"
PARTS = {
    "agent/loadgen_agent/supervisor/controller_bounds.py:_why_not": _IGNORED,
    "agent/loadgen_agent/supervisor/controller_bounds.py:_wrong_adjust": _IGNORED,
    "agent/loadgen_agent/supervisor/controller_bounds.py:_wrong_change": _IGNORED,
    "agent/loadgen_agent/supervisor/controller_bounds.py:_wrong_start": _IGNORED,
    "agent/loadgen_agent/supervisor/controller_bounds.py:_wrong_welcome": _IGNORED,
    "agent/loadgen_agent/supervisor/controller_bounds.py:_wrongs": _IGNORED,
    "agent/loadgen_agent/supervisor/phase_log.py:_what": _PROGRESS,
    "agent/loadgen_agent/supervisor/phase_log.py:phase_text": _PROGRESS,
    "controller/loadgen_controller/agents/printed_output.py:printed_text": "a line that names a file",
    "controller/loadgen_controller/control/request_handler.py:_lines": _REPLY,
    "controller/loadgen_controller/control/run_service.py:_what": _PROGRESS,
    "controller/loadgen_controller/core/load_change_messages.py:_text": _REPLY,
    "controller/loadgen_controller/judging/unfit_cause.py:_lag": _CAUSE,
    "controller/loadgen_controller/judging/unfit_cause.py:_late": _CAUSE,
    "controller/loadgen_controller/judging/unfit_cause.py:_of_cpu": _CAUSE,
    "controller/loadgen_controller/judging/unfit_cause.py:_of_load": _CAUSE,
    "controller/loadgen_controller/judging/unfit_cause.py:_of_machine": _CAUSE,
    "controller/loadgen_controller/judging/unfit_cause.py:_of_scenario": _CAUSE,
    "controller/loadgen_controller/judging/unfit_cause.py:_starved": _CAUSE,
}
"""Functions whose texts need no remedy of their own, and why."""

FRAGMENTS = {
    " whose ids begin with ...": "part of an error with a hint",
    "(a load without a name)": "a name in an error with a hint",
    "... of the load": "part of a sentence about missing data, of which the rest has an entry",
    "a factor: loadgen scale 1.5": "part of a hint",
    "of the load": "part of a note that has an entry",
    "the end of the load": "part of a sentence that has an entry",
}
"""Single texts in `ROOMS` that are no messages, and what they are."""

MADE_OF_VALUES = frozenset(("AgentLost", "IllegalTransition", "LimitExceeded"))
"""Errors whose class makes the message from values, and adds the hint."""

OUTCOMES = frozenset(("ExpectFailed", "IterationEnded", "RequestFailed"))
"""Errors within an iteration. They and their subclasses become an outcome."""

GAP = "\0"
"""Stands for a value in a text."""

_VERBS = (
    "accept|add|allow|ask|call|change|check|choose|correct|create|declare|describe|do not|end|exchange|find|free|give|"
    "install|join|keep|leave|look|lower|make|move|name|pass|put|raise|rename|remove|repeat|report|restore|return|"
    "reveal|run|see|set|sign|spread|start|stop|unset|update|use|wait|write"
)
_REMEDY = re.compile(
    rf"(?:^|[.:;,(] |\b(?:or|and|please|then) )(?:{_VERBS})\b"  # an order: "invalid port 70000: use 0 to 65535"
    r"|\bmust\b|\bneeds?\b|\bat (?:least|most)\b|(?<!not )\bonly allowed\b",  # a rule: "must be a number above 0"
    re.IGNORECASE,
)


_WITHOUT_TEXTS = frozenset(("annotation", "ctx", "decorator_list", "op", "ops", "returns", "type_ignores"))
"""Fields of syntax nodes that contain no message."""


_SPECIAL = frozenset(
    {
        ast.AnnAssign,
        ast.Assert,
        ast.Assign,
        ast.Call,
        ast.ClassDef,
        ast.Compare,
        ast.Constant,
        ast.Expr,
        ast.FunctionDef,
        ast.JoinedStr,
        ast.Subscript,
        ast.keyword,
    }
)
"""Syntax nodes that decide whether texts in them are messages."""


@dataclass(frozen=True, slots=True)
class Message:
    """One text that a user may see. place: file and line. text: the text with GAP for values."""

    place: str
    text: str
    has_hint: bool = False

    @property
    def has_remedy(self) -> bool:
        return self.has_hint or _REMEDY.search(self.text) is not None

    def __str__(self) -> str:
        return f"{self.place}: {shown(self.text)}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One text of the page. pieces: its parts between the values."""

    line: int
    text: str

    @property
    def pieces(self) -> list[str]:
        return [piece for piece in self.text.split("...") if piece.strip()]

    @property
    def is_sentence(self) -> bool:
        """Whether it is long enough to name one message. A short text such as `refused` names an outcome."""
        return words(self.text) > 1 and sum(map(str.isalpha, self.text)) >= 9

    def matches(self, text: str) -> bool:
        """Return whether the text has all pieces of this entry, in order."""
        at = 0
        for piece in self.pieces:
            at = text.find(piece, at)
            if at < 0:
                return False
            at += len(piece)
        return True

    def __str__(self) -> str:
        return f"docs/troubleshooting.md:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that the tests need to know about the source."""

    raised: list[Message]
    shown: list[Message]
    passed_on: list[Message]
    """Errors without a hint whose message is made elsewhere. `text` is the call."""
    texts: list[str]
    """All texts, except docstrings."""


class Reader:
    """Reads the messages of one module after the other.

    errors: for each error class, whether it is an outcome. constants: the texts that have a name.
    """

    def __init__(self, errors: Mapping[str, bool], constants: Mapping[str, str]) -> None:
        self._errors, self._constants = errors, constants
        self.found = Found([], [], [], [])
        self._file = ""
        self._is_room = self._is_parser = False

    def read(self, file: str, tree: ast.Module) -> None:
        self._file, self._is_room, self._is_parser = file, file.startswith(ROOMS), file in PARSERS
        self._visit(tree, self._is_room)

    def _visit(self, node: ast.AST, is_shown: bool) -> None:
        """Record the texts in a node. is_shown: whether its sentences are messages."""
        if type(node) in _SPECIAL:
            if isinstance(node, (ast.Constant, ast.JoinedStr)):
                self._text(node, is_shown)
                return
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # a docstring
                return
            is_shown = self._has_messages(node) and is_shown
        for name in node._fields:
            if name in _WITHOUT_TEXTS:
                continue
            value = getattr(node, name, None)
            for one in value if isinstance(value, list) else (value,):
                if isinstance(one, ast.AST) and type(one) is not ast.Name:
                    self._visit(one, is_shown)

    def _has_messages(self, node: ast.AST) -> bool:
        """Return whether texts in this node may be messages. Those of a call are recorded here."""
        match node:
            case ast.Call():
                return self._call(node)
            case ast.keyword(arg=name):
                return name not in ("help", "hint", "name")
            case ast.FunctionDef(name=name):
                return f"{self._file}:{name}" not in PARTS
            case ast.ClassDef(bases=bases):  # the values of an enumeration are names
                return not any(ast.unparse(base).endswith("Enum") for base in bases)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                return not name.lower().endswith("hint")
            case ast.Compare() | ast.Assert() | ast.Subscript():  # Subscript: a key
                return False
        return True

    def _text(self, node: ast.Constant | ast.JoinedStr, is_shown: bool) -> None:
        text = template(node)
        if text != GAP:
            self.found.texts.append(text)
            if is_shown and words(text) > 2 and shown(text) not in FRAGMENTS:
                self.found.shown.append(self._message(node, text))
        if isinstance(node, ast.JoinedStr):
            for part in node.values:
                if isinstance(part, ast.FormattedValue):  # its expression may contain a text of its own
                    self._visit(part.value, is_shown)

    def _call(self, node: ast.Call) -> bool:
        """Record the messages of a call, and return whether further texts in it may be messages."""
        name = called(node)
        if name in self._errors or name in RAISED_BY or (name == "add" and ast.unparse(node.func) == "errors.add"):
            self._raised(node, name)
            return False
        if name == "ValueError" and self._is_parser and node.args:
            self.found.raised.append(self._message(node, template(node.args[0])))
            return False
        if name in SHOWN_BY and not self._is_room:
            for one in node.args:
                text = self._constants.get(one.id, GAP) if isinstance(one, ast.Name) else template(one)
                if words(text) > 2:
                    self.found.shown.append(self._message(node, text))
        return name not in NOT_SHOWN

    def _raised(self, node: ast.Call, name: str) -> None:
        """Record the message of an error, and whether it has a hint."""
        args = node.args[2:] if name == "Fault" else node.args  # Fault(file, line, message, hint)
        if self._errors.get(name) or name in MADE_OF_VALUES or not args:
            return
        hints = [*args[1:], *(one.value for one in node.keywords if one.arg == "hint")]
        has_hint = name == "WireError" or any(not isinstance(hint, ast.Constant) or hint.value for hint in hints)
        text = template(args[0])
        if words(text) > 1:
            self.found.raised.append(self._message(node, text, has_hint=has_hint))
        elif not has_hint and name != "ScenarioError" and not isinstance(args[0], ast.Starred):
            self.found.passed_on.append(self._message(node, ast.unparse(node)))

    def _message(self, node: ast.expr, text: str, *, has_hint: bool = False) -> Message:
        return Message(f"{self._file}:{node.lineno}", text, has_hint)


def template(node: ast.expr) -> str:
    """Return the text of an expression with GAP for values; of two alternatives, the first."""
    match node:
        case ast.Constant(value=str() as text):
            return re.sub(r"%(?:\.\d)?[sdrfg]\b", GAP, text) if "%" in text else text
        case ast.JoinedStr(values=values):
            return "".join(map(template, values))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return template(left) + template(right)
        case ast.IfExp(body=body):
            return template(body)
    return GAP


def shown(text: str) -> str:
    """Return the text as the page writes it."""
    return text.replace(GAP, "...")


def words(text: str) -> int:
    """Return the number of words of two letters or more."""
    return sum(len(word) > 1 and word.isalpha() for word in (one.strip(".,:;()\"'`") for one in text.split()))


def called(node: ast.Call) -> str:
    """Return the last part of the name of the called function."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def error_classes(sources: Mapping[str, str]) -> dict[str, bool]:
    """Return the names of LoadgenError and its subclasses, and whether each is an outcome of an iteration."""
    bases = {
        name: set(re.findall(r"\w+", of))
        for text in sources.values()
        for name, of in re.findall(r"^class (\w+)\(([^)]*)\)", text, re.MULTILINE)
    }
    found = {"LoadgenError": False}
    while more := [name for name, of in bases.items() if name not in found and of & found.keys()]:
        for name in more:
            found[name] = name in OUTCOMES or any(found.get(base, False) for base in bases[name])
    return found


def collect(sources: Mapping[str, str]) -> Found:
    """Return the messages of some modules, given as their source by file."""
    errors = error_classes(sources)
    trees = {file: ast.parse(text) for file, text in sources.items()}
    constants = {
        node.target.id: template(node.value)
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
    }
    reader = Reader(errors, constants)
    for file, tree in trees.items():
        reader.read(file, tree)
    return reader.found


@cache
def sources() -> dict[str, str]:
    """Return the source of all modules by their path from the root."""
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "v1" not in path.relative_to(ROOT).parts  # generated
    }


@cache
def found() -> Found:
    gc.disable()  # halves the time: a million syntax nodes are made, and none is garbage
    try:
        return collect(sources())
    finally:
        gc.enable()


def entries(page: str) -> Iterator[Entry]:
    """Yield the entries of the page: the texts in backticks in the first columns of its tables."""
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("| ") and not line.startswith("| class "):
            for text in re.findall(r"`([^`]+)`", line.split(" | ")[0]):
                yield Entry(number, text)


def pages_classes(page: str) -> set[str]:
    """Return the classes in the table of error classes."""
    rows = page.partition("## Error classes")[2].partition("\n## ")[0].splitlines()
    return {name for row in rows if row.startswith("| `") for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}


def public_classes(sources: Mapping[str, str]) -> set[str]:
    return {name for name in error_classes(sources) if not name.startswith("_")}


def without_remedy(of: Found, page: str) -> list[str]:
    """Return the shown messages that have neither a remedy nor an entry in the page."""
    known = [entry for entry in entries(page) if entry.is_sentence]
    return [str(one) for one in of.shown if not one.has_remedy and not any(e.matches(one.text) for e in known)]


def without_hint(of: Found) -> list[str]:
    """Return the raised messages that have no remedy, and the errors that pass on an unchecked text without a hint."""
    passed_on = [one for one in of.passed_on if key(one) not in PASSED_ON]
    return [str(one) for one in (*of.raised, *passed_on) if not one.has_remedy or one in passed_on]


def key(one: Message) -> str:
    return f"{one.place.rpartition(':')[0]}: {one.text}"


def stale(of: Found, page: str) -> list[str]:
    """Return the entries of the page that match no text of the source."""
    end = "\1"
    texts = end + end.join(of.texts) + end

    def exists(entry: Entry) -> bool:
        longest = max(entry.pieces, key=len)
        at = texts.find(longest)
        while at >= 0:
            after = texts.find(end, at)
            if entry.matches(texts[texts.rfind(end, 0, at) + 1 : after]):
                return True
            at = texts.find(longest, after)
        return False

    return [str(entry) for entry in entries(page) if not exists(entry)]


# -- the page -------------------------------------------------------------------------------------


def test_every_error_class_is_in_the_page_and_no_other_class_is() -> None:
    assert pages_classes(PAGE.read_text()) == public_classes(sources())


def test_every_outcome_of_a_failed_request_is_in_the_page() -> None:
    module = sources()["loadgen/clients/protocol/outcomes.py"]
    outcomes = set(re.findall(r'^[A-Z][A-Z0-9_]*: Final = "(.*)"', module, re.MULTILINE))

    assert len(outcomes) > 10
    assert outcomes <= {entry.text for entry in entries(PAGE.read_text())}


def test_every_message_of_run_agent_and_controller_has_an_entry_or_contains_its_remedy() -> None:
    assert len(found().shown) > 200
    missing = without_remedy(found(), PAGE.read_text())
    assert missing == []  # add an entry, or end the message with what to do


def test_every_entry_of_the_page_is_a_text_of_the_source() -> None:
    gone = stale(found(), PAGE.read_text())

    assert gone == []  # write the text as the source has it, with "..." for values, or remove the entry


def test_every_row_of_the_page_begins_with_a_text_that_users_see() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]

    assert not [row for row in rows if "`" not in row.split(" | ")[0] and not row.endswith(" | what to do |")]


# -- the source -----------------------------------------------------------------------------------


def test_every_error_has_a_hint_or_contains_its_remedy() -> None:
    assert len(found().raised) > 600
    missing = without_hint(found())
    assert missing == []  # give each a hint


def test_every_exception_from_the_rules_is_still_needed() -> None:
    functions = {f"{file}:{name}" for file in sources() for name in re.findall(r"def (\w+)\(", sources()[file])}
    texts = set(map(shown, found().texts))

    assert not PARTS.keys() - functions
    assert not FRAGMENTS.keys() - texts
    assert not PASSED_ON.keys() - set(map(key, found().passed_on))
    assert not set(PARSERS) - sources().keys()
    assert not [room for room in ROOMS if not any(file.startswith(room) for file in sources())]


# -- the checks themselves ------------------------------------------------------------------------


def read(code: str, file: str = "controller/loadgen_controller/run/new.py") -> Found:
    """Return what is found in a module with this code, beside the real error classes."""
    return collect({"loadgen/errors.py": sources()["loadgen/errors.py"], file: code})


@pytest.mark.parametrize(
    "code",
    [
        'raise FleetError("the disk is gone")',
        'raise FleetError(f"{path} is gone", hint="")',
        'raise StorageError("the disk " + name + " is gone")',
        'errors.add("the disk is gone")',
        'origin.fault("the load is odd")',
        'Fault(file, 3, "the load is odd", "")',
        "raise UsageError(why)",
    ],
)
def test_error_without_a_remedy_is_found(code: str) -> None:
    assert len(without_hint(read(code))) == 1


@pytest.mark.parametrize(
    "code",
    [
        'raise FleetError("the disk is gone", hint="restore it")',
        'raise FleetError("the disk is gone: restore it")',
        'raise UsageError(f"invalid port {port}: it must be at most {MAX_PORT}")',
        "raise UsageError(why, hint=hint)",
        'raise WireError("the message is damaged")',
        'raise RequestFailed("reset", "the target closed the connection")',
        'raise KeyError("the disk is gone")',
    ],
)
def test_error_with_a_remedy_passes(code: str) -> None:
    assert not without_hint(read(code))


@pytest.mark.parametrize(
    "code",
    [
        'self._record.notice(f"agent {agent} is on fire")',
        'log.warning("agent %s is on fire", agent)',
        'def why() -> str:\n    return f"agent {agent} is on fire"',
    ],
)
def test_message_of_a_run_needs_an_entry(code: str) -> None:
    found = read(code)

    assert len(without_remedy(found, "")) == 1
    assert not without_remedy(found, "| `agent ... is on fire` | it burns | pour water |")
    assert without_remedy(found, "| `agent ... is on time` | it is fine | nothing |")


@pytest.mark.parametrize("file", ["loadgen/clients/new.py", "loadgen/sinks/new.py"])
def test_note_outside_of_the_rooms_needs_an_entry(file: str) -> None:
    code = 'NEWS: Final = "the target is on fire"\nrecorder.note(NEWS)\nother = "the target is fine today"'

    assert without_remedy(read(code, file), "") == [f"{file}:2: the target is on fire"]


def test_help_progress_docstrings_and_keys_are_no_messages() -> None:
    code = '''
"""The run is on fire."""
parser.add_argument("--fire", help="the run is on fire")
log.info("the run is on fire")
journal.event("the run is on fire")
if text == "the run is on fire": pass
table["the run is on fire"]
'''

    assert not read(code).shown


def test_entry_whose_message_is_gone_is_stale() -> None:
    code = 'log.warning("agent %s is on fire", agent)'

    assert stale(read(code), "| `agent ... is on fire` | it burns | pour water |") == []
    assert stale(read(code), "| `agent ... is on ice` | it is cold | wait |") == [
        "docs/troubleshooting.md:1: agent ... is on ice"
    ]


def test_new_class_is_missing_in_the_page() -> None:
    more = {**sources(), "loadgen/new.py": "class DiskGone(StorageError):\n    pass\n"}

    assert public_classes(more) - pages_classes(PAGE.read_text()) == {"DiskGone"}
