"""How the benchmarks start other programs."""

from __future__ import annotations

from pathlib import Path


def test_no_benchmark_forks_with_python_code_in_the_child_because_the_fork_handlers_of_grpcio_end_it() -> None:
    sources = {
        path.name: path.read_text(encoding="utf-8") for path in (Path(__file__).parents[2] / "bench").glob("*.py")
    }

    assert "children.py" in sources
    assert [name for name, text in sources.items() if "preexec_fn=" in text] == []
