"""A channel of kind "sns": messages arrive at moto, and each refusal is a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadgen.notify.event import Event, EventKind
from loadgen.notify.outbox import Message
from loadgen.notify.settings import Channel
from loadgen.notify.transports import NotDelivered, transport_of
from loadgen_controller import cli
from tests.support.aws import REGION, client
from tests.support.aws_fleet import Aws

EVENT = Event.of(EventKind.REPORT, "Payments", "all kept", "2026-07-27T06:00:00Z", reasons=["All."], rows=["a", "b"])


def subscribed(aws: Aws) -> tuple[str, str]:
    topic = str(client(aws.url, "sns").create_topic(Name="perf")["TopicArn"])
    sqs = client(aws.url, "sqs")
    queue = str(sqs.create_queue(QueueName="readers")["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    client(aws.url, "sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return topic, queue


def test_a_topic_gets_a_message_with_its_kind_and_id(aws: Aws) -> None:
    topic, queue = subscribed(aws)
    transport_of(Channel(name="t", kind="sns", topic=topic, region=REGION), {}).send(Message("msg_1", (EVENT,)))

    (got,) = client(aws.url, "sqs").receive_message(QueueUrl=queue)["Messages"]
    envelope = json.loads(got["Body"])

    assert envelope["Subject"] == "[loadgen] Payments: all kept"
    assert envelope["MessageAttributes"]["kind"]["Value"] == "report"
    assert "a" in envelope["Message"]


def test_a_topic_that_does_not_exist_is_final_and_names_the_code(aws: Aws) -> None:
    channel = Channel(name="t", kind="sns", topic=f"arn:aws:sns:{REGION}:123456789012:gone", region=REGION)

    with pytest.raises(NotDelivered) as raised:
        transport_of(channel, {}).send(Message("msg_1", (EVENT,)))

    assert "cannot publish to arn:aws:sns:eu-west-1:123456789012:gone: AWS returned NotFound" in str(raised.value)
    assert raised.value.is_final


def test_notify_test_works_for_a_topic(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topic, queue = subscribed(aws)
    monkeypatch.chdir(tmp_path)
    Path("loadgen.toml").write_text(f'[notify.ops]\nkind = "sns"\ntopic = "{topic}"\n')

    result = CliRunner().invoke(cli.app, ["notify", "test", "ops"], env={"COLUMNS": "200"})

    assert result.exit_code == 0, result.output
    assert f"delivered to ops (sns, {topic})" in result.output
    assert client(aws.url, "sqs").receive_message(QueueUrl=queue)["Messages"]
