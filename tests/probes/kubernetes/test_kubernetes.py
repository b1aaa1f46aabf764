"""What is read of a Kubernetes API server: marks of events and restarts, autoscalers, and what it refuses.

The answers are written from the API reference (tests/data/kubernetes); no cluster has sent them.
"""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from loadgen.dsl.plans.loadgen_toml import read_settings
from loadgen.errors import ScenarioError, UsageError
from loadgen.probes.kinds import open_reader, places_of, secrets_of
from loadgen.probes.kubernetes.answers import time_ns
from loadgen.probes.reader import NotRead, Reading, Tools
from loadgen.probes.running.http_fetch import new_loop
from loadgen.probes.settings import probe_of, wrongs_of
from loadgen.probes.spec import ProbeSpec
from tests.support.metrics_server import MetricsServer, metrics_server, page_reply

DATA = Path(__file__).parents[2] / "data" / "kubernetes"
S = 1_000_000_000
BEGAN = datetime(2026, 11, 29, 10, 0, 0, tzinfo=UTC)
"""The cluster's time at 0 of the probe's clock."""


class Cluster:
    """The API server of a cluster. `objects` has the answers by the last word of the path."""

    def __init__(self, server: MetricsServer) -> None:
        self.server = server
        self.now_s = 0.0
        files = {"pods": "pods", "horizontalpodautoscalers": "autoscalers", "events": "events"}
        self.objects: dict[str, Any] = {
            name: json.loads((DATA / f"{file}.json").read_text()) for name, file in files.items()
        }
        self.refused: dict[str, str] = {}
        self.asked: list[str] = []
        self.date = ""
        """The line of the header Date; "" for the time of the cluster."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def answer(self, connection: socket.socket) -> None:
        method, target, _ = self.server.requests[-1].decode().split(" ", 2)
        assert method == "GET"
        self.asked.append(target)
        parts = urlsplit(target)
        what = parts.path.rpartition("/")[2]
        at = datetime.fromtimestamp(int(BEGAN.timestamp() + self.now_s), UTC)
        date = self.date or f"Date: {format_datetime(at, usegmt=True)}\r\n"
        if what in self.refused:
            refusal = {"kind": "Status", "status": "Failure", "message": self.refused[what], "reason": "Forbidden"}
            connection.sendall(page_reply(json.dumps(refusal), "403 Forbidden", date))
            return
        body: dict[str, Any] = dict(self.objects[what])
        offset = int(parse_qs(parts.query).get("continue", ["0"])[0])
        if "pages" in body:
            pages = body.pop("pages")
            body["items"] = pages[offset]
            body["metadata"] = {"continue": str(offset + 1)} if offset + 1 < len(pages) else {}
        connection.sendall(page_reply(json.dumps(body), headers=date))


def read(cluster: Cluster, times_s: list[float], before: Any = None, **own: Any) -> list[Any]:
    """Read at each of these times; `before(n)` is called before the n-th read."""
    spec = ProbeSpec(name="c", kind="kubernetes", url=cluster.url, own={"namespace": "shop", **own})
    now = [0]

    async def run() -> list[Any]:
        reader = open_reader(spec, Tools(lambda: now[0], {"login": "canary"}.get))
        found: list[Any] = []
        for n, at_s in enumerate(times_s):
            if before is not None:
                before(n)
            now[0], cluster.now_s = round(at_s * S), at_s
            try:
                found.append(await reader.read(60))
            except NotRead as error:
                found.append(error)
        await reader.close()
        return found

    loop = new_loop()
    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


@pytest.fixture
def cluster() -> Any:
    with metrics_server() as server:
        made = Cluster(server)
        server.answer = made.answer
        yield made


def values_of(reading: Reading) -> dict[str, float]:
    return {series.row: value for series, value in reading.values.items()}


def test_events_of_the_run_become_marks_with_their_times_and_bounds(cluster: Cluster) -> None:
    (reading,) = read(cluster, [40.25])

    first, second = reading.notes
    assert first.kind == "mark"
    assert first.body["text"] == (
        "HorizontalPodAutoscaler shop: SuccessfulRescale: New size: 4; reason: cpu resource utilization (percentage of"
        " request) above target"
    )
    for mark, true_s in ((first, 20), (second, 30.5)):
        assert abs(mark.at_ns / S - true_s) <= mark.body["error_ns"] / S + 0.5  # the event's own second is cut off
        assert mark.body["error_ns"] <= 1.6 * S
    assert second.body["text"] == (
        "Pod shop-7f-x2: FailedScheduling: 0/3 nodes are available: 3 Insufficient cpu. (7 times)"
    )
    assert len(reading.notes) == 2  # the third one is 50 minutes old


def test_an_event_of_the_future_is_no_mark(cluster: Cluster) -> None:
    for event in cluster.objects["events"]["items"]:
        event["lastTimestamp"] = event["eventTime"] = "2200-01-01T00:00:00Z"
        event.pop("series", None)
    (reading,) = read(cluster, [40])

    assert not [note for note in reading.notes if note.kind == "mark" and "restarted" not in note.body["text"]]


def test_an_impossible_date_of_a_server_is_ignored(cluster: Cluster) -> None:
    cluster.date = "Date: Mon, 01 Jan 99999999999 00:00:00 GMT\r\n"
    (reading,) = read(cluster, [40])

    assert reading.rows
    assert reading.server is None


def test_the_same_event_has_the_same_key_until_it_happens_again(cluster: Cluster) -> None:
    def again(n: int) -> None:
        if n == 2:
            cluster.objects["events"]["items"][1]["series"]["count"] = 8

    first, second, third = read(cluster, [40, 45, 50], again)

    keys = [{note.body["key"] for note in reading.notes} for reading in (first, second, third)]
    assert keys[0] == keys[1]
    assert len(keys[2] - keys[0]) == 1


def test_autoscalers_and_pods_are_rows(cluster: Cluster) -> None:
    (reading,) = read(cluster, [40])

    assert values_of(reading) == {
        "pods": 1, "ready": 1, "restarts": 0, "replicas shop": 2, "wanted shop": 4, "most shop": 10,
        "used shop cpu": 91, "target shop cpu": 60,
    }  # fmt: skip
    titles = {row.key: (row.title, row.unit, row.kind) for row in reading.rows}
    assert titles["wanted shop"] == ("replicas wanted by shop", "", "gauge")
    assert titles["used shop cpu"] == ("use of shop cpu by its pods", "%", "gauge")
    assert titles["restarts"] == ("container restarts", "1/s", "counter")


def test_a_restart_is_a_mark_with_its_reason(cluster: Cluster) -> None:
    def restart(n: int) -> None:
        if n == 1:
            container = cluster.objects["pods"]["items"][0]["status"]["containerStatuses"][0]
            ended = {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-11-29T10:00:43Z"}
            container |= {"restartCount": 1, "lastState": {"terminated": ended}}

    cluster.objects["events"]["items"] = []
    first, second = read(cluster, [40, 45], restart)

    assert first.notes == ()
    (mark,) = second.notes
    assert mark.body["text"] == "Pod shop-7f-x1: container shop restarted: OOMKilled, exit code 137"
    assert abs(mark.at_ns / S - 43) <= 2
    assert values_of(second)["restarts"] == 1


def test_long_lists_are_read_page_by_page_and_no_further_than_the_limit(cluster: Cluster) -> None:
    item = cluster.objects["pods"]["items"][0]
    pages = [[{**item, "metadata": {"name": f"p{n}"}}] for n in range(12)]
    cluster.objects["pods"]["pages"] = pages[:3]
    (three,) = read(cluster, [40])
    cluster.objects["pods"]["pages"] = pages
    (many,) = read(cluster, [40], pods="app=shop")

    assert values_of(three)["pods"] == 3
    assert values_of(many)["pods"] == 10
    assert many.remarks == ("only the first 5,000 pods are read",)
    assert "labelSelector=app%3Dshop" in cluster.asked[-3]


def test_what_the_account_may_not_list_is_named_and_the_rest_is_read(cluster: Cluster) -> None:
    cluster.refused["events"] = 'events is forbidden: User "perf" cannot list\nresource "events"\x1b[2J'
    (some,) = read(cluster, [40])
    cluster.refused |= {"pods": "no", "horizontalpodautoscalers": "no"}
    (none,) = read(cluster, [40])

    assert some.remarks == (
        'the cluster returned http 403 for events: events is forbidden: User "perf" cannot list resource'
        ' "events"\\x1b[2J; the account needs the verb list for events of namespace shop',
    )
    assert values_of(some)["pods"] == 1
    assert isinstance(none, NotRead)


def test_without_the_right_to_list_pods_their_number_is_unknown_and_not_0(cluster: Cluster) -> None:
    cluster.refused["pods"] = "no"
    (reading,) = read(cluster, [40])

    assert "pods" not in values_of(reading)
    assert values_of(reading)["wanted shop"] == 4


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("<html>", "is not a PodList"),
        ('{"kind": "Status"}', "not a PodList, but Status"),
        ('{"items": 7}', "not a PodList"),
    ],
)
def test_an_odd_answer_is_a_gap_with_its_reason(cluster: Cluster, body: str, why: str) -> None:
    cluster.server.say(lambda: body)
    (found,) = read(cluster, [40])

    assert isinstance(found, NotRead)
    assert why in str(found)


def test_the_token_is_sent_and_never_shown(cluster: Cluster) -> None:
    cluster.refused = dict.fromkeys(cluster.objects, "the token canary is not valid")
    (found,) = read(cluster, [40], token={"secret": "login"})

    assert b"Authorization: Bearer canary\r\n" in cluster.server.requests[0]
    assert "canary" not in str(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-29T10:00:20Z", (1_795_946_420 * S, S)),
        ("2026-11-29T10:00:20.500000Z", (1_795_946_420 * S + S // 2, 1_000)),
        ("", None),
        ("yesterday", None),
    ],
)
def test_times_of_the_api_have_a_resolution(text: str, expected: object) -> None:
    assert time_ns(text) == expected


# -- settings ------------------------------------------------------------------------------------------


def test_a_cluster_is_read_from_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "loadgen.toml"
    path.write_text(
        '[probes.cluster]\nkind = "kubernetes"\nurl = "https://10.0.0.1:6443"\nnamespace = "shop"\nca = "ca.pem"\n'
        'token = { secret = "cluster-token" }\n'
    )

    (probe,) = read_settings(path).probes

    assert (places_of(probe), secrets_of(probe)) == ((("10.0.0.1", 6443),), ("cluster-token",))
    assert probe.every_ns == 5 * S
    assert not list(wrongs_of(probe))
    with pytest.raises(UsageError, match="the certificate"):
        open_reader(probe, Tools(lambda: 0, lambda _: None))


def test_all_errors_of_a_cluster_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "loadgen.toml"
    path.write_text(
        '[probes.c]\nkind = "kubernetes"\nurl = "http://10.0.0.1"\nnamespace = "Shop"\npods = "a;b"\n'
        'token = { secret = "Bearer canary" }\n'
    )

    with pytest.raises(ScenarioError) as caught:
        read_settings(path)

    told = [(fault.line, fault.message) for fault in caught.value.faults]
    assert (4, "probes.c: namespace: 'Shop' is not the name of a namespace") in told
    assert (5, "probes.c: pods: 'a;b' is not a label selector") in told
    assert (6, "probes.c: token is not the name of a secret") in told
    assert (6, "probes.c: token: it would be sent without TLS") in told
    assert "canary" not in str(told)
    assert probe_of("c", {"kind": "kubernetes", "url": "http://127.0.0.1:8001"})[0] is not None  # kubectl proxy
