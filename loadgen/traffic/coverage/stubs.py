"""Python for an endpoint that no scenario sends: a journey that loads, with a TODO for each missing part."""

from __future__ import annotations

import re
from typing import Final

from loadgen.traffic.coverage.measure import Known
from loadgen.traffic.names.node_names import node_names

__all__ = ["stub_of"]

_PARAMETER: Final = re.compile(r"\{([^{}]*)\}")
_USUAL: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


def stub_of(known: Known) -> str:
    """Return the text of a journey that sends the endpoint. It needs `from loadgen import User, journey`."""
    endpoint = known.endpoint
    name = node_names([str(endpoint)])[str(endpoint)]
    parameters = [_word(found) for found in _PARAMETER.findall(endpoint.path)]
    lines = ["@journey", f"async def {name}(user: User) -> None:"]
    for word in dict.fromkeys(parameters):
        lines.append(f'    {word} = "1"  # TODO: a value that the target has')
    url = _PARAMETER.sub(lambda found: "{" + _word(found[1]) + "}", _escaped(endpoint.path))
    arguments = [f'f"{url}"' if parameters else f'"{_escaped(endpoint.path)}"']
    if parameters:
        arguments.append(f'name="{_escaped(str(endpoint))}"')
    if endpoint.method in _WITH_BODY:
        lines.append("    # TODO: the log has no bodies")
        arguments.append("json={}")
    if statuses := _usual(known):
        arguments.append(f"expect={statuses}")
    function = endpoint.method.lower()
    if endpoint.method not in _USUAL:
        function = "request"
        arguments.insert(0, f'"{endpoint.method}"')
    lines.append(f"    await user.http.{function}({', '.join(arguments)})")
    return "\n".join(lines) + "\n"


def _usual(known: Known) -> str:
    """Return the status below 400 that most requests in the log have; "" if the statuses are unknown."""
    statuses = known.name.statuses if known.name is not None else None
    good = {status: count for status, count in (statuses or {}).items() if 100 <= status < 400}
    return str(max(good, key=lambda status: (good[status], -status))) if good else ""


def _word(parameter: str) -> str:
    word = re.sub(r"\W+", "_", parameter).strip("_") or "value"
    return f"value_{word}" if word[0].isdigit() or word in ("user", "class", "from", "in", "is", "async") else word


def _escaped(text: str) -> str:
    return "".join(
        f"\\{c}" if c in '"\\' else c if " " <= c <= "~" else f"\\x{ord(c):02x}" if ord(c) < 256 else "?" for c in text
    )
