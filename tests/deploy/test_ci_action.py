"""The action of GitHub and the recipes of docs/ci: steps executed with bash, fake files of a runner, a local API.

The platforms themselves were not tried; docs/ci.md states that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from loadgen.errors import Fault, ScenarioError, UsageError
from loadgen_controller.ci.annotations import annotation, annotations_of, lines_of_objectives
from loadgen_controller.ci.comment import LONGEST_BYTES, Place, body_of, place_in, publish
from loadgen_controller.cli import app
from tests.report.test_tables import summary
from tests.support.ci_runner import Runner
from tests.support.in_thread import serving
from tests.support.target import running_target

ROOT = Path(__file__).parents[2]
SCENARIO = """
from loadgen import Plan, User, arrivals, error_ratio, journey, p

@journey
async def look(user: User) -> None:
    await user.http.get("/products/sku-0001", name="GET /products/{sku}", expect=200)

plan = Plan(
    target="http://127.0.0.1:1", load=arrivals("20/s").hold("2s"), mix=look,
    slos=[
        error_ratio() < "50%",
        p(95) < "1us",
    ],
)
"""


class CommentApi:
    """A stand-in for the comments of GitHub and of GitLab: one collection, numbered from 1."""

    def __init__(self) -> None:
        self.comments: dict[int, str] = {}
        self.requests: list[tuple[str, str, str]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = int(self.path.rpartition("page=")[2])
                found = [{"id": key, "body": body} for key, body in api.comments.items()]
                self._answer(200, found[(page - 1) * 100 : page * 100])

            def do_POST(self) -> None:
                number = len(api.comments) + 1
                api.comments[number] = self._body()
                self._answer(201, {"id": number})

            def do_PATCH(self) -> None:
                api.comments[int(self.path.rpartition("/")[2])] = self._body()
                self._answer(200, {})

            do_PUT = do_PATCH

            def _body(self) -> str:
                return str(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"])

            def _answer(self, code: int, document: object) -> None:
                token = self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN") or ""
                api.requests.append((self.command, self.path, token))
                data = json.dumps(document).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def api() -> Iterator[CommentApi]:
    made = CommentApi()
    with serving(made.server) as made.url:
        yield made


def scenario_in(folder: Path, text: str = SCENARIO) -> str:
    (folder / "shop").mkdir()
    (folder / "shop/peak.py").write_text(text)
    return "shop/peak.py"


# -- the action, executed -----------------------------------------------------------------------------


def test_a_broken_objective_fails_the_job_and_is_commented_once(tmp_path: Path, api: CommentApi) -> None:
    with running_target() as target:
        runner = Runner(tmp_path, scenario=scenario_in(tmp_path), command="run", target=target.url, token="secret-1")
        done = runner.step("test")
    outputs = runner.outputs

    assert done.returncode in (1, 4), done.stdout + done.stderr  # 4 on a machine that is too busy to measure
    assert outputs["exit-code"] == str(done.returncode)
    assert outputs["result"] in ("failed", "invalid")
    assert (tmp_path / outputs["report"]).read_text().startswith("<!")
    assert outputs["run-id"] in outputs["report"]
    place = {1: r",line=12,title=loadgen::p\(95\) < ", 4: r",title=loadgen::INVALID \(exit code 4\): "}[done.returncode]
    assert re.search(rf"^::error file=shop/peak\.py{place}", done.stdout, re.MULTILINE)
    assert "line=11" not in done.stdout
    assert runner.files["GITHUB_STEP_SUMMARY"].read_text() == (tmp_path / "loadgen-ci/comment.md").read_text()

    for _ in range(2):  # two pushes
        assert runner.step("comment", GITHUB_API_URL=api.url).returncode == 0
    (comment,) = api.comments.values()
    assert comment.startswith("<!-- loadgen run -->\n### ")
    assert "p(95)" in comment.replace("\\", "")
    assert [method for method, _, _ in api.requests] == ["GET", "POST", "GET", "PATCH"]
    assert api.requests[1][1:] == ("/repos/shop/site/issues/7/comments", "Bearer secret-1")
    assert api.requests[3][1] == "/repos/shop/site/issues/comments/1"


def test_a_fault_of_the_scenario_is_shown_at_its_line(tmp_path: Path) -> None:
    scenario = scenario_in(tmp_path, SCENARIO.replace('hold("2s")', 'hold("2 parsecs")'))
    runner = Runner(tmp_path, scenario=scenario, command="check", **{"fail-on": ""})
    done = runner.step("test")

    assert (done.returncode, runner.outputs["result"]) == (2, "error")  # an error fails the job, whatever fail-on is
    assert re.search(r"^::error file=shop/peak\.py,line=9,title=loadgen::", done.stderr, re.MULTILINE), done.stderr


def test_a_comment_that_cannot_be_written_does_not_fail_the_job(tmp_path: Path) -> None:
    runner = Runner(tmp_path, scenario="shop.py")
    assert "wrote no result" in runner.step("comment").stdout
    (tmp_path / "loadgen-ci").mkdir()
    (tmp_path / "loadgen-ci/comment.md").write_text("### PASS\n")
    done = runner.step("comment", GITHUB_TOKEN="t", GITHUB_API_URL="http://127.0.0.1:9")
    assert (done.returncode, "warning: no comment: " in done.stderr) == (0, True)


@pytest.mark.parametrize(("version", "what"), [("loadgen", "invalid value"), ("dist/no.whl", "there is no file")])
def test_the_installation_refuses_names_and_takes_dependencies_by_hash(tmp_path: Path, version: str, what: str) -> None:
    runner = Runner(tmp_path, version=version)
    fake = tmp_path / "_temp/python3"
    fake.write_text(
        '#!/bin/sh\necho "$@" >> "$RUNNER_TEMP/asked"\n'
        '[ "$2" = venv ] && mkdir -p "$3/bin" && cp "$0" "$3/bin/python"\nexit 0\n'
    )
    fake.chmod(0o755)
    done = runner.step("install")
    installs = [line for line in (tmp_path / "_temp/asked").read_text().splitlines() if " install " in line]

    assert (done.returncode, what in done.stderr) == (2, True)
    assert installs
    assert all("--require-hashes" in line for line in installs)


def test_the_action_is_pinned_and_asks_for_little() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    workflow = yaml.safe_load((ROOT / "docs/ci/github-actions.yml").read_text())
    steps = [*action["runs"]["steps"], *workflow["jobs"]["gate"]["steps"]]

    assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]) for step in steps if "uses" in step)
    assert workflow["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert set(workflow["jobs"]["gate"]["steps"][1]["with"]) <= set(action["inputs"])
    assert set(action["outputs"]) == {"result", "exit-code", "run-id", "report"}
    assert {"scenario", "command", "target", "store", "version", "comment", "fail-on"} <= set(action["inputs"])


# -- comments -------------------------------------------------------------------------------------------


def test_a_comment_has_at_most_8_kb_and_leaves_out_folded_tables_first() -> None:
    folded = "<details><summary>Errors</summary>\n\n" + "| ä |\n" * 3000 + "\n</details>\n"
    body = body_of(f"### FAIL\n\nslower\n\n{folded}", "gate")
    assert len(body.encode()) <= LONGEST_BYTES
    assert "slower" in body
    assert "<details>" not in body
    assert "left out" in body
    long = body_of("### FAIL\n" + "ö" * 20_000, "gate")
    assert len(long.encode()) <= LONGEST_BYTES
    assert body_of("### PASS\n", "gate") == "<!-- loadgen gate -->\n### PASS\n"


def test_the_name_of_a_comment_cannot_end_the_mark() -> None:
    assert body_of("x", "a --> <b>").startswith("<!-- loadgen a------b- -->\n")


def test_a_merge_request_of_gitlab_gets_its_comment(api: CommentApi) -> None:
    place = place_in(
        {
            "GITLAB_CI": "true",
            "CI_API_V4_URL": f"{api.url}/api/v4",
            "CI_PROJECT_ID": "12",
            "CI_MERGE_REQUEST_IID": "3",
            "LOADGEN_GITLAB_TOKEN": "t",
        }
    )
    assert isinstance(place, Place)
    assert [publish(place, body_of(text, "gate")) for text in ("one", "two")] == ["created", "updated"]
    assert [(method, path) for method, path, _ in api.requests][-1] == (
        "PUT",
        "/api/v4/projects/12/merge_requests/3/notes/1",
    )
    assert list(api.comments.values()) == ["<!-- loadgen gate -->\ntwo"]


def test_the_comment_is_found_among_hundreds(api: CommentApi) -> None:
    api.comments = {number: f"comment {number} <!-- loadgen gate -->" for number in range(1, 205)}
    api.comments[150] = "<!-- loadgen gate -->\nold"
    place = Place(f"{api.url}/c", f"{api.url}/c", "PATCH", {})
    assert publish(place, body_of("new", "gate")) == "updated"
    assert api.comments[150].endswith("new")


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({}, "no job"),
        ({"GITHUB_ACTIONS": "true"}, "no pull request"),
        ({"GITLAB_CI": "true"}, "no merge request"),
        ({"GITLAB_CI": "true", "CI_MERGE_REQUEST_IID": "1"}, "LOADGEN_GITLAB_TOKEN is not set"),
    ],
)
def test_without_a_place_the_reason_is_given(environ: dict[str, str], why: str) -> None:
    assert why in str(place_in(environ))


def test_a_token_is_not_shown() -> None:
    place = place_in({"GITHUB_ACTIONS": "true", "GITHUB_TOKEN": "secret-1"}, 7)
    assert isinstance(place, Place)
    assert "secret-1" not in repr(place)


# -- errors at their lines --------------------------------------------------------------------------------


def test_texts_from_outside_cannot_begin_a_command(tmp_path: Path) -> None:
    line = annotation(str(tmp_path / "a,b:c.py"), 3, "x\n::add-mask::y 100% \x1b[2J", tmp_path)
    assert line == r"::error file=a%2Cb%3Ac.py,line=3,title=loadgen::x%0A\x3a:add-mask::y 100%25 \x1b[2J"


def test_each_fault_of_a_group_of_errors_has_its_line(tmp_path: Path) -> None:
    faults = [Fault(str(tmp_path / "s.py"), line, "wrong", "write that") for line in range(1, 15)]
    found = list(annotations_of(ExceptionGroup("all", [UsageError("x"), ScenarioError(faults)]), tmp_path))
    assert len(found) == 10
    assert found[1] == "::error file=s.py,line=2,title=loadgen::wrong%0Awrite that"


def test_the_line_of_an_objective_is_found_by_its_text() -> None:
    source = (
        'plan = Plan(\n  slos=[\n    p(95) < "300ms",\n    p(99, step="add to cart") < "800ms",\n    LIMIT,\n  ])\n'
    )
    given = ["p(95) < 300ms of order", 'p(99, step="add to cart") < 800ms', "error_ratio() < 1%"]
    assert lines_of_objectives(source, given) == dict(zip(given, (3, 4, 2), strict=True))
    assert lines_of_objectives(source + source, ["error_ratio() < 1%"]) == {}
    assert lines_of_objectives("def", given) == {}


@pytest.mark.parametrize(
    ("result", "validity", "expected"),
    [
        ("failed", "valid", ",line=12,title=loadgen::p(95) < 1us of look failed; loadgen failures r1 shows more"),
        ("failed", "suspect", ",line=12,title=loadgen::p(95) < 1us of look failed, but the run is suspect; loadgen"),
        ("invalid", "invalid", ",title=loadgen::INVALID (exit code 4): this machine is busy."),
    ],
)
def test_an_objective_of_an_invalid_run_is_no_error_at_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: str, validity: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    Path("shop.py").write_text(SCENARIO)
    slo = {
        "objective": "p(95) < 1us",
        "journey": "look",
        "verdict": "failed",
        "observed": 3.0,
        "unit": "ms",
        "count": 9,
    }
    reasons = [] if validity == "valid" else ["this machine is busy"]
    changed = {"run_id": "r1", "result": result, "exit_code": {"failed": 1, "invalid": 4}[result], "reasons": reasons}
    made = summary(slos=[slo], validity={"verdict": validity, "reasons": reasons}, **changed)
    folder = Path("runs/r1")
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "summary.json").write_text(json.dumps(made))

    done = CliRunner().invoke(app, ["ci", "annotate", "shop.py", str(folder)])
    printed = done.stdout.splitlines()

    assert len(printed) == 1, done.output
    assert printed[0].startswith(f"::error file=shop.py{expected}")
