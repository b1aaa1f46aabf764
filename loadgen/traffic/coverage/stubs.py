"""Python for an endpoint that no scenario sends: a journey that loads, with a TODO for each missing part."""

from __future__ import annotations

import re
from keyword import iskeyword
from typing import Final

from loadgen.traffic.coverage.measure import Known
from loadgen.traffic.names.node_names import node_names
from loadgen.traffic.scenario.python_texts import in_string

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
        lines.append(f'    {word} = "1"  # TODO: a value that exists in the target')
    if parameters:
        parts = enumerate(_PARAMETER.split(endpoint.path))  # texts and names of parameters in turn
        url = "".join(f"{{{_word(part)}}}" if at % 2 else in_string(part, braces=True) for at, part in parts)
        arguments = [f'f"{url}"', f'name="{in_string(str(endpoint))}"']
    else:
        arguments = [f'"{in_string(endpoint.path)}"']
    if endpoint.method in _WITH_BODY:
        lines.append("    # TODO: the body, which logs do not contain")
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
    return word if word.isidentifier() and not iskeyword(word) and word != "user" else f"value_{word}"
