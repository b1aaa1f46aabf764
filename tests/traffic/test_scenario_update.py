"""Updates of a scenario from newer logs: new figures, and not one edit by hand is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadgen.atomic_files import atomic_write
from loadgen.dsl.loading.loader import load
from loadgen.traffic.read_logs import read_logs
from loadgen.traffic.scenario.draft_of_logs import arrivals_of, draft_of
from loadgen.traffic.scenario.model_file import read_model
from loadgen.traffic.scenario.scenario_update import updated_scenario
from loadgen.traffic.scenario.write_scenario import BEGIN, END
from loadgen_controller import cli
from tests.support.made_logs import LEAVE, SHOP, Chain, lines_of, written_log
from tests.support.typed import check_types
from tests.traffic.test_scenario import RUFF

WITH_ACCOUNT = replace(
    SHOP,
    rows={
        **SHOP.rows,
        "GET /": {"GET /search": 0.4, "GET /account": 0.3, LEAVE: 0.3},
        "GET /account": {"GET /orders/{}": 0.8, LEAVE: 0.2},
        "GET /orders/{}": {"GET /account": 0.5, LEAVE: 0.5},
    },
)
WITHOUT_CART = replace(
    SHOP,
    rows={
        "GET /": SHOP.rows["GET /"],
        "GET /search": SHOP.rows["GET /search"],
        "GET /products/{}": {"GET /search": 0.5, LEAVE: 0.5},
    },
)


def model(*args: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["model", *map(str, args)], env={"COLUMNS": "200"})
    return done.exit_code, done.output


def log_of(folder: Path, chain: Chain = SHOP, seed: int = 1, sessions: int = 300) -> Path:
    return written_log(lines_of(chain, sessions, seed), folder / f"{len(chain.rows)}-{seed}.log", "alb")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    code, output = model(log_of(folder), "-o", folder / "shop/shop.py")
    assert code == 0, output
    return folder / "shop"


@pytest.fixture
def shop(tmp_path: Path, made: Path) -> Path:
    shutil.copytree(made, tmp_path / "shop")
    return tmp_path / "shop/shop.py"


def outside(text: str) -> tuple[list[str], list[str]]:
    """The lines before and after the block."""
    lines = text.splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith(BEGIN))
    return lines[:begin], lines[lines.index(END) + 1 :]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def test_an_update_from_the_same_log_changes_nothing(shop: Path) -> None:
    before = snapshot(shop.parent)

    code, output = model("update", shop)

    assert code == 0, output
    after = snapshot(shop.parent)
    assert b"loadgen model update shop.py" in after.pop("report.html")
    del before["report.html"]
    assert after == before


def test_twenty_updates_keep_an_edit_of_every_line(shop: Path, tmp_path: Path) -> None:
    before, after = outside(shop.read_text())
    block = shop.read_text().splitlines()[len(before) : -len(after)]
    marked = [
        "\n".join(f"{line}  # mine {n}" if line else "# mine" for n, line in enumerate(part))
        for part in (before, after)
    ]
    shop.write_text("\n".join([marked[0], *block, marked[1], ""]))
    expected = outside(shop.read_text())

    figures = set()
    for seed in range(2, 22):
        known = read_model(shop)
        traffic = read_logs([log_of(tmp_path, seed=seed, sessions=120)], known.options)
        draft = draft_of(traffic, arrivals_of(traffic), target="http://127.0.0.1:1", command="", known=known.known)
        shop.write_text(updated_scenario(known.text, str(shop), draft).text)
        assert outside(shop.read_text()) == expected
        figures.add(shop.read_text())

    assert len(figures) == 20
    code, output = model("update", shop, log_of(tmp_path, seed=22, sessions=120))
    assert code == 0, output
    assert outside(shop.read_text()) == expected


def test_new_names_become_functions_before_the_block_and_old_ones_keep_theirs(shop: Path, tmp_path: Path) -> None:
    before, after = outside(shop.read_text())

    code, output = model("update", shop, log_of(tmp_path, WITH_ACCOUNT, seed=5, sessions=500))

    assert code == 0, output
    assert "new functions before the marks: account, order" in output
    first, last = outside(shop.read_text())
    assert first[: len(before)] == before
    assert last == after
    assert {"home", "search", "product", "account", "order"} <= {
        place for journey in load(shop).journeys for place, _ in journey.parts
    }
    for length in ("88", "120"):
        command = [str(RUFF), "format", "--isolated", "--check", "--line-length", length, str(shop)]
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    check_types(tmp_path, shop.read_text())


def test_functions_that_no_session_reaches_any_more_are_named_and_kept(shop: Path, tmp_path: Path) -> None:
    code, output = model("update", shop, log_of(tmp_path, WITHOUT_CART, seed=3))

    assert code == 0, output
    assert "no requests for 2 functions: post_cart, post_checkout" in " ".join(output.split())
    assert "async def post_cart" in shop.read_text()
    load(shop)


def edit_block(shop: Path) -> str:
    text = shop.read_text().replace("counts=True,", "counts=True,  # mine", 1)
    shop.write_text(text)
    return text


def test_the_report_is_written_anew_and_names_what_the_scenario_keeps_of_its_own(shop: Path, tmp_path: Path) -> None:
    newer = log_of(tmp_path, seed=6, sessions=350)
    assert model("update", shop, newer)[0] == 0
    page = (shop.parent / "report.html").read_text()
    assert "350" in page
    assert "of its own" not in page
    edit_block(shop)
    (data,) = (shop.parent / "data").glob("product*.csv")
    data.write_text("id,hits\n7,1\n")

    assert model("update", shop, newer, "--take-mine")[0] == 0

    page = (shop.parent / "report.html").read_text()
    assert "The scenario keeps its own graphs and loads (--take-mine), not those of this page." in page
    assert f"Data files with figures of your own, not those of this page: {data.name}." in page


def test_a_block_that_was_edited_is_refused_with_the_difference(shop: Path) -> None:
    edit_block(shop)
    before = snapshot(shop.parent)

    code, output = model("update", shop)

    assert code == 2
    assert "were changed by hand" in output
    assert "-    counts=True,  # mine" in output
    assert "--take-mine" in output
    assert snapshot(shop.parent) == before


def test_an_edited_block_can_be_kept_or_overwritten(shop: Path, tmp_path: Path) -> None:
    text = edit_block(shop)
    newer = log_of(tmp_path, seed=7)

    assert model("update", shop, newer, "--take-mine")[0] == 0
    assert shop.read_text() == text
    assert model("update", shop, newer, "--take-theirs")[0] == 0
    assert "# mine" not in shop.read_text()


def test_a_data_file_that_was_edited_is_kept_until_it_may_be_overwritten(shop: Path, tmp_path: Path) -> None:
    mine = "id,hits\nmine,1\n"
    (shop.parent / "data/product_id.csv").write_text(mine)
    newer = log_of(tmp_path, seed=7)

    code, output = model("update", shop, newer)

    assert code == 0, output
    assert "data files that you changed were kept: product_id.csv" in output
    assert (shop.parent / "data/product_id.csv").read_text() == mine
    assert model("update", shop, newer)[0] == 0
    assert (shop.parent / "data/product_id.csv").read_text() == mine, "a second update must not take it for its own"
    assert model("update", shop, newer, "--take-theirs")[0] == 0
    assert (shop.parent / "data/product_id.csv").read_text() != mine


def test_the_options_of_the_model_are_those_of_the_update(tmp_path: Path) -> None:
    shop = tmp_path / "shop/shop.py"
    log = log_of(tmp_path)
    assert model(log, "-o", shop, "--name", "/products/{sku}", "--session-timeout", "20m", "--classes", "1")[0] == 0

    assert model("update", shop, log)[0] == 0

    facts = json.loads((shop.parent / "traffic.json").read_text())
    assert facts["sessions"]["timeout_s"] == 1_200
    assert "GET /products/{sku}" in facts["nodes"].values()
    assert len(facts["classes"]) == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda shop: shop.unlink(), "cannot read"),
        (lambda shop: shop.write_text(shop.read_text().replace(END, "")), "found 1 and 0"),
        (lambda shop: shop.write_text(shop.read_text() + f"\n{BEGIN}x\n"), "found 2 and 1"),
        (lambda shop: shop.write_text(shop.read_text() + "\nif :\n"), "not valid Python"),
        (lambda shop: (shop.parent / "traffic.json").unlink(), "cannot read"),
        (lambda shop: (shop.parent / "traffic.json").write_text("{"), "traffic.json:1: not valid JSON"),
        (lambda shop: (shop.parent / "traffic.json").write_text('{"format": 9}'), "has the format 9"),
        (lambda shop: (shop.parent / "traffic.json").write_text('{"format": 1}'), "the key 'nodes' is missing"),
        (lambda shop: (shop.parent / "traffic.json").write_text("[]"), "not written by"),
        (lambda shop: shop.write_bytes(b"\xff\xfe"), "not a text in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_updated_is_an_error_and_changes_nothing(shop: Path, spoil: object, message: str) -> None:
    spoil(shop)  # type: ignore[operator]
    before = snapshot(shop.parent)

    code, output = model("update", shop)

    assert code == 2, output
    assert message in " ".join(output.split())
    assert snapshot(shop.parent) == before


def test_an_option_of_another_type_is_an_error(shop: Path) -> None:
    path = shop.parent / "traffic.json"
    facts = json.loads(path.read_text())
    for name, value in (("timeout_s", "soon"), ("names", 3), ("by_user", 1)):
        path.write_text(json.dumps({**facts, "options": {**facts["options"], name: value}}))

        code, output = model("update", shop)

        assert code == 2, output
        assert "not written by" in output


def test_both_ways_to_take_exclude_each_other(shop: Path) -> None:
    code, output = model("update", shop, "--take-mine", "--take-theirs")

    assert code == 2
    assert "exclude each other" in output


def test_files_that_cannot_all_be_written_are_as_before(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(shop.parent)
    calls = 0

    def fails_the_third_time(path: Path, data: bytes, mode: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(28, "No space left on device")
        atomic_write(path, data, mode)

    monkeypatch.setattr("loadgen.traffic.scenario.scenario_files.atomic_write", fails_the_third_time)
    code, output = model("update", shop, log_of(tmp_path, seed=9))

    assert code != 0
    assert "No space left on device; nothing was changed" in " ".join(output.split())
    assert snapshot(shop.parent) == before
