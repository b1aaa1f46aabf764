"""The generated code is what the .proto says, and finding that out is quick."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import proto

pytestmark = pytest.mark.process


def test_the_committed_code_is_up_to_date_and_checking_needs_no_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proto, "TOOL", Path("/nonexistent"))
    assert proto.main(["--check"]) == 0


def test_a_changed_source_or_output_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / "wire.proto"
    output = tmp_path / "wire_pb2.py"
    source.write_text("one")
    output.write_text("two")
    before = proto.stamp(source, tmp_path)
    output.write_text("three")
    assert proto.stamp(source, tmp_path) != before
    output.write_text("two")
    source.write_text("four")
    assert proto.stamp(source, tmp_path) != before
