"""Probes of a plan: what a scenario writes in `probes=[...]`, and its check.

    Plan(..., probes=[metrics_page("http://10.0.0.7:8000/metrics", preset="vllm")])

The controller reads probes while the run goes on; agents ignore them. See docs/probes.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from loadgen.dsl.plans.argument_validation import Wrong
from loadgen.dsl.source_location import Origin, here
from loadgen.probes.settings import ProbeSpec, names_wrong, probe_of

__all__ = ["Probe", "metrics_page", "read_probes"]


class Probe:
    """A probe as written, from `metrics_page`. `Plan` checks it."""

    __slots__ = ("given", "name", "origin")

    def __init__(self, name: str | None, given: Mapping[str, Any], origin: Origin) -> None:
        self.name, self.given, self.origin = name, given, origin

    def __repr__(self) -> str:
        return f"metrics_page({self.given.get('url')!r})"


def metrics_page(
    url: str,
    *,
    preset: str | None = None,
    metrics: Iterable[str] | None = None,
    every: str | float = "1s",
    name: str | None = None,
    auth_secret: str | None = None,
    auth_header: str | None = None,
) -> Probe:
    """Return a probe that reads a page of metrics in the text format of Prometheus during the run.

    Args:
        url: the URL of the page, such as "http://10.0.0.7:8000/metrics". The controller must reach it.
        preset: "vllm" or "sglang": the metrics of this server.
        metrics: names of metrics, without labels; in addition to the preset, or instead of it.
        every: the time between two readings, 200 ms to 1 h.
        name: the name in reports. None: the preset, or "metrics".
        auth_secret: the name of a secret, whose value is sent in `auth_header`.
        auth_header: the name of this header. None: Authorization.
    """
    given = {
        "url": url,
        "preset": preset,
        "metrics": metrics,
        "every": every,
        "auth_secret": auth_secret,
        "auth_header": auth_header,
    }
    return Probe(name, given, here())


def read_probes(probes: object, wrong: list[Wrong]) -> tuple[ProbeSpec, ...]:
    """Return the valid probes of a plan. Each invalid one adds its errors to `wrong`, at its own line."""
    given = list(probes) if isinstance(probes, Iterable) and not isinstance(probes, str | Mapping) else [probes]
    found: list[ProbeSpec] = []
    for i, one in enumerate(given):
        if not isinstance(one, Probe):
            hint = 'write probes=[metrics_page("http://10.0.0.7:8000/metrics", preset="vllm")]'
            wrong.append(Wrong(f"probes[{i}]", f"probes: {one!r} is not a probe", hint))
            continue
        spec, errors = probe_of(one.name, one.given)
        wrong += [Wrong(f"probes[{i}]", f"probes: {message}", hint, one.origin) for _, message, hint in errors]
        if spec is not None:
            found.append(spec)
    wrong += [Wrong("probes", f"probes: {message}", hint) for message, hint in names_wrong(one.name for one in found)]
    return tuple(found)
