"""GraphQL over HTTP: requests that name their own row, and answers whose `errors` count as failures.

    PRODUCT = "query Product($sku: ID!) { product(sku: $sku) { price } }"
    reply = await user.http.post("/graphql", json=gql(PRODUCT, variables={"sku": "a-1"}))
    price = reply.pick("$.data.product.price", float)

All operations of a GraphQL server share one URL, so a row named by the URL would mix them.
The row is therefore named after the operation, `gql Product`, unless the call has a `name=`.

GraphQL servers answer failed operations with status 200. An answer with `errors` gets the
outcome `gql errors` and ends the iteration, even if part of the data is there, unless the
request has `accept_errors=True`. An answer with neither data nor errors is `gql no data`.
A status of 400 or more is an `http` outcome, as for any other request.

A `Gql` is a dict: the JSON that is sent. Stock httpx therefore sends the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from loadgen.errors import ExpectFailed, UsageError
from loadgen.measure.deltas.series_key import OK

if TYPE_CHECKING:
    from loadgen.clients.response.replies import Reply

__all__ = ["GQL_ERRORS", "GQL_NO_DATA", "Gql", "gql"]

GQL_ERRORS: Final = "gql errors"
GQL_NO_DATA: Final = "gql no data"

_SKIPPED: Final = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"""|"(?:[^"\\\n]|\\.)*"|#[^\r\n]*', re.DOTALL)
"""Matches strings and comments, which may contain braces and keywords."""
_OPERATION: Final = re.compile(r"\b(query|mutation|subscription)\b\s*([_A-Za-z]\w*)?")


class Gql(dict[str, Any]):
    """One GraphQL request, made by `gql`. Its items are the JSON that is sent.

    row: the name of its row. fault: why it cannot be sent; empty if it can.
    """

    __slots__ = ("accept_errors", "fault", "row")

    def __init__(self, items: Mapping[str, Any], row: str, *, accept_errors: bool, fault: str) -> None:
        super().__init__(items)
        self.row, self.accept_errors, self.fault = row, accept_errors, fault

    @property
    def note(self) -> str:
        """Return a hint for the scenario's author if the operation has no name; "" if it has one."""
        if self.get("operationName"):
            return ""
        return 'a GraphQL operation has no name, so its row is "gql (anonymous)": write "query Name {...}"'

    def ready(self, note: Callable[[str], None]) -> dict[str, Any]:
        """Return this request as the JSON object to send. If the operation has no name, call `note` with a hint for the
        scenario's author.

        Raises:
            UsageError: `gql(...)` was called with invalid arguments, so the request cannot be sent.
        """
        if self.fault:
            raise UsageError(
                f"gql: {self.fault}", hint='write, for example, gql("query Name($id: ID!) {...}", variables={"id": 7})'
            )
        if self.note:
            note(self.note)
        return dict(self)

    def judge(self, reply: Reply) -> None:
        """Raise if the answer of this request contains GraphQL errors or is not a GraphQL answer. Do nothing if `reply`
        has failed already, for example by `http 503`.

        Raises:
            ExpectFailed: with the outcome `gql errors` (unless `accept_errors` is set) or `gql no data`.
        """
        if reply.outcome != OK:
            return
        try:
            answer = reply.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not ("data" in answer or answer.get("errors")):
            raise self._failed(reply, GQL_NO_DATA, f"neither data nor errors: {reply.text[:200]!r}")
        errors = answer.get("errors")
        if errors and not self.accept_errors:
            raise self._failed(reply, GQL_ERRORS, _describe(errors))

    def _failed(self, reply: Reply, outcome: str, detail: str) -> ExpectFailed:
        return reply._failed(outcome, f"{self.row}: {detail}")


def gql(
    query: str,
    variables: Mapping[str, Any] | None = None,
    *,
    operation: str | None = None,
    accept_errors: bool = False,
) -> Gql:
    """Return a GraphQL request for the argument `json=` of a request: `user.http.post("/graphql", json=gql("query Cart
    {...}"))`.

    The row is named after the operation. This function never raises; the call that sends the request does.

    Args:
        operation: the operation to run, if `query` contains several.
        accept_errors: do not count `errors` in the answer as a failure.
    Cost: 1 µs from the second call on, because the parsed text is cached.
    """
    given: object = query
    if not isinstance(given, str):
        return Gql({}, "gql (anonymous)", accept_errors=accept_errors, fault=f"query={given!r} must be a string")
    names, fault = _operations(query)
    name = operation
    if fault:
        pass
    elif operation is not None:
        if operation not in names:
            known = ", ".join(filter(None, names)) or "only unnamed ones"
            fault = f'unknown operation "{operation}"; the query has {known}'
    elif len(names) == 1:
        name = names[0]
    else:
        fault = f"several operations ({', '.join(n or 'unnamed' for n in names)}); choose one: operation={names[0]!r}"
    items: dict[str, Any] = {"query": query}
    if name:
        items["operationName"] = name
    if variables is not None:
        items["variables"] = variables
    return Gql(items, f"gql {name or '(anonymous)'}", accept_errors=accept_errors, fault=fault)


@lru_cache(maxsize=1024)
def _operations(query: str) -> tuple[tuple[str, ...], str]:
    """Return (the names of the operations in a query document, an error text). An unnamed operation has the name "";
    the error text is "" if the document is valid.
    """
    bare = _SKIPPED.sub(" ", query)
    names: list[str] = []
    depth = begin = 0
    for at, letter in enumerate(bare):
        if letter == "{":
            if not depth:
                head = bare[begin:at]
                found = _OPERATION.search(head)
                if found:
                    names.append(found[2] or "")
                elif not head.strip():
                    names.append("")  # the short form: { cart { total } }
            depth += 1
        elif letter == "}":
            depth -= 1
            begin = at + 1
            if depth < 0:
                break
    if depth:
        return (), "the braces of the query do not match"
    return tuple(names), "" if names else "the query contains no operation"


def _describe(errors: Any) -> str:
    """Return the first GraphQL error for a human reader: its message, its path, and how many more there are."""
    first = errors[0] if isinstance(errors, list) else errors
    if not isinstance(first, dict):
        return str(first)[:200]
    path = first.get("path")
    where = " at " + ".".join(map(str, path)) if isinstance(path, list) and path else ""
    more = f" (and {len(errors) - 1} more)" if isinstance(errors, list) and len(errors) > 1 else ""
    return f"{str(first.get('message', first))[:200]}{where}{more}"
