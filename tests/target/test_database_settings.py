"""Options of the demo shop's database: what is refused, and that no message repeats a password."""

from __future__ import annotations

import pytest

from loadgen.errors import UsageError
from loadgen.target.database.settings import DatabaseConfig, pools_of

URL = "postgresql://shop@127.0.0.1:5432/shop"


def test_without_a_url_there_is_no_database() -> None:
    assert DatabaseConfig.of_options(url=None) is None


@pytest.mark.parametrize(
    "options",
    [
        {"secret": "db"},
        {"pool_size": 2},
        {"pools": "settle=1"},
        {"missing_index": True},
        {"prepares": False},
        {"shared_lock": False},
        {"spans_url": "http://127.0.0.1:4318"},
    ],
)
def test_an_option_of_the_database_needs_a_database(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="need --database"):
        DatabaseConfig.of_options(url=None, **options)  # type: ignore[arg-type]


def test_options_are_read() -> None:
    found = DatabaseConfig.of_options(
        url=URL, secret="db", pool_size=2, pools="settle=2, payout = 8", missing_index=True
    )

    assert found == DatabaseConfig(
        url=URL, secret="db", pool_size=2, workers={"settle": 2, "payout": 8}, missing_index=True
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://shop:hunter2@127.0.0.1/shop",
        "postgresql://shop:@127.0.0.1/shop",
        "postgresql://127.0.0.1/shop?user=shop&password=hunter2",
        "postgres://127.0.0.1/shop?PASSWORD=hunter2",
        "postgresql://127.0.0.1/shop?pass%77ord=hunter2",
    ],
)
def test_a_url_with_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="contains a password") as caught:
        DatabaseConfig(url=url)

    assert "hunter2" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "url", ["", "mysql://x/y", "host=127.0.0.1 dbname=shop password=hunter2", "postgresql:x", "postgresql://x:port/y"]
)
def test_an_invalid_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        DatabaseConfig(url=url)

    assert "hunter2" not in caught.value.message + caught.value.hint
    assert caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "settle", "settle=9", "settle=-1", "other=1", "settle=1,settle=2", "settle=1,", "settle=٣"]
)
def test_invalid_pools_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--pools: invalid"):
        pools_of(text)


@pytest.mark.parametrize("size", [0, -1, 1001])
def test_an_invalid_size_of_the_pool_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match="--pool-size must be from 1 to 1,000"):
        DatabaseConfig(url=URL, pool_size=size)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:4318", "https://127.0.0.1:4318", "http://a:1/x", "http://u:p@a:1", "http://a"]
)
def test_an_invalid_receiver_of_spans_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--spans: invalid URL"):
        DatabaseConfig(url=URL, spans_url=url)
