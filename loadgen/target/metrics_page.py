"""The page /metrics of the demo shop, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["Sample", "metrics_text"]

Sample = tuple[str, str, Mapping[str, str], float]
"""(name, type, labels, value). Samples of one name follow each other, and have the same type."""


def metrics_text(samples: Iterable[Sample]) -> bytes:
    """Return the page with these samples, in their order."""
    lines: list[str] = []
    last = ""
    for name, kind, labels, value in samples:
        if name != last:
            lines.append(f"# TYPE {name} {kind}")
            last = name
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inner}}} {value}" if inner else f"{name} {value}")
    return ("\n".join(lines) + "\n").encode()


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
