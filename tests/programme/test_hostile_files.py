"""Files of objectives that are damaged in any way: a list of faults, never an exception."""

import random
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.errors import UsageError
from loadgen.programme.openslo.read import read_parsed
from loadgen.programme.slo_files import yaml_nodes
from loadgen.programme.slo_files.read_any import read_objectives
from loadgen.programme.slo_files.yaml_nodes import parse_documents, read_documents
from loadgen.programme.sloth.alert_windows import parse_alert_windows
from loadgen.programme.sloth.read import read_sloth_text
from tests.programme.test_openslo import SLO
from tests.programme.test_sloth import SLOTH

DATA = Path(__file__).parent.parent / "data/slo"
TEXTS = [SLO, SLOTH, *(path.read_text() for path in sorted(DATA.glob("*.yaml")))]
PIECES = [
    "null", "[]", "{}", "- x", "0", "-1", "1e9", "99999999999999999999", "*a", "&a x", "!!x y", "~", "'", '"', "\t",
    "{a: 1}", "[[[[1]]]]", "1M", "1m", "9999999999w", "yes", "\u202e", "\x85", "---", "...", "<<: {a: b}", "0.0", "%",
]  # fmt: skip


@given(st.integers(0, 2**32), st.sampled_from(TEXTS))
def test_damaged_files_give_faults_or_objectives_and_no_exception(seed: int, text: str) -> None:
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 4)):
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        head, colon, _ = lines[at].partition(":")
        match rng.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines[at] = f"{head}{colon} {rng.choice(PIECES)}"
            case 2:
                lines.insert(at, lines[rng.randrange(len(lines))])
            case 3:
                lines[at] = lines[at][rng.randint(0, 4) :]
            case _:
                cut = rng.randint(0, len(lines[at]))
                lines[at] = lines[at][:cut] + rng.choice(PIECES) + lines[at][cut:]
        text = "\n".join(lines)
    for reading in (read_parsed([parse_documents(text, "x.yaml")]), read_sloth_text(text, "x.yaml")):
        # A change of one line can make a service of an objective; what its text has too much is in the notes.
        assert reading.faults or reading.slos.objectives or (reading.slos.services and reading.notes)
        for one in (*reading.faults, *reading.notes):
            assert one.message
            assert one.message.isprintable() or "\n" not in one.message
    parse_alert_windows(text, "x.yaml")


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_exception(text: str) -> None:
    assert read_parsed([parse_documents(text.encode("utf-8", "replace").decode(), "x.yaml")]).faults


def test_reading_stops_at_the_limit_of_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_nodes, "_MOST_NODES", 2_000)
    path = tmp_path / "large.yaml"
    path.write_text("- a\n" * 3_000)
    (fault,) = read_objectives([path]).faults
    assert "200,000 values" in fault.message


def test_missing_package_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(UsageError, match="PyYAML"):
        parse_documents("a: b", "x.yaml")


def test_a_scenario_in_the_place_of_promises_is_named_as_no_yaml_file(tmp_path: Path) -> None:
    path = tmp_path / "browse.py"
    path.write_text('"""A scenario."""\n')
    (fault,) = read_documents(path).faults
    assert fault.message == "is not a YAML file"
    assert "loadgen slo new" in fault.hint
