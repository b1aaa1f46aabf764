"""Logs in S3, at moto's server: prefixes, periods, missing rights, transfers that break."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loadgen.aws.account import boto_clients
from loadgen.aws.account.boto_clients import Clients
from loadgen.errors import ExitCode, UsageError
from loadgen.traffic.inputs.s3_logs import s3_inputs
from loadgen.traffic.names.naming import NameRules
from loadgen.traffic.parallel import first_pass
from loadgen.traffic.read_logs import read_logs
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.rows.period import ALL_TIMES, Period
from loadgen_controller import cli
from tests.support.aws import BUCKET, REGION, client, emptied, isolated, running_aws

ALB = "AWSLogs/123456789012/elasticloadbalancing/eu-west-1"
ALL = LogOptions(names=NameRules(least_users=1, coverage=1.0))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_aws() as url:
        yield url


class Answers:
    """Makes S3 refuse or interrupt the reading of objects."""

    def __init__(self) -> None:
        self.refused: Callable[[str], bool] = lambda _: False
        self.listed: list[str] = []
        self.refuses_lists = False
        self.cuts: list[int] = []

    def before(self, params: dict[str, Any], model: Any, **_: object) -> None:
        if model.name == "ListObjectsV2":
            self.listed.append(params["Prefix"])
        if (model.name == "GetObject" and self.refused(params["Key"])) or (
            model.name == "ListObjectsV2" and self.refuses_lists
        ):
            import botocore.exceptions

            raise botocore.exceptions.ClientError({"Error": {"Code": "AccessDenied"}}, model.name)

    def after(self, parsed: dict[str, Any], **_: object) -> None:
        if self.cuts:
            parsed["Body"] = _Cut(parsed["Body"], self.cuts.pop(0))


class _Cut:
    """An answer whose connection breaks after some bytes."""

    def __init__(self, body: Any, left: int) -> None:
        self._body, self._left = body, left

    def read(self, most: int) -> bytes:
        if not self._left:
            import botocore.exceptions

            raise botocore.exceptions.ReadTimeoutError(endpoint_url="s3")
        found: bytes = self._body.read(min(most, self._left))
        self._left -= len(found)
        return found


@pytest.fixture
def answers(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Answers:
    isolated(monkeypatch, tmp_path, emptied(server))
    monkeypatch.setenv("AWS_REGION", REGION)
    found = Answers()
    original = Clients.client

    def made(self: Clients, service: str, region: str) -> Any:
        made = original(self, service, region)
        made.meta.events.register("provide-client-params.s3.*", found.before)
        made.meta.events.register("after-call.s3.GetObject", found.after)
        return made

    monkeypatch.setattr(boto_clients.Clients, "client", made)
    return found


@pytest.fixture
def s3(server: str, answers: Answers) -> Any:
    made = client(server, "s3")
    made.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return made


def alb(day: int, path: str = "/a", user: int = 1) -> bytes:
    stamp = f"2026-11-{day:02}T10:00:00.000000Z"
    return (
        f"https {stamp} app/shop/1 192.0.2.{user}:1024 10.0.0.1:80 0.000 0.010 0.000 200 200 40 900 "
        f'"GET https://shop.example:443{path} HTTP/2.0" "agent" - - arn "Root=1" "-" "-" 1 {stamp} "forward" "-" "-"\n'
    ).encode()


def put(s3: Any, key: str, data: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key=key, Body=data)


def put_days(s3: Any, *days: int) -> None:
    put(s3, "AWSLogs/123456789012/ELBAccessLogTestFile", b"Enable AccessLogging for ELB")
    for day in days:
        key = f"{ALB}/2026/11/{day:02}/123456789012_elasticloadbalancing_eu-west-1_app.shop.1_x.log.gz"
        put(s3, key, gzip.compress(alb(day) + alb(day + 1)))


def test_all_objects_below_a_prefix_are_read_and_other_ones_are_not(s3: Any) -> None:
    put_days(s3, 18, 19, 20)
    put(s3, "other/x.log", b"hello")

    traffic = read_logs([f"s3://{BUCKET}/AWSLogs/"], ALL)

    assert (len(traffic.files), traffic.accounting.read) == (3, 6)
    assert all(name.startswith(f"s3://{BUCKET}/{ALB}/2026/11/") for name in traffic.files)


def test_a_day_reads_only_its_folder_and_the_next_and_then_only_its_requests(s3: Any, answers: Answers) -> None:
    put_days(s3, 10, 18, 19, 20, 21)

    traffic = read_logs([f"s3://{BUCKET}/AWSLogs/"], replace(ALL, period=Period.of("2026-11-19", "2026-11-19")))

    assert [name.split("/")[-2] for name in traffic.files] == ["19", "20"]
    assert traffic.accounting.excluded == {"not in the period": 3}
    assert traffic.accounting.taken == 1
    assert not [prefix for prefix in answers.listed if prefix.endswith(("/10/", "/18/", "/21/"))]


@pytest.mark.parametrize(("begin", "end", "days"), [("2026-11-20", "", [20, 21, 30]), ("", "2026-11-18", [9, 18, 19])])
def test_a_period_with_one_limit_reads_the_days_on_that_side(s3: Any, begin: str, end: str, days: list[int]) -> None:
    put_days(s3, 9, 18, 19, 20, 21, 30)

    found = s3_inputs(f"s3://{BUCKET}/", Period.of(begin, end))

    assert [int(source.name.split("/")[-2]) for source in found] == days


def test_a_period_without_logs_is_an_error(s3: Any) -> None:
    put_days(s3, 9)

    with pytest.raises(UsageError, match="no objects of this period begin with this address"):
        read_logs([f"s3://{BUCKET}/"], replace(ALL, period=Period.of("2027-01-01", "")))


def test_folders_of_days_may_have_names_with_the_unit(s3: Any) -> None:
    for day in (18, 20):
        put(s3, f"logs/year=2026/month=11/day={day}/a.log", alb(day))
    put(s3, "logs/readme.log", alb(20))

    found = s3_inputs(f"s3://{BUCKET}/logs/", Period.of("2026-11-20", "2026-11-20"))

    assert [source.name.removeprefix(f"s3://{BUCKET}/logs/") for source in found] == [
        "readme.log",
        "year=2026/month=11/day=20/a.log",
    ]


def test_one_object_can_be_named(s3: Any) -> None:
    put(s3, "a.log", alb(1))

    assert read_logs([f"s3://{BUCKET}/a.log"], ALL).accounting.taken == 1


@pytest.mark.parametrize("cuts", [[100], [0, 100, 5_000]])
def test_an_interrupted_transfer_continues_where_it_ended(s3: Any, answers: Answers, cuts: list[int]) -> None:
    put(s3, "a.log", b"".join(alb(1, f"/{n}") for n in range(100)))
    answers.cuts = cuts

    assert read_logs([f"s3://{BUCKET}/a.log"], ALL).accounting.taken == 100


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_object_that_s3_refuses_makes_the_traffic_incomplete(
    s3: Any, answers: Answers, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    monkeypatch.setattr(first_pass, "_LEAST_BYTES", 1 if jobs == 2 else 1 << 40)
    for n in range(4):
        put(s3, f"{n}.log", alb(1))
    if jobs == 2:  # a worker has its own boto3
        s3.put_object(Bucket=BUCKET, Key="2.log", Body=alb(1), SSECustomerKey="1" * 32, SSECustomerAlgorithm="AES256")
    answers.refused = lambda key: key == "2.log"
    sources = list(s3_inputs(f"s3://{BUCKET}/", ALL_TIMES))
    if jobs == 2:
        s3.delete_object(Bucket=BUCKET, Key="2.log")
        monkeypatch.setattr("loadgen.traffic.read_logs.find_inputs", lambda *_: sources)

    accounting = read_logs([f"s3://{BUCKET}/"], replace(ALL, jobs=jobs)).accounting

    assert accounting.taken == 3
    assert [gap.input for gap in accounting.gaps] == [f"s3://{BUCKET}/2.log"]
    assert f"cannot read s3://{BUCKET}/2.log: AWS returned" in accounting.gaps[0].reason


def test_a_transfer_that_breaks_for_good_keeps_its_lines_so_far(s3: Any, answers: Answers) -> None:
    put(s3, "a.log", b"".join(alb(1, f"/{n}") for n in range(100)))
    answers.cuts = [2_000, 0, 0, 0, 0, 0]

    accounting = read_logs([f"s3://{BUCKET}/a.log"], ALL).accounting

    assert 0 < accounting.taken < 10
    assert "ReadTimeoutError" in accounting.gaps[0].reason


def test_the_command_shows_that_the_traffic_is_incomplete_and_writes_it(
    s3: Any, answers: Answers, tmp_path: Path
) -> None:
    for n in range(3):
        put(s3, f"{n}.log", alb(1))
    answers.refused = lambda key: key == "1.log"

    done = CliRunner().invoke(
        cli.app, ["model", f"s3://{BUCKET}/", "-o", str(tmp_path / "new/shop.py"), "--least-users", "1"]
    )

    assert done.exit_code == ExitCode.INCOMPLETE, done.output
    assert "the traffic is incomplete: 1 object could not be read to the end" in " ".join(done.stderr.split())
    assert f's3://{BUCKET}/1.log"' in (tmp_path / "new/traffic.json").read_text()


def test_without_rights_to_list_or_read_the_error_names_the_permission(s3: Any, answers: Answers) -> None:
    put(s3, "a.log", alb(1))
    answers.refused = lambda _: True

    with pytest.raises(UsageError, match=r"no line could be read.*AccessDenied") as unread:
        read_logs([f"s3://{BUCKET}/"], ALL)
    answers.refuses_lists = True
    with pytest.raises(UsageError, match=r"cannot list s3://.*AccessDenied") as unlisted:
        read_logs([f"s3://{BUCKET}/"], ALL)

    assert "s3:GetObject" in unread.value.hint
    assert "s3:ListBucket" in unlisted.value.hint


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://no-such-bucket-here/", "NoSuchBucket"),
        (f"s3://{BUCKET}/nothing", "no objects begin with this address"),
        ("s3:///x", "invalid S3 address"),
    ],
)
def test_a_wrong_address_is_an_error(s3: Any, url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_logs([url], ALL)
