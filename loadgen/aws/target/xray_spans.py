"""Reads traces from X-Ray by id, in both ways that AWS has, as a backend of `loadgen/backends`.

`BatchGetTraces` reads X-Ray's own store, 5 ids a call. With Transaction Search switched on, spans are in a log group
instead, and that call finds nothing: then `StartTraceRetrieval` (100 ids) and `ListRetrievedTraces(TraceFormat="OTEL")`
read them. Which one holds the traces is found out by trying. Everything blocks.

A document of a retrieved span is one JSON object. AWS documents it as "the span document" only, so three forms are
read: an OTLP document with `resourceSpans`, a span of OTLP JSON with its `resource` beside it, and the flat form of the
log group `aws/spans`, whose attributes are a plain object.
Source: X-Ray's service model in botocore (limits, statuses), AWS "Transaction Search".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from loadgen.aws.account.boto_clients import Clients, aws_errors
from loadgen.backends.backend import (
    Answer,
    BackendRefused,
    CallPlan,
    Found,
    Missing,
    OnProgress,
    Progress,
    Refused,
    no_progress,
    picked,
)
from loadgen.backends.read_spans import traces_in, traces_in_segments
from loadgen.errors import CloudDenied, CloudError, CloudGone, CredentialsError, LoadgenError, Throttled, UsageError
from loadgen.outside_text import one_line

__all__ = ["XrayBackend", "otlp_of_documents", "xray_id"]

AT_ONCE: Final = 5
RETRIEVED_AT_ONCE: Final = 100
_TRIED: Final = 20
"""So many ids without one found trace make the retrieval worth a try."""
_MARGIN_S: Final = 3_600
_POLL_S: Final = (1.0, 1.0, 2.0, 3.0, 5.0)
_RETRIEVAL_S: Final = 120.0
"""The most time in which a retrieval may be running, s."""
_PAGES_MOST: Final = 2_000
_KINDS: Final = {"INTERNAL": 1, "SERVER": 2, "CLIENT": 3, "PRODUCER": 4, "CONSUMER": 5}
_CODES: Final = {"UNSET": 0, "OK": 1, "ERROR": 2}


class XrayBackend:
    """X-Ray of one region.

    Args:
        window: begin and end of the run, Unix time in s: a retrieval needs it.
        keep: names of attributes that are kept besides the usual ones.
        pause, clock: for tests.
    """

    def __init__(
        self,
        clients: Clients,
        region: str,
        window: tuple[float, float],
        keep: Sequence[str] = (),
        *,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients, self._region, self._window, self._keep = clients, region, window, tuple(keep)
        self._pause, self._clock = pause, clock
        self._is_retrieved: bool | None = None
        """Whether the spans are in the log group of Transaction Search; None: not known yet."""

    def plan(self, number: int) -> CallPlan:
        return CallPlan(number, -(-number // AT_ONCE))

    def close(self) -> None:
        """Do nothing: boto3 closes its connections itself."""

    def read(self, ids: Sequence[str], on_progress: OnProgress = no_progress) -> Iterator[tuple[str, Answer]]:
        """Yield each id with its answer, as `Backend.read` does.

        Raises:
            BackendRefused: a permission is missing, or AWS throttles or does not answer.
        """
        rest, done, is_retrieved = list(ids), 0, self._is_retrieved
        if is_retrieved is None:
            tried, rest = rest[:_TRIED], rest[_TRIED:]
            missing: list[str] = []
            for one, answer in self._by_batches(tried):
                if isinstance(answer, Missing):
                    missing.append(one)
                    continue
                is_retrieved = False if isinstance(answer, Found) else is_retrieved
                yield one, answer
            if is_retrieved is None and missing:
                for one, answer in self._by_retrieval(missing, Progress(0, len(ids)), on_progress):
                    is_retrieved = True if isinstance(answer, Found) else is_retrieved
                    yield one, answer
            else:
                yield from ((one, Missing()) for one in missing)
            self._is_retrieved = is_retrieved
            done = len(tried)
            on_progress(Progress(done, len(ids)))
        size = RETRIEVED_AT_ONCE if is_retrieved else AT_ONCE
        for begin in range(0, len(rest), size):
            group = rest[begin : begin + size]
            if is_retrieved:
                yield from self._by_retrieval(group, Progress(done, len(ids)), on_progress)
            else:
                yield from self._by_batches(group)
            done += len(group)
            on_progress(Progress(done, len(ids)))

    # -- BatchGetTraces ------------------------------------------------------------------------------

    def _by_batches(self, ids: Sequence[str]) -> Iterator[tuple[str, Answer]]:
        for begin in range(0, len(ids), AT_ONCE):
            yield from self._batch(ids[begin : begin + AT_ONCE])

    def _batch(self, ids: Sequence[str]) -> Iterator[tuple[str, Answer]]:
        found: dict[str, Answer] = {}
        asked: dict[str, Any] = {"TraceIds": [xray_id(one) for one in ids]}
        unprocessed: set[str] = set()
        for page in self._pages("batch_get_traces", "xray:BatchGetTraces", asked):
            for trace in page.get("Traces", ()):
                one = _plain_id(str(trace.get("Id", "")))
                documents = [str(segment.get("Document", "")) for segment in trace.get("Segments", ())]
                if documents:
                    found[one] = self._of_segments(one, documents, is_cut=bool(trace.get("LimitExceeded")))
            unprocessed |= {_plain_id(str(one)) for one in page.get("UnprocessedTraceIds", ())}
        for one in ids:
            refused = Refused("X-Ray did not process this trace id") if one in unprocessed else Missing()
            yield one, found.get(one, refused)

    def _of_segments(self, trace_id: str, documents: Sequence[str], *, is_cut: bool) -> Answer:
        try:
            return picked(traces_in_segments(documents, self._keep), trace_id, is_cut=is_cut)
        except UsageError as error:
            return Refused(one_line(error.message, 160))

    # -- StartTraceRetrieval -------------------------------------------------------------------------

    def _by_retrieval(self, ids: Sequence[str], at: Progress, on_progress: OnProgress) -> Iterator[tuple[str, Answer]]:
        """Yield the answers for at most 100 ids. All are missing where Transaction Search is not switched on."""
        try:
            documents, reason = self._retrieved(ids, at, on_progress)
        except _NoTransactionSearch:
            documents, reason = {}, ""
        for one in ids:
            if one in documents:
                yield one, self._of_spans(one, documents[one])
            else:
                yield one, Refused(reason) if reason else Missing()

    def _retrieved(self, ids: Sequence[str], at: Progress, on_progress: OnProgress) -> tuple[dict[str, list[str]], str]:
        """Return the documents of spans by trace id, and why other traces may be absent although they exist."""
        begin_s, end_s = self._window
        asked = {
            "TraceIds": [xray_id(one) for one in ids],
            "StartTime": datetime.fromtimestamp(begin_s - _MARGIN_S, UTC),
            "EndTime": datetime.fromtimestamp(end_s + _MARGIN_S, UTC),
        }
        try:
            token = str(self._call("start_trace_retrieval", "xray:StartTraceRetrieval", asked)["RetrievalToken"])
        except BackendRefused:
            raise
        except CloudError as error:
            if error.message.endswith(("InvalidRequestException", "ResourceNotFoundException")):
                raise _NoTransactionSearch from None
            raise self._refused("xray:StartTraceRetrieval", error) from None
        found: dict[str, list[str]] = {}
        began_s, polls, more = self._clock(), 0, dict[str, str]()
        for _ in range(_PAGES_MOST):
            asked = {"RetrievalToken": token, "TraceFormat": "OTEL", **more}
            page = self._call("list_retrieved_traces", "xray:ListRetrievedTraces", asked, is_final=True)
            status = str(page.get("RetrievalStatus", ""))
            if status in ("SCHEDULED", "RUNNING"):
                if self._clock() - began_s > _RETRIEVAL_S:
                    self._cancel(token)
                    return {}, f"X-Ray's retrieval was not complete after {_RETRIEVAL_S:.0f} s"
                on_progress(Progress(at.done, at.of, f"X-Ray retrieves {len(ids)} traces"))
                self._pause(_POLL_S[min(polls, len(_POLL_S) - 1)])
                polls += 1
                continue
            if status != "COMPLETE":
                return found, f"X-Ray's retrieval ended with {one_line(status, 40) or 'no status'}"
            for trace in page.get("Traces", ()):
                documents = [str(span["Document"]) for span in trace.get("Spans", ()) if span.get("Document")]
                if documents:  # a trace with many spans comes in several pages
                    found.setdefault(_plain_id(str(trace.get("Id", ""))), []).extend(documents)
            if not page.get("NextToken"):
                return found, ""
            more = {"NextToken": str(page["NextToken"])}
        return found, f"X-Ray returned more than {_PAGES_MOST} pages"

    def _of_spans(self, trace_id: str, documents: Sequence[str]) -> Answer:
        try:
            return picked(traces_in("otlp json", otlp_of_documents(documents), self._keep), trace_id)
        except UsageError as error:
            return Refused(one_line(error.message, 160))
        except ValueError as error:
            return Refused(str(error))

    def _cancel(self, token: str) -> None:
        try:
            self._call("cancel_trace_retrieval", "xray:CancelTraceRetrieval", {"RetrievalToken": token})
        except LoadgenError:
            return  # it ends by itself after an hour

    # -- calls -----------------------------------------------------------------------------------------

    def _pages(self, operation: str, permission: str, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        more: dict[str, str] = {}
        for _ in range(_PAGES_MOST):
            page = self._call(operation, permission, {**asked, **more}, is_final=True)
            yield page
            if not page.get("NextToken"):
                return
            more = {"NextToken": str(page["NextToken"])}

    def _call(
        self, operation: str, permission: str, asked: Mapping[str, Any], *, is_final: bool = False
    ) -> dict[str, Any]:
        """Make a call.

        is_final: any error of AWS ends the reading. Otherwise only missing permissions, throttling and silence do.

        Raises:
            BackendRefused: the reading ends.
            CloudError: AWS returned another error.
        """
        try:
            client = self._clients.client("xray", self._region)
            with aws_errors(f"read traces in {self._region}"):
                made: dict[str, Any] = getattr(client, operation)(**asked)
                return made
        except (CloudDenied, CredentialsError, Throttled, CloudGone) as error:
            raise self._refused(permission, error) from None
        except CloudError as error:
            if is_final:
                raise self._refused(permission, error) from None
            raise

    def _refused(self, permission: str, error: LoadgenError) -> BackendRefused:
        hint = error.hint
        if isinstance(error, CloudDenied):
            hint = f"your identity (aws sts get-caller-identity) needs the permission {permission}"
        return BackendRefused(f"X-Ray: {error.message}", hint=hint)


class _NoTransactionSearch(Exception):
    """AWS rejected a retrieval as such."""


def xray_id(trace_id: str) -> str:
    """Return a trace id as X-Ray writes it: 1-EPOCH-96BITS."""
    return f"1-{trace_id[:8]}-{trace_id[8:]}"


def _plain_id(text: str) -> str:
    return text.lower().removeprefix("1-").replace("-", "")


def otlp_of_documents(documents: Sequence[str]) -> bytes:
    """Return documents of retrieved spans as one OTLP JSON document.

    Raises:
        ValueError: a document is not a JSON object.
    """
    groups: list[Any] = []
    for text in documents:
        try:
            document = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise ValueError("a span document of X-Ray is not a JSON object")
        if isinstance(document.get("resourceSpans"), list):
            groups += document["resourceSpans"]
            continue
        resource = document.pop("resource", None)
        kept = {"attributes": _pairs(resource.get("attributes"))} if isinstance(resource, dict) else {}
        groups.append({"resource": kept, "scopeSpans": [{"spans": [_span(document)]}]})
    return msgspec.json.encode({"resourceSpans": groups})


def _span(span: dict[str, Any]) -> dict[str, Any]:
    """Return a span in the form of OTLP JSON: attributes as pairs, kind and status as numbers, ids in plain hex."""
    made: dict[str, Any] = {name: span[name] for name in ("spanId", "parentSpanId", "name", "links") if name in span}
    made["traceId"] = _plain_id(str(span.get("traceId", "")))
    made["attributes"] = _pairs(span.get("attributes"))
    for name in ("startTimeUnixNano", "endTimeUnixNano"):
        if isinstance(span.get(name), str | int):
            made[name] = str(span[name])
    kind, status = span.get("kind"), span.get("status")
    made["kind"] = _KINDS.get(kind.upper().removeprefix("SPAN_KIND_"), 1) if isinstance(kind, str) else kind or 1
    if isinstance(status, dict):
        code = status.get("code", 0)
        text = code.upper().removeprefix("STATUS_CODE_") if isinstance(code, str) else ""
        made["status"] = {"code": _CODES.get(text, 0) if isinstance(code, str) else code}
    return made


def _pairs(attributes: Any) -> list[dict[str, Any]]:
    """Return attributes as pairs, from pairs or from a plain object. Values that are no scalars are left out."""
    if isinstance(attributes, list):
        return attributes
    if not isinstance(attributes, dict):
        return []
    return [{"key": key, "value": made} for key, value in attributes.items() if (made := _value(value))]


def _value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
    return {}
