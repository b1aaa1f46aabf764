"""Texts from outside, whatever is in them."""

from __future__ import annotations

import ast
import csv
import html
import io
import json
import logging
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.logs import LineFormatter
from loadgen.outside_text import block, in_cell, in_html, in_json, one_line

ROOT = Path(__file__).parents[1]
ANY_TEXT = st.text(st.characters(), max_size=60)


def is_hidden(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


@given(ANY_TEXT)
def test_a_line_has_no_character_that_is_not_visible(text: str) -> None:
    assert not [char for char in one_line(text).replace("\u200d", "") if is_hidden(char)]


@given(ANY_TEXT)
def test_a_line_that_is_safe_stays_as_it_is(text: str) -> None:
    assert one_line(one_line(text)) == one_line(text)


@pytest.mark.parametrize(
    "text",
    [
        "POST /cart: expect status",
        "Größe 購入 عربى",
        "no break\xa0space",
        "C:\\new\\x1b",
        "Class::method, a ## b, ::1",
        "❤️ 👨‍👩‍👧 ❤️‍🔥 👍🏽 🚀",
        "p(95) < 300ms",
    ],
)
def test_a_text_that_people_write_is_shown_as_it_is(text: str) -> None:
    assert one_line(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J\x7f\x00", "\\x9b2J\\x7f\\x00"),
        ("a\r\nb\tc\x0b\x0c\x85\u2028\u2029d", "a\\r\\nb\\tc\\x0b\\x0c\\x85\\u2028\\u2029d"),
        ("\u202eabc\u202c\u2066", "\\u202eabc\\u202c\\u2066"),
        ("a\u200bb\ufeff\xad", "a\\u200bb\\ufeff\\xad"),
        ("a\u200db\ufe0f\u3164", "a\\u200db\\ufe0f\\u3164"),
        ("\ud800\U000e0041", "\\ud800\\U000e0041"),
        ("x::error file=a::b", "x\\x3a:error file=a::b"),
        ("##[add-mask]a ##vso[task.x]", "\\x23#[add-mask]a \\x23#vso[task.x]"),
    ],
)
def test_what_is_not_visible_and_what_a_ci_would_obey_is_shown_as_a_code(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_a_line_is_cut_to_what_its_caller_has_room_for() -> None:
    assert one_line("\n" * 100, 10) == "\\n\\n\\n\\..."
    assert one_line("abc", 3) == "abc"


def test_a_block_keeps_its_lines_and_makes_tabs_spaces() -> None:
    assert block("GET /\r\n\tx\x1b\r\ry\n") == ["GET /", "        x\\x1b\\r\\ry", ""]


@given(ANY_TEXT)
def test_html_has_one_line_without_markup(text: str) -> None:
    made = in_html(text)
    assert not set(made) & set("<>\"'\n")
    assert html.unescape(made) == one_line(text)


@given(st.dictionaries(ANY_TEXT, ANY_TEXT))
def test_json_for_a_terminal_says_the_same_and_hides_nothing(value: dict[str, str]) -> None:
    made = in_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(made) == value
    assert not [c for c in made if is_hidden(c) and unicodedata.category(c) not in ("Co", "Cn")]


@given(ANY_TEXT)
def test_no_cell_is_a_formula(text: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerow([in_cell(text), "next"])
    ((cell, follower),) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert follower == "next"
    assert not cell.lstrip().startswith(("=", "@"))
    if cell.startswith(("+", "-")):
        float(cell)


@pytest.mark.parametrize("text", ["-5", "+1.5e-3", "12", "POST /cart", "'quoted", "*"])
def test_numbers_and_names_in_cells_stay(text: str) -> None:
    assert in_cell(text) == text


@pytest.mark.parametrize("text", ["=1+1", "+cmd|x", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"])
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    assert in_cell(text).startswith("'")


def test_a_log_record_is_one_line_and_a_traceback_is_indented_below_it() -> None:
    try:
        raise ValueError("x\x1b[2J\nPASSED (exit code 0)")
    except ValueError:
        info = sys.exc_info()
    record = logging.LogRecord("a", logging.INFO, "", 0, "%s", ("said\nagent: fine\x1b",), info)
    first, *others = LineFormatter("%(levelname)s %(message)s").format(record).split("\n")
    assert first == "INFO said\\nagent: fine\\x1b"
    assert others[0] == "  Traceback (most recent call last):"
    assert others[-2:] == ["  ValueError: x\\x1b[2J", "  PASSED (exit code 0)"]


# -- nothing prints in another way ----------------------------------------------------------------

FORBIDDEN = {
    "typer.echo": "console_output.py has echo",
    "typer.secho": "console_output.py has echo",
    "typer.confirm": "console_output.py has ask_on_stderr",
    "print": "console_output.py has echo",
    "Console": "console_output.py has Output",
    "rich.console.Console": "console_output.py has Output",
    "sys.stdout.write": "console_output.py has echo",
    "sys.stderr.write": "console_output.py has echo",
    "traceback.print_exc": "console_output.py has echo",
    "logging.basicConfig": "loadgen/logs.py has log_to_stderr",
    "html.escape": "loadgen/outside_text.py has in_html",
    "escape": "loadgen/outside_text.py has in_html",
}
ALLOWED = {
    "controller/loadgen_controller/console_output.py": {"typer.echo", "typer.secho", "typer.confirm"},
    "loadgen/outside_text.py": {"html.escape"},
    "loadgen/logs.py": {"logging.basicConfig"},
    "controller/loadgen_controller/__main__.py": {"sys.stdout.write"},  # the version; completions, without typer
    "controller/loadgen_controller/cli.py": {"sys.stderr.write"},  # an `annotation`, which is a command of a CI
    "controller/loadgen_controller/commands/ci.py": {"sys.stdout.write"},  # an `annotation`
    "controller/loadgen_controller/commands/completion.py": {"sys.stdout.write"},  # a fixed script
    "controller/loadgen_controller/planning/core_rate/probe_server.py": {"sys.stdout.write"},  # its own port
    "agent/loadgen_agent/cli.py": {"sys.stderr.write"},  # of a `block`
    "loadgen/target/__main__.py": {"sys.stderr.write", "sys.stdout.write"},  # of a `block`; its own address
    "loadgen/target/llm/__main__.py": {"sys.stderr.write", "sys.stdout.write"},  # of a `block`; its own address
}


LAST_WORDS = {name.rpartition(".")[2] for name in FORBIDDEN}
MENTIONED = re.compile(rf"\b(?:{'|'.join(LAST_WORDS)}|rich\.text)\b")


def names(path: Path) -> Iterator[tuple[str, int]]:
    """What is called by its plain name, and every `a.b`, called or handed on.

    Without those that are far from forbidden: to parse and print all code takes seconds.
    """
    source = path.read_text(encoding="utf-8")
    if MENTIONED.search(source) is None:
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in LAST_WORDS:
            yield ast.unparse(node), node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module == "rich.text":
            yield "rich.text", node.lineno


def test_everything_that_prints_does_it_through_one_function() -> None:
    found = []
    for package in ("loadgen", "controller/loadgen_controller", "agent/loadgen_agent"):
        for path in (ROOT / package).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            for call, line in names(path):
                if call == "rich.text" and not name.endswith("console_output.py"):
                    found.append(f"{name}:{line}: imports rich's Text; console_output.py has one")
                elif call in FORBIDDEN and call not in ALLOWED.get(name, ()):
                    found.append(f"{name}:{line}: {call}; {FORBIDDEN[call]}")
    assert found == []


@given(st.text(max_size=300), st.integers(0, 120))
def test_a_cut_line_is_the_beginning_of_the_whole_one(text: str, most: int) -> None:
    whole, cut = one_line(text), one_line(text, most)

    assert len(cut) <= max(most, 3)
    assert cut == whole or (len(whole) > most and whole.startswith(cut.removesuffix("...")))
