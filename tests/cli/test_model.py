"""`loadgen model`: what it shows of a log, and its errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen.traffic.exclusions import KINDS
from loadgen_controller import cli

LOGS = Path(__file__).parents[1] / "data/logs"


def model(*args: str | Path, columns: int = 110) -> Result:
    return CliRunner().invoke(cli.app, ["model", *map(str, args)], env={"COLUMNS": str(columns)})


def test_the_elastic_log_is_shown_with_all_its_lines() -> None:
    kept = [part for kind in ("bots", "statics", "preflights") for part in ("--keep", kind)]
    done = model(LOGS / "apache_logs_elastic.log.gz", *kept)

    assert done.exit_code == 0, done.output
    for part in (
        "10,000",
        "9,999",
        "a quote is missing",
        "200: 9,125, 304: 445, 404: 213",
        "1,861",
        "GET /favicon.ico",
    ):
        assert part in done.stdout
    assert "Requests start only in 1 of the 60 minutes of an hour" in done.stderr
    assert len(done.stdout.splitlines()) <= 45


def test_each_row_is_one_line_with_all_its_figures_however_narrow_the_terminal(tmp_path: Path) -> None:
    for columns in (80, 110, 200):
        output = tmp_path / f"{columns}/shop.py"
        everything = [text for kind in KINDS for text in ("--keep", kind)]
        done = model(LOGS / "apache_logs_elastic.log.gz", *everything, "-o", output, "--top", "14", columns=columns)

        lines = done.stdout.splitlines()
        assert all(len(line) <= columns for line in lines[:-1]), done.stdout
        assert len(lines) <= 60
        assert not [line for line in lines if line.rstrip() in ("GET", "POST")]
        (long,) = (line for line in lines if line.startswith("GET /presentation"))
        assert long.split()[-5:] == ["128", "1.28", "%", "118", "116"]
        assert ("samusmmx-d5g5zap.png" in long, "…" in long) == (columns > 80, columns < 200)
        assert "requests per session  mean; median 1, p95 8" in done.stdout


def test_names_with_few_users_are_shown_only_if_asked() -> None:
    hidden = model(LOGS / "alb_examples_vrl.log")
    shown = model(LOGS / "alb_examples_vrl.log", "--least-users", "1")

    assert "--least-users 1" in hidden.stderr
    assert "/cgi-bin/login.cgi" not in hidden.output
    assert "POST /cgi-bin/login.cgi" in shown.stdout


def test_a_name_of_the_operator_is_used(tmp_path: Path) -> None:
    text = '203.0.113.7 - - [17/May/2015:10:05:03 +0000] "GET /products/7 HTTP/1.1" 200 23\n'
    (tmp_path / "a.log").write_text(text)

    done = model(tmp_path, "--name", "/products/{sku}", "--least-users", "1")

    assert "GET /products/{sku}" in done.stdout


def test_all_wrong_options_are_listed_at_once() -> None:
    done = model(
        *(LOGS, "--field", "x=y", "--stamp", "middle", "--time-after", "h", "--name", "x", "--session-timeout", "soon"),
        *("--max-rejects", "some", "--format", "iis"),
    )

    assert done.exit_code == 2
    for option in ("--field", "--stamp", "--time-after", "--name", "--session-timeout", "--max-rejects"):
        assert f"{option}: " in done.output
    assert 'unknown format "iis"' in done.output


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("took=latency:min", '--field: took has no unit "min"'),
        ("time=when:last", '--field: time has no unit "last"'),
        ("url=where:s", '--field: url has no unit "s"'),
    ],
)
def test_a_unit_that_is_unknown_is_an_error_and_not_seconds(given: str, message: str) -> None:
    done = model(LOGS / "apache_logs_elastic.log.gz", "--field", given, columns=200)

    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        (("--field", "took=x:ms"), "--field was ignored: no log has the format json"),
        (("--time-after", "s"), "--time-after was ignored: no log has the format combined"),
        (("--stamp", "end"), "--stamp end was ignored: no log has the format combined"),
        ((), ""),
    ],
)
def test_an_option_for_another_format_is_a_warning(options: tuple[str, ...], warned: str) -> None:
    done = model(LOGS / "alb_examples_vrl.log", *options)

    assert done.exit_code == 0
    assert warned in done.stderr
    assert ("was ignored" in done.stderr) == bool(options)


def test_rejected_lines_are_counted_also_if_all_of_them_may_be_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("hello\nworld\n")

    done = model(tmp_path / "a.log", "--format", "combined", "--max-rejects", "100%", columns=200)
    wrong = model(tmp_path / "a.log", "--max-rejects", "5")

    assert "the logs have no request: 2 lines; excluded: 0, rejected: 2, blank lines and comments: 0" in done.stderr
    assert "write 5%" in wrong.stderr


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "the logs have no request"), (b"hello\n", "unknown log format"), (None, "not found")]
)
def test_a_bad_log_gives_exit_code_2(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.log").write_bytes(content)

    done = model(tmp_path / "a.log")

    assert done.exit_code == 2
    assert message in done.output
    assert "a.log" in done.output or content == b""
