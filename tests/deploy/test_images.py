"""What the images contain: their locks, what they leave out, and that nothing is left out that the code uses."""

from __future__ import annotations

import ast
import re
import shutil
import struct
import sys
from functools import cache
from pathlib import Path

import pytest

from tools.images import build
from tools.images.__main__ import difference, main
from tools.images.buildah import missing_packages
from tools.images.slim import AWS_SERVICES, AWS_SIGN_IN, loaded_bytes, make

DOCKER = Path("deploy/docker")
ROOMS = ("loadgen", "controller/loadgen_controller", "agent/loadgen_agent")
PACKAGE_OF = {
    "OpenSSL": "pyopenssl",
    "google": "protobuf",
    "grpc": "grpcio",
    "hdrh": "hdrhistogram",
    "jsonpath": "python-jsonpath",
    "zmq": "pyzmq",
    "botocore": "boto3",
    "service_identity": "service-identity",
}
NOT_IN_IMAGES = {"httpx2", "playwright", "tokenizers"}
"""Extras: of client libraries, which the images do not have either, of browsers, which would make them three times as
large, and of a file that few scenarios have."""


@cache
def modules() -> dict[str, Path]:
    """The files of the three packages by module name."""
    found = {}
    for room in map(Path, ROOMS):
        for path in room.rglob("*.py"):
            name = ".".join(path.relative_to(room.parent).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@cache
def imports_of(name: str) -> list[str]:
    """Everything that a module imports, wherever in its text; the names in `from x import y` as x.y, too.

    What only type checkers import is left out, but for the names of `loadgen`, which are imported when they are used.
    """
    found = []
    tree = ast.parse(modules()[name].read_text())
    if name != "loadgen":
        tree = ast.Module([node for node in tree.body if not is_for_type_checkers(node)], [])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found += [str(node.module), *(f"{node.module}.{one.name}" for one in node.names)]
    return found


def reached_from(package: str) -> tuple[set[str], set[str]]:
    """Our modules that a package imports, directly or by others, and the packages of others that these import."""
    ours: set[str] = set()
    others: set[str] = set()
    to_read = [name for name in modules() if name == package or name.startswith(f"{package}.")]
    while to_read:
        name = to_read.pop()
        if name in ours:
            continue
        ours.add(name)
        to_read += [name.rpartition(".")[0]] if "." in name else []
        for one in imports_of(name):
            top = one.partition(".")[0]
            if one in modules():
                to_read.append(one)
            elif top not in sys.stdlib_module_names and top not in modules():
                others.add(top)
    return ours, others


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE))


def test_an_agent_gets_exactly_the_packages_that_it_imports() -> None:
    lines = (DOCKER / "agent-packages.txt").read_text().splitlines()
    _, imported = reached_from("loadgen_agent")
    assert {PACKAGE_OF.get(name, name) for name in imported - NOT_IN_IMAGES} == {one for one in lines if one[0] != "#"}


def test_an_agent_imports_nothing_of_the_controller_which_its_image_does_not_have() -> None:
    ours, _ = reached_from("loadgen_agent")
    assert not {name for name in ours if name.startswith("loadgen_controller")}
    assert "site-packages/loadgen_controller" in (DOCKER / "agent.Dockerfile").read_text()


@pytest.mark.parametrize("image", build.IMAGES)
def test_images_have_the_versions_of_the_other_locks(image: str) -> None:
    ours = pins(DOCKER / f"requirements-{image}.txt")
    assert ours.items() <= pins(Path("requirements.lock")).items()
    assert not {"setuptools", "pbr", "pip"} & ours.keys()


def test_a_controller_gets_the_packages_of_a_machine() -> None:
    machine = pins(Path("deploy/requirements-machine.txt"))
    left_out = machine.keys() - pins(DOCKER / "requirements-controller.txt").keys()
    assert left_out == {"setuptools", "pbr"}


def test_an_agent_gets_no_package_that_only_controllers_use() -> None:
    assert not {"pygments", "rich", "typer", "uvicorn"} & pins(DOCKER / "requirements-agent.txt").keys()


def test_the_kept_aws_services_are_those_that_the_code_calls() -> None:
    called = {
        str(node.args[0].value)
        for text in map(Path.read_text, modules().values())
        if ".client(" in text  # to parse the others would take a second
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "client"
        if node.args and isinstance(node.args[0], ast.Constant)
    }
    assert called - {"httpx", "httpx2"} == set(AWS_SERVICES), "httpx is a library whose clients a user can have"


# -- slim.py ------------------------------------------------------------------------------------------


def library(loaded: bytes, behind: bytes) -> bytes:
    """An ELF file of one segment, with bytes behind it and a table of two section headers."""
    ident = b"\x7fELF\x02\x01".ljust(16, b"\0")
    end = 64 + 56 + len(loaded)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, end, 0, 64, 56, 1, 64, 2, 1)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 120, 0, 0, len(loaded), len(loaded), 4096)
    return header + segment + loaded + behind


def test_a_library_keeps_what_is_loaded_and_loses_what_is_behind() -> None:
    found = loaded_bytes(library(b"code", b"symbols"))
    assert found[120:] == b"code"
    assert struct.unpack_from("<Q", found, 40) == (0,)
    assert struct.unpack_from("<HH", found, 60) == (0, 0)
    assert loaded_bytes(found) == found


def test_a_file_that_is_no_library_stays_as_it_is() -> None:
    assert loaded_bytes(b"/* GNU ld script */ INPUT(-lm)") == b"/* GNU ld script */ INPUT(-lm)"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    packages = tmp_path / "lib/python3.13/site-packages"
    for service in {*AWS_SERVICES, *AWS_SIGN_IN, "glacier"}:
        (packages / "botocore/data" / service / "2020-01-01").mkdir(parents=True)
    for file in (
        "boto3/data/s3/resources.json",
        "botocore/data/endpoints.json",
        "numpy/lib/libnpymath.a",
        "numpy/lib/tests/test_lib.py",
        "numpy/lib/index.pyi",
        "zstandard/_cffi.cpython-313.so",
        "zstandard/backend_c.cpython-313.so",
    ):
        (packages / file).parent.mkdir(parents=True, exist_ok=True)
        (packages / file).touch()
    (packages / "ours.py").write_text("answer = 42\n")
    return tmp_path


def test_an_environment_keeps_what_runs(environment: Path) -> None:
    make(environment)
    packages = environment / "lib/python3.13/site-packages"
    assert {path.name for path in (packages / "botocore/data").iterdir()} == {
        *AWS_SERVICES,
        *AWS_SIGN_IN,
        "endpoints.json",
    }
    assert sorted(path.name for path in packages.rglob("*") if path.is_file() and path.suffix != ".pyc") == [
        "backend_c.cpython-313.so",
        "endpoints.json",
        "ours.py",
    ]


def test_bytecode_of_an_environment_does_not_depend_on_the_time_of_its_source(environment: Path) -> None:
    make(environment)
    (compiled,) = environment.rglob("ours.*.pyc")
    assert compiled.read_bytes()[4:8] == b"\x01\0\0\0", "its source is named by hash, and not checked: see PEP 552"


def test_a_service_that_botocore_does_not_have_ends_the_build(environment: Path) -> None:
    shutil.rmtree(environment / "lib/python3.13/site-packages/botocore/data/xray")
    with pytest.raises(SystemExit, match=r"has no xray\. Change AWS_SERVICES"):
        make(environment)


# -- the command --------------------------------------------------------------------------------------


def image(name: str, digest: str) -> build.Image:
    return build.Image(name, f"loadgen-{name}.oci.tar", 80.0, 210.0, digest, "amd64", [name])


def test_two_builds_differ_in_the_image_whose_digest_differs() -> None:
    first = [image("agent", "sha256:1"), image("controller", "sha256:2")]
    assert difference(first, first) == []
    assert difference(first, [first[0], image("controller", "sha256:3")]) == ["controller: sha256:2, then sha256:3"]


def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None if name in ("buildah", "netavark") else name)
    assert missing_packages() == ["buildah", "netavark"]
    monkeypatch.setattr(sys, "argv", ["images"])
    with pytest.raises(SystemExit, match=r"packages buildah, netavark first: apt-get install buildah netavark$"):
        main()


def test_images_are_built_again_after_a_change_of_their_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build.built_from_this_tree(tmp_path) is None, "there are none"
    made = [image("agent", "sha256:1"), image("controller", "sha256:2")]
    build.write_list(tmp_path, made, build.sources())
    assert build.built_from_this_tree(tmp_path) is None, "their archives are gone"
    for one in made:
        (tmp_path / one.archive).touch()
    assert build.built_from_this_tree(tmp_path) == made
    monkeypatch.setattr(build, "sources", lambda: "another")
    assert build.built_from_this_tree(tmp_path) is None
