"""The table [publish] of programme.toml: good ones, and all faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.errors import ScenarioError, UsageError
from loadgen.notify.event import EventKind
from loadgen.notify.settings import Channel
from loadgen.programme.publishing.publish_file import PublishSettings, read_publish

TEAM = Channel(name="team", kind="slack", url_secret="hook")
RUNS = Channel(name="runs", kind="slack", url_secret="hook", events=frozenset((EventKind.END, EventKind.TEST)))
CHANNELS = {"team": TEAM, "runs": RUNS}


def read(folder: Path, text: str) -> PublishSettings:
    path = folder / "programme.toml"
    path.write_text(text)
    return read_publish(path, CHANNELS)


def test_a_bucket_channels_and_a_link_are_read_beside_tables_of_others(tmp_path: Path) -> None:
    text = '[decide]\nruns = 3\n[publish]\nto = "s3://reports/perf"\nchannels = ["team", "team"]\nlink = "https://r.example/p/"\n'

    assert read(tmp_path, text) == PublishSettings("s3://reports/perf", (TEAM,), "https://r.example/p")


def test_a_folder_is_relative_to_the_file(tmp_path: Path) -> None:
    assert read(tmp_path, '[publish]\nto = "out"\n').to == str(tmp_path / "out")


def test_all_faults_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    text = '[publish]\nto = "ftp://x"\nchannels = ["taem", "runs"]\nlink = "https://me:pw@r.example"\ntoo = 1\n'

    with pytest.raises(ScenarioError) as raised:
        read(tmp_path, text)

    assert [(one.line, one.message) for one in raised.value.faults] == [
        (2, 'to: "ftp://x" is neither an address of S3 nor a folder'),
        (3, 'channels: no channel "taem" in loadgen.toml'),
        (3, 'channels: the channel "runs" sends no pages'),
        (4, "link: must not have a user, a query or a fragment"),
        (5, 'unknown key "publish.too"'),
    ]
    assert "team" in raised.value.faults[1].hint


@pytest.mark.parametrize(
    "text",
    [
        "publish = 3",
        "[publish]",
        '[publish]\nto = ""',
        '[publish]\nto = "s3://"',
        '[publish]\nto = "out\\u0000"',
        "[publish]\nto = ['x']",
        "[publish]\nchannels = 'team'",
        "[publish]\nto = 'x'\nlink = 'https://[x'",
        "[publish]\nto = 'x'\nlink = 7",
    ],
)
def test_a_wrong_table_is_a_fault_and_never_a_traceback(tmp_path: Path, text: str) -> None:
    with pytest.raises(ScenarioError):
        read(tmp_path, text)


def test_without_the_table_or_the_file_the_hint_has_an_example(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no \[publish\]"):
        read(tmp_path, "[decide]\n")
    with pytest.raises(UsageError, match="there is no "):
        read_publish(tmp_path / "gone.toml", {})
