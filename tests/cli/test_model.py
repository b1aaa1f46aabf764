"""`loadgen model`: what it shows of a log, and its errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen.traffic.filters.exclusions import KINDS
from loadgen_controller import cli
from tests.support.made_logs import SHOP, lines_of, written_log

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


@pytest.mark.parametrize("columns", [80, 110, 200])
def test_each_row_is_one_line_with_all_its_figures_however_narrow_the_terminal(columns: int) -> None:
    everything = [text for kind in KINDS for text in ("--keep", kind)]
    done = model(LOGS / "apache_logs_elastic.log.gz", *everything, "--top", "14", columns=columns)

    lines = done.stdout.splitlines()
    assert all(len(line) <= columns for line in lines), done.stdout
    assert len(lines) <= 40
    assert not [line for line in lines if line.rstrip() in ("GET", "POST")]
    (long,) = (line for line in lines if line.startswith("GET /presentation"))
    assert long.split()[-5:] == ["128", "1.28", "%", "118", "116"]
    assert ("samusmmx-d5g5zap.png" in long, "…" in long) == (columns > 80, columns < 200)
    assert "requests per session  mean; median 1, p95 8" in done.stdout


def test_tables_of_a_model_are_as_wide_as_the_terminal(tmp_path: Path) -> None:
    log = written_log(lines_of(SHOP, 200, 1), tmp_path / "access.log", "alb")
    done = model(log, "-o", tmp_path / "shop/shop.py", columns=80)

    lines = done.stdout.splitlines()
    assert "kind of sessions" in done.stdout
    assert [line for line in lines if len(line) > 80] == [line for line in lines if line.startswith("wrote ")]


def test_a_check_writes_its_verdict_as_a_page(tmp_path: Path) -> None:
    log = written_log(lines_of(SHOP, 200, 1), tmp_path / "access.log", "alb")
    assert model(log, "-o", tmp_path / "shop/shop.py").exit_code == 0

    done = model("check", tmp_path / "shop/shop.py", "--log", log, "--html", tmp_path / "check.html")

    page = (tmp_path / "check.html").read_text()
    verdict = done.stdout.strip().splitlines()[-1]
    assert verdict.startswith("fidelity: ")
    assert f">{verdict.split(': ')[1].partition(';')[0]}</span><h1>Check of shop.py</h1>" in page
    assert "loadgen model check shop.py --log access.log" in page
    assert str(tmp_path) not in page


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


def test_ctrl_c_is_a_word_and_exit_code_130_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("loadgen_controller.commands.model.read_logs", stopped)

    done = model(LOGS / "alb_examples_vrl.log", "-o", tmp_path / "shop/shop.py")

    assert done.exit_code == 130
    assert "error: interrupted" in done.stderr
    assert list(tmp_path.iterdir()) == []
