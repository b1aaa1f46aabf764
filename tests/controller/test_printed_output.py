"""What a scenario printed is told from what its agents and workers logged."""

from __future__ import annotations

from pathlib import Path

from loadgen_controller.agents.printed_output import printed_in, printed_text

LOGGED = """\
2026-11-28 09:38:18 agent us: registered at the controller; waiting for a run
  a further line of it
worker us: ignored a change of the load, because it is over
worker 3 of us: ignored a change of the load, because it is over
"""


def logs(folder: Path, **texts: str) -> Path:
    (folder / "agents").mkdir()
    for name, text in texts.items():
        (folder / "agents" / f"{name}.log").write_text(text)
    return folder


def test_run_whose_scenario_printed_nothing_names_no_file(tmp_path: Path) -> None:
    assert printed_text(logs(tmp_path, us=LOGGED)) == ""
    assert printed_text(tmp_path / "missing") == ""


def test_file_with_the_most_lines_is_named_with_their_number(tmp_path: Path) -> None:
    run = logs(tmp_path, us=LOGGED + "hello\n", eu=f"one\n{LOGGED}two\n\n")
    assert printed_in(run) == [(run / "agents/eu.log", 2), (run / "agents/us.log", 1)]
    assert printed_text(run) == (
        f"Output of the scenario (print): {run / 'agents/eu.log'}, 2 lines, and 1 more file beside it"
    )


def test_bytes_that_are_no_text_are_lines_too(tmp_path: Path) -> None:
    run = logs(tmp_path)
    (run / "agents" / "us.log").write_bytes(b"\xff\xfe\n")
    assert printed_text(run).endswith("us.log, 1 line")
