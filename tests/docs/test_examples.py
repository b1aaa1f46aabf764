"""Every example of the language reference and the tutorials is run against the demo shop, and every word has one.

A block that has a plan is loaded as it stands, with the shop as its target; one
that has none gets one. Its journeys are run once, as `loadgen check` does it, and
must end ok unless the block says `# ends as: OUTCOME`. Lines that await stand in a
journey, as do those after `# in a journey`. Tests in a block are run, and what
`open_run` needs is a run of the shop made here.
"""

from __future__ import annotations

import ast
import gzip
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import certifi
import pytest
import trustme
import zstandard
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2

import loadgen
from loadgen import feed, replay
from loadgen.clients.http import HttpClient
from loadgen.clients.request.prepare import AllOptions
from loadgen.clients.response.replies import Reply
from loadgen.clients.response.streams import StreamedReply
from loadgen.dsl.data.feed import Feed
from loadgen.dsl.executors.standard import Arrivals, Users
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.loadgen_toml import Policy, read_environment, read_settings
from loadgen.dsl.plans.spec import Overrides
from loadgen.dsl.prompts.words import word_list
from loadgen.find_chromium import find_chromium
from loadgen.programme.openslo.write import as_openslo
from loadgen.programme.promises.new_promise import new_promise
from loadgen.programme.promises.objectives import Threshold
from loadgen.programme.promises.slo_set import SloSet
from loadgen.report.run_as_dataframes import Run
from loadgen.studies.files import as_json
from loadgen.studies.study import Study
from loadgen.sweep.journal import open_journal
from loadgen.sweep.plan import write_plan
from loadgen_controller.commands.new import SCENARIO as NEW
from loadgen_controller.planning import promise_reader  # noqa: F401  # lets examples read promises
from loadgen_controller.planning.rehearsal import rehearse
from tests.support.grpc_services import running_services
from tests.support.in_thread import in_thread
from tests.support.link_servers import running_links
from tests.support.llm_target import llm_in_thread
from tests.support.simulated_sweep import Law, plan_of, records_of, two_pools
from tests.support.target import RunningTarget, running_target
from tests.support.tokenizer_files import of_words
from tests.support.ws_servers import ws_server

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    *sorted((ROOT / "docs").glob("language*.md")),
    *(
        ROOT / "docs" / f"{name}.md"
        for name in ("network", "workload-models", "journeys-as-graphs", "notifications", "llm-data", "llm-objectives")
    ),
    *sorted((ROOT / "docs").glob("tutorial-*.md")),
    *sorted((ROOT / "docs/coming-from").glob("*.md")),
)
AZURE = ROOT / "tests/data/llm/AzureLLMInferenceTrace_conv.csv.gz"
IN_A_JOURNEY = "# in a journey\n"

PRELUDE = f"""
import asyncio, re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
import httpx, msgspec
from loadgen import {", ".join(loadgen.__all__)}

@dataclass
class Shopper:
    email: str
    password: str
    sku: str

@dataclass
class Order:
    sku: str

@journey
async def browse(user: User) -> None:
    async with user.step("list"):
        async with user.step("first page"):
            await user.http.get("/products/sku-0001", name="GET /products/{{sku}}", expect=200)

@journey
async def search(user: User) -> None:
    await user.http.get("/search", params={{"q": "red"}}, expect=200)
"""


@dataclass(frozen=True)
class Block:
    """One example: its page, the line of its first line, its language and text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def module(self) -> str:
        """Its text as a module: what awaits is put into a journey."""
        top, _, body = self.text.rpartition(IN_A_JOURNEY)
        if IN_A_JOURNEY not in self.text and not self._awaits:
            top, body = self.text, ""
        made = f"\n@journey\nasync def example(user: User) -> None:\n{textwrap.indent(body, '    ')}" if body else ""
        return top + made

    @property
    def _awaits(self) -> bool:
        try:
            compile(self.text, str(self), "exec", dont_inherit=True)
        except SyntaxError:
            return True
        return "user." in self.text and not re.search(r"^(async def|@journey)", self.text, re.MULTILINE)

    @property
    def asks_a_model(self) -> bool:
        return "Llm(" in self.text or "user.llm" in self.text

    @property
    def opens_pages(self) -> bool:
        return "user.browser" in self.text

    @property
    def calls_grpc(self) -> bool:
        return "user.grpc" in self.text

    @property
    def uses_links(self) -> bool:
        return re.search(r"user\.(tcp|udp|target)\(", self.text) is not None

    @property
    def opens_websocket(self) -> bool:
        return "user.ws(" in self.text

    @property
    def ends_as(self) -> str:
        said = re.search(r"^# ends as: (.*)$", self.text, re.MULTILINE)
        return said[1].strip() if said else "ok"


def blocks_of(page: Path) -> Iterator[Block]:
    for found in re.finditer(r"^```(\w+)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        yield Block(page, page.read_text()[: found.start(2)].count("\n") + 1, found[1], found[2])


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
EXAMPLES = [block for block in BLOCKS if block.language == "python"]
SETTINGS = [block for block in BLOCKS if block.language == "toml"]


@pytest.fixture(scope="module")
def shop() -> Iterator[RunningTarget]:
    with running_target() as target:
        yield target


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    with llm_in_thread(model=["qwen3-8b", "toy"]) as server:
        yield server.url


@pytest.fixture(scope="module")
def services() -> Iterator[str]:
    with running_services() as running:
        yield running.url


@pytest.fixture(scope="module")
def links() -> Iterator[dict[str, str]]:
    with running_links() as urls:
        yield urls


@pytest.fixture(scope="module")
def chat() -> Iterator[str]:
    made = ws_server(select_subprotocol=lambda _, offered: "chat.v2" if "chat.v2" in offered else None)
    with in_thread(made) as server:
        yield server.url


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the examples' files are, and their secret is given."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "shoppers.csv").write_text("email,password,sku\n" + "a@shop.example,p,sku-0001\n" * 3)
    (data / "orders.jsonl").write_text('{"sku": "sku-0001"}\n')
    (data / "shoppers.csv.gz").write_bytes(gzip.compress((data / "shoppers.csv").read_bytes()))
    (data / "orders.jsonl.zst").write_bytes(zstandard.compress((data / "orders.jsonl").read_bytes()))
    promise = new_promise(
        "browse-fast", service="shop", target=Decimal("0.5"), threshold=Threshold(Decimal(20), "s"), journey="browse"
    )
    (tmp_path / "slos").mkdir()
    (tmp_path / "slos/browse.yaml").write_text(as_openslo(SloSet.of([promise])))
    health = descriptor_pb2.FileDescriptorProto()
    health_pb2.DESCRIPTOR.CopyToProto(health)
    (tmp_path / "health.binpb").write_bytes(descriptor_pb2.FileDescriptorSet(file=[health]).SerializeToString())
    (data / "skus.csv").write_text("sku,hits\nsku-0001,70\nsku-0002,30\n")
    quantiles = [("name", *(f"q{n}" for n in range(41))), ("home", *(n / 1_000 for n in range(41)))]
    (data / "think.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in quantiles))
    (data / "traffic.csv").write_text("time,rate\n2026-01-01T00:00:00Z,5\n2026-01-01T00:01:00Z,7\n")
    (data / "trace.csv.gz").write_bytes(gzip.compress(b"TIMESTAMP\n0.0\n0.5\n0.75\n"))
    (data / "azure.csv.gz").write_bytes(AZURE.read_bytes())
    (data / "mooncake.jsonl").write_text(
        '{"timestamp": 0, "input_length": 600, "output_length": 9, "hash_ids": [1, 2]}\n'
        '{"timestamp": 90000, "input_length": 20, "output_length": 9, "hash_ids": [1]}\n'
    )
    (data / "sessions.jsonl").write_text(
        "".join(
            f'{{"timestamp": {n}, "input_length": 9, "output_length": 9, "hash_ids": [{n}], "session_id": {n % 8}}}\n'
            for n in range(16)
        )
    )
    (data / "sharegpt.json").write_text(
        '[{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}, null]'
    )
    (data / "batch.jsonl").write_text('{"custom_id": "a", "url": "/v1/embeddings", "body": {"model": "m"}}\n')
    of_words(tmp_path / "tokenizer.json", word_list())
    (data / "photo.jpg").write_bytes(bytes(2000))
    (data / "ca.pem").write_text(Path(certifi.where()).read_text())
    monkeypatch.setenv("LOADGEN_SECRET_API_TOKEN", "canary-of-the-examples")
    monkeypatch.setenv("LOADGEN_SECRET_PROXY_LOGIN", "me:canary-of-the-proxy")
    own = trustme.CA().issue_cert("worker@load.example")
    (data / "client.pem").write_bytes(own.cert_chain_pems[0].bytes())
    monkeypatch.setenv("LOADGEN_SECRET_CLIENT_KEY", own.private_key_pem.bytes().decode())
    monkeypatch.setattr("loadgen.dsl.secret._values", {})  # each example has a key of its own
    (tmp_path / "browse.py").write_text(NEW.format(title="Browse", name="browse"))
    (tmp_path / "sale.py").write_text(next(blocks_of(ROOT / "docs/tutorial-custom-executor.md")).text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def run_folder(shop: RunningTarget, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `last` is a run in which something failed, `capacity.json` a study, and `two-pools` a sweep."""
    place = tmp_path_factory.mktemp("looking-back")
    command = [sys.executable, "-m", "loadgen_controller.cli", "run", f"{shop.url}/no/such/page"]
    subprocess.run([*command, "--rate", "10/s", "--duration", "2s", "--quiet"], cwd=place, check=False, timeout=60)
    study = Study("capacity fit", "measured.csv", "peak at 97 users", "decided", facts={"peak_load": 96.5})
    (place / "capacity.json").write_bytes(as_json(study))
    sweep = place / "two-pools"
    sweep.mkdir()
    plan = plan_of()
    write_plan(sweep, plan)
    with open_journal(sweep) as journal:
        for record in records_of(plan, Law(two_pools)):
            journal.append(record)
    return place


def journeys_in(tree: ast.Module) -> list[str]:
    """The names of the functions that `@journey` decorates."""
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.AsyncFunctionDef)
        and any(ast.unparse(one).split("(")[0] == "journey" for one in node.decorator_list)
    ]


def overrides_for(tree: ast.Module, url: str, links: Mapping[str, str]) -> Overrides:
    """All targets that the plan names, aimed at the shop, or at the server of gRPC, TCP or UDP of their name."""
    named = [
        (key.value, ast.literal_eval(value).startswith("grpc"))
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "targets" and isinstance(node.value, ast.Dict)
        for key, value in zip(node.value.keys, node.value.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    ]
    if not named:
        return Overrides(target=url)
    of_grpc = url.replace("http://", "grpc://")
    return Overrides(targets={name: links.get(name, of_grpc if is_grpc else url) for name, is_grpc in named})


async def outcomes_of(block: Block, path: Path, url: str, links: Mapping[str, str]) -> dict[str, str]:
    """How each journey of the block ended; the plan's set-up and tear-down in brackets. What it said after a colon."""
    tree = ast.parse(block.module)
    text = PRELUDE
    for name in journeys_in(tree):  # a journey of the block takes the place of the prelude's
        text = text.replace(f"async def {name}(", f"async def {name}_of_the_prelude(")
    text += block.module
    if "Plan(" not in block.module:
        mix = ", ".join(f"{name}: 1" for name in journeys_in(tree) or ["browse"])
        llm = 'llm=Llm(model="qwen3-8b"), ' if block.asks_a_model else ""
        http2 = 'http=Http(http2="prior"), ' if block.calls_grpc else ""
        browsers = "browsers=1, " if block.opens_pages else ""
        targets = f"targets={links!r}, " if links else ""
        text += f'\nplan = Plan(target="{url}", {targets}{llm}{http2}{browsers}load=iterations(1), mix={{{mix}}})\n'
    path.write_text(text)
    scenario = load(path, overrides=overrides_for(tree, url, links))
    module = sys.modules["example"] = ModuleType("example")  # where dataclasses look their names up
    names = vars(module)
    exec(compile(text, str(path), "exec"), names)
    for node in tree.body:
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
            value = eval(compile(ast.Expression(node.value), str(path), "eval"), names)
            assert not getattr(value, "faults", ()), ast.unparse(node)
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_"):
            await names[node.name]()
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            names[node.name]()
    done = [one async for one in rehearse(scenario)]
    return {
        one.title: one.outcome + (f" ({one.detail})" if one.detail else "")
        for one in done
        if one.title != "(gRPC health)"
    }


@pytest.mark.parametrize("block", [b for b in EXAMPLES if "open_run(" not in b.text], ids=str)
async def test_example_runs(
    block: Block, shop: RunningTarget, model: str, services: str, chat: str, links: dict[str, str], folder: Path
) -> None:
    if block.opens_pages and not find_chromium():
        pytest.skip("this machine has no Chromium")
    url = model if block.asks_a_model else services if block.calls_grpc else chat if block.opens_websocket else shop.url
    outcomes = await outcomes_of(block, folder / "example.py", url, links if block.uses_links else {})

    assert outcomes
    assert all(said.split(" (")[0] == block.ends_as for said in outcomes.values()), outcomes


@pytest.mark.parametrize("block", [b for b in EXAMPLES if "open_run(" in b.text], ids=str)
def test_example_looks_back(block: Block, run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run_folder)

    names: dict[str, object] = {}
    exec(compile(PRELUDE + block.text, str(block), "exec"), names)

    assert any(isinstance(value, Run) and value.summary is not None for value in names.values())


@pytest.mark.parametrize("block", SETTINGS, ids=str)
def test_settings_are_read_and_keep_no_unknown_key(block: Block, tmp_path: Path) -> None:
    (tmp_path / "loadgen.toml").write_text(block.text)

    settings = read_settings(tmp_path / "loadgen.toml")

    for name in settings.environments:
        assert read_environment(tmp_path / "shop.py", name).name == name
    assert settings.environments or settings.policy or settings.notify or settings.traces


# -- every word has an example --------------------------------------------------------------------

TREES = [ast.parse(block.module) for block in EXAMPLES]
NODES = [node for tree in TREES for node in ast.walk(tree)]
NAMES = {node.id for node in NODES if isinstance(node, ast.Name)}
ATTRIBUTES = {node.attr for node in NODES if isinstance(node, ast.Attribute)}


def of(holder: str) -> set[str]:
    """The attributes that examples use of what is written as `holder`."""
    return {n.attr for n in NODES if isinstance(n, ast.Attribute) and ast.unparse(n.value) == holder}


def arguments_of(*functions: str) -> set[str]:
    """The keywords with which examples call any of these."""
    calls = (n for n in NODES if isinstance(n, ast.Call) and ast.unparse(n.func).rsplit(".", 1)[-1] in functions)
    return {keyword.arg or "" for call in calls for keyword in call.keywords}


def public(*kinds: type) -> set[str]:
    return {name for kind in kinds for name in dir(kind) if not name.startswith("_")}


def keywords(function: Any) -> set[str]:
    found = inspect.signature(function).parameters.values()
    return {one.name for one in found if one.kind is one.KEYWORD_ONLY}


OF_THE_ENGINE = {
    "HttpClient": "reset close preconnect post_streamed post_prepared meter pool"
    " prepare_upgrade traced learn_cookies timeouts",
    "Reply": "fill abandon body head outcome route series exchange opened limit_bytes"
    " span is_sampled opening_times remote sent_to raw_trailers",
    "StreamedReply": "ended broke cut took took_head skip source aclose close left joins_frames",
}
"""What the engine uses of what a journey holds: no words of the language."""
OF_A_LOAD = {
    *("faults", "files", "lower", "profile", "origin", "stages", "level", "errors", "slos", "marks"),
    *("shape", "seed", "pace_ns", "is_spread"),
}
"""What the engine asks of a load."""
AS_HTTPX = {
    *("charset_encoding", "extensions", "has_redirect_location", "is_closed", "is_informational"),
    *("is_stream_consumed", "read", "aread", "close", "aclose"),
    *("iter_bytes", "iter_text", "iter_lines", "aiter_raw", "aiter_text"),
}
"""Of httpx's response, for code that was written for it; the page names them as httpx's."""


def test_every_public_name_has_an_example() -> None:
    assert set(loadgen.__all__) <= NAMES


def test_every_word_of_a_user_has_an_example() -> None:
    words = public(loadgen.User, loadgen.UserWith)

    assert not words - of("user") - of("self.user")


def test_every_method_of_the_http_client_has_an_example() -> None:
    words = public(HttpClient) - set(OF_THE_ENGINE["HttpClient"].split())

    assert not words - of("user.http")


def test_every_word_of_a_reply_has_an_example_unless_it_is_only_httpxs() -> None:
    engine = {word for kind in ("Reply", "StreamedReply") for word in OF_THE_ENGINE[kind].split()}

    assert not public(Reply, StreamedReply) - engine - AS_HTTPX - ATTRIBUTES


def test_every_argument_has_an_example() -> None:
    methods = ("get", "post", "put", "patch", "delete", "head", "options", "request", "stream")
    plan = set(inspect.signature(loadgen.Plan).parameters)

    assert plan <= arguments_of("Plan")
    assert keywords(loadgen.Load) <= arguments_of("Load")
    assert keywords(loadgen.journey) <= arguments_of("journey")
    assert keywords(loadgen.graph) | keywords(loadgen.edge) | keywords(loadgen.node) <= arguments_of(
        "graph", "edge", "node"
    )
    assert keywords(loadgen.p) | keywords(loadgen.error_ratio) <= arguments_of("p", "error_ratio")
    assert keywords(loadgen.gql) <= arguments_of("gql")
    assert keywords(loadgen.User.poll) <= arguments_of("poll")
    assert keywords(Reply.expect) | {"status"} <= arguments_of("expect")
    assert set(AllOptions.__annotations__) | {"json", "name", "expect"} <= arguments_of(*methods)
    assert set(inspect.signature(loadgen.Trace).parameters) <= arguments_of("Trace")
    assert set(inspect.signature(loadgen.Http).parameters) <= arguments_of("Http")
    assert keywords(loadgen.counter) | keywords(loadgen.trend) <= arguments_of("counter", "gauge", "trend")
    assert keywords(feed.csv) | keywords(Feed.shuffle) | keywords(Feed.unique) <= arguments_of(
        "csv", "shuffle", "random", "unique"
    )


def test_every_way_to_say_a_load_and_its_data_has_an_example() -> None:
    assert public(Arrivals, Users) - OF_A_LOAD <= ATTRIBUTES
    assert keywords(Arrivals.sine) | keywords(Arrivals.day) <= arguments_of("sine", "day")
    assert keywords(Arrivals.gamma) | {"seed"} <= arguments_of("gamma") & arguments_of("gamma", "poisson")
    assert keywords(Users.pace) <= arguments_of("pace")
    assert keywords(loadgen.iterations) <= arguments_of("iterations")
    for shape in (loadgen.stress, loadgen.spike, loadgen.soak, loadgen.break_point):
        assert keywords(shape) <= arguments_of(shape.__name__)
    assert keywords(type(replay).__call__) <= arguments_of("replay")
    assert keywords(replay.timestamps) <= arguments_of("timestamps")
    assert keywords(feed.mooncake) | {"rows"} <= arguments_of("mooncake")
    assert keywords(feed.sharegpt) <= arguments_of("sharegpt")
    assert keywords(loadgen.shared_prefix) | {"tokens"} <= arguments_of("shared_prefix")
    assert {"unique", "cycle", "shuffle", "random", "scale", "csv", "jsonl", "rows"} <= ATTRIBUTES
    assert {"mooncake", "sharegpt", "openai_batch"} <= ATTRIBUTES
    assert {"add", "set", "reveal", "trial", "set_up", "tear_down", "failures", "windows", "histograms"} <= ATTRIBUTES


def test_every_key_of_the_settings_has_an_example() -> None:
    text = "\n".join(block.text for block in SETTINGS)

    assert all(re.search(rf"\b{key}\b\s*=", text) for key in Policy.__struct_fields__)
    assert all(re.search(rf"\b{key}\b\s*=", text) for key in ("target", "targets", "regions", "allow", "params"))


def test_pages_have_examples() -> None:
    assert len(EXAMPLES) > 50
