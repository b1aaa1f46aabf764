"""AWS on loopback, for the tests that ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.aws.account.boto_clients import Clients
from tests.support.aws import emptied, isolated, running_aws
from tests.support.aws_fleet import Answers, Aws


@pytest.fixture(scope="session")
def aws_server() -> Iterator[Aws]:
    with running_aws() as url:
        yield Aws(url, Clients(url))


@pytest.fixture
def aws(aws_server: Aws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Aws:
    """Empty. Its clients are made once: each costs more than most tests do."""
    isolated(monkeypatch, tmp_path, aws_server.url)
    emptied(aws_server.url)
    return aws_server


@pytest.fixture
def answers(aws: Aws) -> Iterator[Answers]:
    """In AWS's stead; it refuses nothing until it is told to."""
    with Answers(aws.clients) as answers:
        yield answers
