"""What the folders promise: one importer for each heavy dependency, no packages that break others."""

from __future__ import annotations

import ast
import tokenize
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "loadgen": ROOT / "loadgen",
    "loadgen_controller": ROOT / "controller/loadgen_controller",
    "loadgen_agent": ROOT / "agent/loadgen_agent",
}

IMPORTERS = {
    "hdrh": {"loadgen/measure/histograms/histogram.py"},
    "google": {
        "loadgen/wire/codec.py",
        "loadgen/wire/delta_encoding.py",
        "loadgen/wire/message_kind.py",
        "loadgen/traces/convert/otlp_protobuf.py",
        "loadgen/clients/grpc_schema/",
        "loadgen/clients/grpc_client/",
    },
    "zmq": {"loadgen/wire/sockets.py"},
    "grpc": {
        "controller/loadgen_controller/api/server.py",
        "controller/loadgen_controller/api/client.py",
        "loadgen/clients/grpc_client/",
    },
    "httptools": {
        "loadgen/backends/collector/server.py",
        "loadgen/clients/protocol/http1.py",
        "loadgen/target/server.py",
    },
    "h2": set(),
    "hpack": {"loadgen/clients/protocol/http2_heads.py", "loadgen/clients/protocol/huffman.py"},
    "hyperframe": set(),
    "tokenizers": {"loadgen/clients/llm/tokenizer.py"},
    "playwright": {"loadgen/clients/browser/chromium.py"},
    "psycopg": {"loadgen/probes/postgres/connection.py", "loadgen/target/database/"},
    "psutil": {"loadgen/engine/health/process_health.py"},
    "httpx": {
        "loadgen/backends/fetch.py",
        "loadgen/clients/",
        "loadgen/probes/running/http_fetch.py",
        "loadgen/sinks/post.py",
    },
    "prometheus_client": {"loadgen/sinks/prometheus.py"},
    "cramjam": {"loadgen/sinks/remote_write.py"},
    "opentelemetry": {"loadgen/sinks/otlp.py", "loadgen/traces/convert/otlp_protobuf.py"},
    "aioquic": {"loadgen/clients/http3/quic_session.py"},
    "brotli": {"loadgen/clients/protocol/decoding.py"},
    "zstandard": {
        "loadgen/clients/protocol/decoding.py",
        "loadgen/dsl/data/unpack.py",
        "loadgen/measure/run_folder/crc_record_file.py",
        "loadgen/unpack.py",
        "loadgen/traffic/rows/packed_rows.py",
        "loadgen/wire/codec.py",
    },
    "pyarrow": {"loadgen/parquet.py"},
    "yaml": {"loadgen/yaml_file.py"},
    "scipy": {"loadgen/analysis/"},
    "statsmodels": {"loadgen/analysis/season.py"},
    "sqlglot": {"loadgen/probes/postgres/"},
    "boto3": {"loadgen/aws/account/boto_clients.py"},
    "botocore": {"loadgen/aws/account/boto_clients.py"},
    "starlette": {"controller/loadgen_controller/ui/app.py"},
    "uvicorn": {"controller/loadgen_controller/ui/server.py"},
    "typer": {"controller/loadgen_controller/"},
    "rich": {"controller/loadgen_controller/"},
    "uvloop": {
        "controller/loadgen_controller/launch/event_loop.py",
        "controller/loadgen_controller/planning/core_rate/probe.py",
        "controller/loadgen_controller/planning/core_rate/probe_server.py",
        "agent/loadgen_agent/cli.py",
        "agent/loadgen_agent/worker/worker.py",
        "loadgen/target/program.py",
    },
}
"""A path that ends in `/` is a folder. uvloop belongs to the programs' mains; the demo shop is a server of its own."""

NEVER = ("pickle", "cloudpickle", "marshal", "shelve", "dill")


@cache
def sources() -> list[Path]:
    return [path for folder in PACKAGES.values() for path in folder.rglob("*.py") if "/v1/" not in str(path)]


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def imported(path: Path) -> set[str]:
    """Top-level names of all modules that the file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
    return found


def importers(module: str) -> set[str]:
    """Paths of our modules that import it. A file without the word is not parsed: that takes most of the time."""
    return {str(path.relative_to(ROOT)) for path in sources() if module in text(path) and module in imported(path)}


def docstring(path: Path) -> str:
    """The module's docstring, or nothing. Only the beginning of the file is read: parsing all files takes seconds."""
    with path.open(encoding="utf-8") as file:
        tokens = (t for t in tokenize.generate_tokens(file.readline) if t.type not in (tokenize.COMMENT, tokenize.NL))
        first, following = next(tokens), next(tokens, None)
    is_alone = first.type == tokenize.STRING and following is not None and following.type == tokenize.NEWLINE
    return str(ast.literal_eval(first.string)).strip() if is_alone else ""


@pytest.mark.parametrize("dependency", IMPORTERS)
def test_each_heavy_dependency_is_imported_in_its_one_place(dependency: str) -> None:
    allowed = IMPORTERS[dependency]
    strangers = {
        p
        for p in importers(dependency)
        if p not in allowed and not any(a.endswith("/") and p.startswith(a) for a in allowed)
    }
    assert not strangers


def test_nothing_imports_what_runs_code_from_data() -> None:
    assert not {name: found for name in NEVER if (found := importers(name))}


@pytest.mark.parametrize("folder", ["controller", "agent", "proto"])
def test_component_folders_are_no_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_typing_marker_ships_with_each_package(package: str) -> None:
    assert (PACKAGES[package] / "py.typed").is_file()


def test_every_module_says_what_it_is_about() -> None:
    silent = [str(p.relative_to(ROOT)) for p in sources() if not docstring(p)]
    assert not silent
