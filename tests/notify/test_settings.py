"""`[notify.NAME]` of `loadgen.toml`: good channels, and all faults at once with their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.dsl.plans.loadgen_toml import read_settings
from loadgen.errors import ScenarioError
from loadgen.notify.event import EventKind
from loadgen.notify.settings import Channel

GOOD = """
[notify.hook]
kind = "webhook"
url = "https://hooks.example/loadgen"
signing_secret = "hook-key"
events = ["end", "abort", "agent-lost"]
link = "https://perf.example/runs/{run}"

[notify.team]
kind = "slack"
url_secret = "team-hook"

[notify.mail]
kind = "email"
server = "mail.example:587"
sender = "loadgen@shop.example"
to = ["team@shop.example"]
user = "loadgen"
password_secret = "smtp-password"
"""


def channels_in(folder: Path, text: str) -> dict[str, Channel]:
    path = folder / "loadgen.toml"
    path.write_text(text)
    return dict(read_settings(path).notify)


def test_three_kinds_of_channels_are_read(tmp_path: Path) -> None:
    channels = channels_in(tmp_path, GOOD)
    assert list(channels) == ["hook", "team", "mail"]
    assert channels["hook"].events == {EventKind.END, EventKind.ABORT, EventKind.AGENT_LOST, EventKind.TEST}
    assert channels["team"].events == set(EventKind)
    assert (channels["mail"].host, channels["mail"].port, channels["mail"].tls) == ("mail.example", 587, "starttls")
    assert [one.secrets for one in channels.values()] == [("hook-key",), ("team-hook",), ("smtp-password",)]


def test_what_is_shown_of_a_channel_has_no_secret(tmp_path: Path) -> None:
    channels = channels_in(tmp_path, GOOD)
    assert channels["hook"].where == "https://hooks.example/loadgen"
    assert channels["team"].where == "the URL of secret team-hook"
    assert channels["mail"].where == "team@shop.example"


WEBHOOK = 'kind = "webhook"\nurl = "https://hooks.example/x"\n'
MAIL = 'kind = "email"\nserver = "mail.example:587"\nsender = "a@b.example"\nto = ["c@d.example"]\n'


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        ("", 1, "has no kind"),
        ('kind = "pager"', 2, "kind: invalid enum value"),
        ('kind = "webhook"', 1, "neither url nor url_secret"),
        (WEBHOOK + 'url_secret = "x"', 3, "both url and url_secret"),
        ('kind = "webhook"\nurl = "ftp://x.example"', 3, "must begin with https"),
        ('kind = "webhook"\nurl = "https://a:canary@x.example/"', 3, "may be a secret"),
        ('kind = "webhook"\nurl = "https://x.example/?token=canary"', 3, "may be a secret"),
        ('kind = "slack"', 1, "has no url_secret"),
        ('kind = "slack"\nurl = "https://hooks.example/canary"', 3, "is a secret"),
        ('kind = "slack"\nurl_secret = "https://hooks.example/canary"', 3, "is not the name of a secret"),
        (WEBHOOK + 'password = "canary"', 4, 'unknown key "notify.it.password"'),
        (WEBHOOK + 'server = "mail.example:25"', 4, "has no server"),
        (WEBHOOK + 'events = ["ends"]', 4, 'unknown event "ends"'),
        (WEBHOOK + "events = []", 4, "the list is empty"),
        (WEBHOOK + 'link = "/runs/{run}"', 4, "must begin with https"),
        (WEBHOOK + 'link = "https://x.example/?run={run}"', 4, "must not have a user, a query"),
        (WEBHOOK + 'ca = "no.pem"', 4, "no.pem does not exist"),
        (MAIL.replace(":587", ""), 3, "must be HOST:PORT"),
        (MAIL.replace("a@b.example", "loadgen"), 4, "is not an e-mail address"),
        (MAIL.replace("c@d.example", "c@d.example\\nBcc: x@y.example"), 5, "is not an e-mail address"),
        (MAIL + 'user = "x"', 6, "need each other"),
        (MAIL + 'user = "x"\npassword_secret = "y"\ntls = "none"', 8, "without encryption"),
        (MAIL + "to_all = true", 6, "unknown key"),
    ],
)
def test_each_fault_has_its_line_and_never_a_secret(tmp_path: Path, lines: str, line: int, message: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        channels_in(tmp_path, f"[notify.it]\n{lines}\n")
    shown = [f"{fault.line} {fault.message} | {fault.hint}" for fault in raised.value.faults]
    assert any(text.startswith(f"{line} ") and message.lower() in text.lower() for text in shown), shown
    assert "canary" not in str(shown)
    assert all(fault.hint for fault in raised.value.faults)


def test_a_topic_needs_an_arn_whose_region_is_used(tmp_path: Path) -> None:
    topic = "arn:aws:sns:eu-central-1:123456789012:perf"
    channels = channels_in(tmp_path, f'[notify.ops]\nkind = "sns"\ntopic = "{topic}"\nevents = ["report"]\n')
    assert (channels["ops"].region, channels["ops"].where, channels["ops"].secrets) == ("eu-central-1", topic, ())

    with pytest.raises(ScenarioError) as raised:
        channels_in(
            tmp_path, '[notify.ops]\nkind = "sns"\ntopic = "perf"\nurl = "https://x.example"\nregion = "mars"\n'
        )
    assert sorted(one.message for one in raised.value.faults) == [
        'region: "mars" is not a region',
        'topic: "perf" is not the ARN of a topic',
        "url: a channel of kind sns has no url",
    ]
