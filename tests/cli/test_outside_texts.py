"""Hostile texts in every field that an agent, a target or a scenario can fill, through every command that prints them.

`READ` and `ASKED` name the commands that are run here, `OTHERS` those that print no such text or need a machine that
is not here. A new command has to be put into one of them. That all of them print through one function is held by
tests/test_outside_text.py.
"""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from markdown_it import MarkdownIt
from rich.console import ConsoleDimensions
from typer.main import get_command
from typer.testing import CliRunner, Result

from loadgen.dsl.plans.spec import PlanSpec
from loadgen.errors import ExitCode, FleetError
from loadgen.history.store.extract import accepted_of
from loadgen.history.store.store import Store
from loadgen.measure.deltas.delta import Health
from loadgen.report.run_as_dataframes import open_run
from loadgen.sinks.ndjson import NdjsonSink
from loadgen_controller import cli
from loadgen_controller.commands import agents, control_request, runs
from loadgen_controller.console_output import Output, Text
from loadgen_controller.core.lifecycle import Phase
from loadgen_controller.run.view import AgentView, PointView, SteeringView, ViewState
from loadgen_controller.screen.figures_builder import Watch
from loadgen_controller.screen.live import Screen, line
from tests.support.figures import agent, figures, row
from tests.support.hostile import BODY, FORGED, Texts, hostile_run, planted, strings
from tests.support.in_thread import serving
from tests.support.run import loadgen as run_loadgen

BASE, NEW = "20261124-170310-shop-a1b0", "20261124-170319-shop-a1b9"
KILLED = "20261124-170320-shop-dead"

READ = {
    "runs": ["runs"],
    "runs list": ["runs", "list"],
    "runs show": ["runs", "show", NEW, "--explain"],
    "runs label": ["runs", "label", NEW, "team=a\x1b[2J"],
    "runs note": ["runs", "note", NEW, "again\x1b[2J"],
    "failures": ["failures", NEW],
    "failures of one": ["failures", NEW, "1"],
    "report": ["report", NEW],
    "compare": ["compare", BASE, NEW],
    "gate": ["gate", NEW, "--explain", "--markdown", "gate.md", "--junit", "gate.xml", "--json", "gate.json"],
    "history": ["history", "--html", "history.html"],
    "history runs": ["history", "runs"],
    "history add": ["history", "add", NEW, "--because", "it\x1b[2J"],
    "history pin": ["history", "pin", BASE, "--name", "1.0"],
    "capacity list": ["capacity", "list"],
    "capacity show": ["capacity", "show", "C-1"],
    "capacity size": ["capacity", "size", "--peak", "2/s", "--capacity", "2/s", "--limit", "p\x1b[2J=9/s"],
    "capacity coldstart": ["capacity", "coldstart", NEW, "--at", "5s"],
    "history strike": ["history", "strike", BASE, "--because", "it\x1b[2J"],
}
ASKED = {
    "pause": ["pause"],
    "resume": ["resume"],
    "scale": ["scale", "2"],
    "skip": ["skip"],
    "stop": ["stop"],
    "kill": ["kill"],
    "agents": ["agents"],
}
"""With --controller, of a controller that answers with such texts."""
OTHERS = {
    "run": "a run of its own below", "check": "a run of its own below",
    "watch": "the live view and the report below",
    "plan": "prints the person's own scenario, through echo",
    "capacity ceilings": "tests/capacity/test_ceilings.py",
    "runs rerun": "as run",
    "capacity fit": "tests/capacity/test_fit_command.py",
    "runs delete": "names of folders", "runs prune": "names of folders",
    "notify test": "a name of loadgen.toml", "probe check": "tests/cli/test_probe.py",
    "probe run": "tests/probes/test_hostile_answers.py", "probe add": "tests/probes/running/test_joining.py",
    "capacity scale": "tests/cli/test_capacity_scale.py", "capacity find": "tests/cli/test_capacity_find.py",
    "runs push": "names of files", "runs pull": "names of files", "runs share": "an address",
    "trace why": "tests/cli/test_trace.py", "trace show": "tests/cli/test_trace.py", "trace export": "a count",
    "trace collect": "its own address, and counts",
    "runs metrics": "needs CloudWatch; a table", "runs traces": "needs X-Ray; tables",
    "history control": "as gate", "sweep": "tests/cli/test_sweep.py", "decide": "tests/cli/test_decide.py",
    "board": "tests/cli/test_board.py",
    "slo new": "the person's own words", "slo check": "tests/cli/test_slo.py",
    "slo import": "notes, as slo check; writes a file", "slo export": "notes, as slo check; writes a file",
    "slo pull": "tests/cli/test_slo_pull.py", "slo status": "tests/cli/test_slo_pull.py",
    "slo exclude": "tests/cli/test_slo_pull.py", "slo report": "tests/programme/test_weekly_page.py",
    "evidence": "tests/cli/test_evidence.py",
    "slo anomaly list": "tests/cli/test_slo_anomaly.py", "slo anomaly accept": "tests/cli/test_slo_anomaly.py",
    "slo anomaly explain": "as accept", "slo anomaly false": "as accept",
    "ci annotate": "tests/deploy/test_ci_action.py", "ci comment": "a status", "completion": "a fixed script",
    "new": "the person's own words", "target": "its own address", "target llm": "its own address",
    "llm": "as run; a scenario of its own options", "model logs": "a log of its own below",
    "model update": "names of traffic.json, through echo",
    "model check": "names of traffic.json, through echo", "replay-log": "as model logs",
    "coverage": "files of its own below",
    "controller": "logs, tests/test_outside_text.py", "controller resume": "as controller",
    "fleet plan": "needs AWS", "fleet up": "needs AWS", "fleet ls": "needs AWS", "fleet down": "needs AWS",
    "fleet reap": "needs AWS", "fleet cost": "needs AWS",
    "api token": "own names", "api list": "own names", "api revoke": "own names", "api cert": "own names",
    "keys init": "own names", "keys agent": "own names", "keys signing": "own names", "keys revoke": "own names",
    "keys list": "own names",
}  # fmt: skip


def loadgen(*args: str, columns: int = 80) -> Result:
    result = CliRunner().invoke(cli.app, list(args), env={"COLUMNS": str(columns)})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture(scope="module")
def texts() -> Texts:
    return Texts()


@pytest.fixture(scope="module")
def planted_runs(tmp_path_factory: pytest.TempPathFactory, texts: Texts) -> Path:
    """Three accepted runs, one that is slower, and one that was killed: a folder with `runs` and `history`."""
    folder = tmp_path_factory.mktemp("hostile")
    store = Store.open(str(folder / "history"))
    for n in range(3):
        run_id = f"20261124-17031{n}-shop-a1b{n}"
        path = hostile_run(folder / "runs", run_id, texts, level_ms=100 + n, validity="valid")
        store.add(accepted_of(open_run(path)))
    store.add_study({"kind": BODY, "title": BODY, "headline": BODY, "lines": [BODY], "run_ids": [BODY]}, by=BODY)
    hostile_run(folder / "runs", NEW, texts, level_ms=160)
    hostile_run(folder / "runs", KILLED, texts, is_sealed=False)
    return folder


@pytest.fixture
def here(planted_runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(planted_runs)
    monkeypatch.delenv("LOADGEN_STORE", raising=False)
    return planted_runs


def wrongs(output: str) -> Iterator[str]:
    """What a terminal or a CI would take for something else."""
    for at in output.split("\n"):
        if hidden := [c for c in at if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]:
            yield f"{hidden} in {at!r}"
        if re.match(r"\s*(PASSED \(exit|PASS: )", at) and not at.startswith("  "):  # a body is indented
            yield f"reads like the verdict: {at!r}"
        if re.search(r"^\s*::[a-z-]+( |::)|##\w*\[", at):
            yield f"a CI would obey {at!r}"


def assert_plain(output: str) -> None:
    assert list(wrongs(output)) == []


# -- the terminal ---------------------------------------------------------------------------------


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    if hasattr(command, "commands"):
        for name in command.list_commands(None):
            yield from leaves(command.get_command(None, name), (*path, name))
        if not (path and command.invoke_without_command):
            return
    yield " ".join(path)


def test_every_command_is_in_one_of_the_lists() -> None:
    known = {*(name.removesuffix(" of one") for name in READ), *ASKED, *OTHERS}
    assert set(leaves(get_command(cli.app))) == known


@pytest.mark.parametrize("name", READ)
def test_a_command_that_reads_a_run_prints_no_text_that_steers_the_terminal(here: Path, name: str) -> None:
    done = loadgen(*READ[name])
    assert done.exit_code in (ExitCode.PASSED, ExitCode.FAILED, ExitCode.INCOMPLETE, ExitCode.INVALID), done.output
    assert_plain(done.output)


def test_a_run_that_was_killed_is_shown_like_that_too(here: Path) -> None:
    for words in (["failures", KILLED], ["failures", KILLED, "1"], ["report", KILLED, "--format", "json"]):
        assert_plain(loadgen(*words).output)
    assert_plain(loadgen("runs", "show", KILLED).output)


def test_the_texts_are_still_there_to_be_read(here: Path) -> None:
    """Nothing is cut out: it is shown as what it is."""
    said = loadgen("failures", NEW, "1").output
    for part in ("detail \\x1b[31m\\x9b2J\\x1b]8;;http://evil.test\\x07", "[red]x[/red]", "\\u202e\\u2066\\u200b"):
        assert part in said
    assert f"\n  {FORGED}\n" in said  # a line of the body


def test_a_log_whose_requests_have_such_texts_is_shown_without_steering_the_terminal(tmp_path: Path) -> None:
    hostile = "".join(c for c in planted("") if c not in ' "\r\n\x0b\x0c\x85\u2028')
    sent = '203.0.113.{} - {} [17/May/2015:10:05:03 +0000] "GET /{}/a?{} HTTP/1.1" 200 23 "{}" "{}"\n'
    lines = [sent.format(n, *[hostile] * 5) for n in range(9)]
    (tmp_path / f"access{hostile.replace('/', '')}.log").write_text("".join(lines) + hostile, "utf-8")
    for columns in (80, 2_000):  # a narrow terminal cuts names in the middle
        done = loadgen("model", str(tmp_path), "--least-users", "1", "--max-rejects", "50%", columns=columns)
        assert done.exit_code == 0, done.output
        assert_plain(done.output)
    assert "%1B%5B31m" in "".join(done.output.split()), "the name of the requests shows the text, in the form of an URL"
    assert_plain(done.output)
    replay = tmp_path / f"x{hostile.replace('/', '')}" / "replay.py"
    done = loadgen("replay-log", str(tmp_path), "-o", str(replay), "--least-users", "1", "--max-rejects", "50%")
    assert done.exit_code == 0, done.output
    assert_plain(done.output)


@pytest.mark.parametrize("output", ["text", "json", "markdown"])
def test_coverage_of_files_with_such_texts_steers_no_terminal(tmp_path: Path, output: str) -> None:
    hostile = "".join(c for c in planted("x") if c not in " \r\n\x0b\x0c\x85\u2028")
    hostile_names = (f"GET /{hostile}", f"POST /a/{{{hostile}}}", hostile)
    # Some of these texts are no paths, so that all of these names can be unreadable.
    names = [{"raw": name, "name": name, "count": 9} for name in ("GET /plain", *hostile_names)]
    traffic = {"format": 1, "names": names, "statuses": [{"name": f"GET /{hostile}", "codes": {"500": 9}}]}
    (tmp_path / "traffic.json").write_text(json.dumps(traffic))
    paths = {f"/{hostile}": {"get": {}, "put": {}}, f"/{hostile}b": {"$ref": "http://a"}}
    (tmp_path / "api.json").write_text(json.dumps({"openapi": "3.1.0", "paths": paths}))
    code = "async def a(user):\n    await user.http.get({!r})\n    await user.http.get({!r} + user, name={!r})\n"
    (tmp_path / "shop.py").write_text(code.format(f"/{hostile}", hostile, hostile))
    options = ("--traffic", f"{tmp_path}/traffic.json", "--openapi", f"{tmp_path}/api.json", "--format", output)

    done = loadgen("coverage", str(tmp_path / "shop.py"), *options)

    assert done.exit_code == 0, done.output
    assert_plain(done.output)


@pytest.mark.parametrize("name", ASKED)
def test_what_a_controller_answers_steers_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    told = SimpleNamespace(lines=[planted("told") for _ in range(12)])
    hostile = {field: planted(field) for field in ("id", "region", "presence", "note", "run_id", "host")}
    listed = [SimpleNamespace(**hostile, cpus=2, workers=1, silent_s=0.1)]
    monkeypatch.setattr(control_request, "call", lambda *_: told)
    monkeypatch.setattr(agents, "call", lambda *_: listed)
    done = loadgen(*ASKED[name], "--controller", "127.0.0.1:1")
    assert done.exit_code == 0, done.output
    assert "told" in done.output or "id \\x1b" in done.output
    assert_plain(done.output)


def test_the_runs_of_a_controller_steer_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {name: planted(name) for name in ("run_id", "state", "by")}
    monkeypatch.setattr(runs, "call", lambda *_: [SimpleNamespace(**fields, agents=2)])
    assert_plain(loadgen("runs", "list", "--controller", "127.0.0.1:1").output)


def test_an_error_begins_no_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise FleetError(planted("message"), hint=planted("hint"))

    monkeypatch.setattr(agents, "call", refuse)
    said = loadgen("agents", "--controller", "127.0.0.1:1").output
    assert_plain(said)
    assert all(line.startswith(("error: ", "  ")) for line in said.splitlines())


# -- the live view --------------------------------------------------------------------------------


def shown(screen: object, width: int, height: int) -> str:
    console = Output()
    console.size = ConsoleDimensions(width, height)
    with console.capture() as captured:
        console.print(screen)
    return captured.get()


def view_of(path: Path) -> ViewState:
    """A run that goes on, with what its agents have sent."""
    run = open_run(path)
    spec = msgspec.convert(run.manifest["spec"], PlanSpec)
    assigned = run.manifest["assignment"]
    regions = dict(zip(assigned["agents"], assigned["regions"], strict=True))
    seen = tuple(AgentView(name, region, "running", 0.0, planted("note")) for name, region in regions.items())
    return ViewState(
        run.id, Phase.RUNNING, 5_000_000_000, spec, run.merge, seen, frozenset(regions), 2, True, path,
        notices=tuple(planted("notice") for _ in range(12)),
        steering=(SteeringView(planted("load"), planted("executor"), 5.0, planted("why"), planted("trouble"), False),),
        points=(PointView(planted("load"), planted("point"), 1, 2, 0),),
    )  # fmt: skip


@pytest.mark.parametrize("size", [(80, 24), (80, 60), (200, 60)])
def test_the_live_view_has_its_lines_and_no_others(here: Path, size: tuple[int, int]) -> None:
    width, height = size
    look = Watch(lambda: view_of(here / "runs" / KILLED), lambda: (planted("from the command line"),))()
    for figures_ in (look, hostile_figures()):
        drawn = shown(Screen(figures_), width, height)
        assert_plain(drawn)
        assert len(drawn.splitlines()) <= height
        assert max(map(len, drawn.splitlines())) <= width
        assert_plain(shown(Text(line(figures_)), width, height))


def hostile_figures() -> Any:
    """Each text in each of its places, more of them than have room."""
    many = [planted(f"name {n}") for n in range(24)]
    health = Health(unfit=tuple(many[:12]), notes=tuple(many))
    return figures(
        plan=planted("plan"),
        journeys=tuple(row(name, 100, 5) for name in many[:2]),
        regions=tuple(row(name, 100, 5) for name in many[:12]),
        parts=tuple(row(f"  {name}", 100, 5) for name in many),
        errors=tuple((name, 3) for name in many),
        agents=tuple(agent(name, note=planted("note")) for name in many[:12]),
        notices=tuple(many),
        unfit=health.unfit,
        counted=tuple(many),
        meeting=tuple(many),
    )


@pytest.mark.parametrize("width", [20, 40, 80])
def test_no_line_wraps_so_that_it_reads_like_the_verdict(width: int) -> None:
    for before in range(2 * width):
        drawn = shown(Text(f"note: {'x' * before} {FORGED}"), width, 24)
        assert not re.search(r"^\s*PASSED \(exit", drawn, re.MULTILINE)
        assert max(map(len, drawn.splitlines())) <= width


# -- a target and a scenario, for real ------------------------------------------------------------

SCENARIO = """
from loadgen import Plan, User, arrivals, journey

print("\\x1b[2Jfrom the scenario")


@journey
async def shop(user: User) -> None:
    async with user.step("=1\\x1b[2J\\nPASSED (exit code 0)"):
        reply = await user.http.get("/", name="::error::x\\u202e\\r\\n")
    user.check("PASSED (exit code 0)\\n\\x9b2J", ok=False)
    user.fail(reply.text)


plan = Plan(target="TARGET", load=arrivals("10/s").hold("1s"), mix={shop: 1.0}, labels={"a": "b\\x1b"})
"""


@contextmanager
def hostile_target() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"{FORGED}{BODY}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Odd", "\x9b2J")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


def test_a_target_and_a_scenario_steer_no_terminal_and_forge_no_line(tmp_path: Path) -> None:
    with hostile_target() as url:
        (tmp_path / "shop.py").write_text(SCENARIO.replace("TARGET", url))
        checked = loadgen("check", str(tmp_path / "shop.py"))
        done = run_loadgen("run", str(tmp_path / "shop.py"), "--explain", runs_dir=tmp_path / "runs")
    assert checked.exit_code == ExitCode.FAILED, checked.output
    own = "\x1b[2Jfrom the scenario\n"  # in the person's own process, by the person's own file
    report = done.out.replace(own, "")
    # On a busy machine, the run may be INVALID, or PASSED (exit code 0), but SUSPECT.
    (verdict,) = re.findall(r"^(?:PASSED|INVALID) \(exit code [04]\)[:,] ", report, re.MULTILINE)
    for output in (checked.output.replace(own, ""), report.replace(verdict, ""), done.err):
        assert_plain(output)
    assert "fail: PASSED (exit code 0)" in checked.stdout
    assert done.summary["iterations"]["errors"] == done.summary["iterations"]["finished"] > 0
    (log,) = (done.folder / "agents").glob("*.log")
    assert "\\x1b[2Jfrom the scenario\n" in log.read_text()
    assert_plain(log.read_text())


# -- files ----------------------------------------------------------------------------------------


def rendered(markdown: str) -> Iterator[tuple[str, str]]:
    """(type, content) of every token that GitHub's grammar finds."""
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown):
        yield token.type, token.content
        yield from ((inner.type, inner.content) for inner in token.children or ())


OURS = re.compile(r"</?(details|summary)>|<details><summary>.*</summary>")


def assert_inert(markdown: str) -> None:
    assert_plain(markdown)
    found = list(rendered(markdown))
    kinds = {kind for kind, _ in found}
    assert not kinds & {"image", "link_open", "fence", "code_block", "blockquote_open", "html_inline"}, kinds
    html = [content.strip() for kind, content in found if kind == "html_block"]
    assert [text for text in html if not OURS.fullmatch(text)] == []
    assert not re.search(r"(?<!\\)://|www\.|@|(?<!&)#\w|&#64;\w", markdown)
    widths: list[int] = []
    for at in markdown.splitlines():
        if at.startswith("|"):
            widths.append(len(re.findall(r"(?<!\\)(?:\\\\)*\|", at)))
        elif widths:
            assert len(set(widths)) == 1
            widths = []


def test_markdown_has_no_image_no_link_no_mention_and_tables_keep_their_columns(here: Path) -> None:
    loadgen("gate", NEW, "--markdown", "gate.md")
    for text in (
        loadgen("report", NEW, "--format", "markdown", "--store", "history").stdout,
        loadgen("compare", BASE, NEW, "--format", "markdown").stdout,
        Path("gate.md").read_text(),
    ):
        assert "evil" in text
        assert_inert(text)


@pytest.mark.parametrize("table", ["series", "windows"])
def test_csv_has_no_formula_and_as_many_cells_in_every_row(here: Path, table: str) -> None:
    more = ["--split", "regions", "--split", "outcomes", "--split", "tags"] if table == "windows" else []
    text = loadgen("report", NEW, "--format", "csv", "--table", table, *more).stdout
    assert_plain(text.replace("\r\n", "\n"))
    head, *rows = list(csv.reader(io.StringIO(text, newline="")))
    assert len(rows) > 4
    assert {len(cells) for cells in rows} == {len(head)}
    for cells in rows:
        for cell in cells:
            assert not cell.startswith(("=", "@", "+", "-", "\t")), cell
    count = head.index("count")
    assert all(cells[count].isdigit() for cells in rows)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_pages_have_only_our_elements(here: Path) -> None:
    loadgen("history", "--html", "history.html")
    loadgen("compare", BASE, NEW, "--format", "html", "-o", "compare.html")
    loadgen("report", NEW, "-o", "report.html", "--store", "history")
    for name, scripts in (("history.html", 0), ("compare.html", 0), ("report.html", 3)):
        page = Path(name).read_text()
        parser = Tags()
        parser.feed(page)
        tags = [tag for tag, _ in parser.found]
        assert tags.count("script") == scripts
        assert not {"img", "a", "iframe", "object"} & set(tags)
        assert [attrs for _, attrs in parser.found if any(key.startswith("on") for key in attrs)] == []
        if name == "report.html":  # its document is base64, and its scripts are ours
            page = page.partition('<template id="in-history">')[2].partition("</template>")[0]
        assert "evil" in page
        assert_plain(page)


def test_junit_has_no_control_character(here: Path) -> None:
    loadgen("gate", NEW, "--junit", "gate.xml")
    for data in (loadgen("report", NEW, "--format", "junit").stdout, Path("gate.xml").read_text()):
        nodes = ElementTree.fromstring(data).iter()
        found = [text for node in nodes for text in (*node.attrib.values(), node.text or "")]
        assert any("evil" in text for text in found)
        for text in found:
            assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"]


JSON = {
    "report": ["report", NEW, "--format", "json"],
    "compare": ["compare", BASE, NEW, "--format", "json"],
    "history": ["history", "--json"],
    "history runs": ["history", "runs", "--json"],
    "runs list": ["runs", "list", "--json"],
    "failures": ["failures", NEW, "--json"],
    "gate": ["gate", NEW, "--json", "-"],
}


@pytest.mark.parametrize("name", JSON)
def test_json_keeps_every_text_and_shows_none_to_the_terminal(here: Path, texts: Texts, name: str) -> None:
    done = loadgen(*JSON[name]).stdout
    assert not [c for c in done if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")]
    said = " ".join(strings(json.loads(done)))
    field = {"runs list": "own note", "history": "journey", "history runs": "label"}.get(name, "journey")
    assert texts[field] in said


def test_ndjson_on_stdout_is_escaped() -> None:
    with redirect_stdout(io.StringIO()):
        made = NdjsonSink(None)._encoded({"request": planted("request")})
    assert_plain(made.decode())


def test_names_of_files_have_plain_letters_only(here: Path) -> None:
    made: Iterable[Path] = (here / "runs").rglob("*")
    assert [path.name for path in made if not re.fullmatch(r"[A-Za-z0-9._-]+", path.name)] == []
