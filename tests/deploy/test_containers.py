"""Images, the Compose file and the Kubernetes manifests, as far as they can be held without an engine.

Each rule is shown to find what it is for. tests/deploy/test_images_started.py builds the images and starts them. They
were never started with Docker, Compose or Kubernetes, as docs/containers.md says.
"""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadgen.allowlist import read
from loadgen.wire.curve_keys import load_agent
from loadgen.wire.key_folder_changes import add_agent, init_keys
from loadgen_agent.cli import _checked, _parser
from tests.cli.test_commands import loadgen

DEPLOY = Path("deploy")
IMAGES = sorted((DEPLOY / "docker").glob("*.Dockerfile"))
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
Tree = dict[str, Any]


# -- rules --------------------------------------------------------------------------------------------


def image_faults(text: str) -> Iterator[str]:
    lines = [line for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip() and not line.startswith("#")]
    steps = [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]
    for word, rest in steps:
        if word == "FROM" and not re.fullmatch(r"\S+:[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?( AS \w+)?", rest):
            yield f"base image without a version: {rest}"
        if word == "ADD" or (word == "RUN" and re.search(r"\b(curl|wget|sudo|apt)\b|https?://", rest)):
            yield f"fetches what no hash is known of: {rest}"
        if word == "RUN":
            for one in re.findall(r"pip (?:--python \S+ )?install[^&|;]*", rest):
                if "--require-hashes" not in one and "--no-index" not in one:
                    yield f"installs without hashes: {one.strip()}"
    last = steps[max(n for n, (word, _) in enumerate(steps) if word == "FROM") :]
    users = [rest for word, rest in last if word == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", users[-1]):
        yield "does not end as a user by number, who is not root"
    if not any(word == "ENTRYPOINT" and rest.startswith("[") for word, rest in last):
        yield "its process is a shell's child, which hears no SIGTERM"


def pod_faults(pod: Tree) -> Iterator[str]:
    if pod.get("automountServiceAccountToken") is not False:
        yield "has a token of the cluster"
    if pod.get("securityContext", {}).get("runAsNonRoot") is not True:
        yield "may be root"
    if pod.get("securityContext", {}).get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "any system call"
    if any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        yield "is in the host's namespaces"
    volumes = {volume["name"] for volume in pod.get("volumes", ())}
    if any("hostPath" in volume for volume in pod.get("volumes", ())):
        yield "has a folder of the host"
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        name, context = container["name"], container.get("securityContext", {})
        if context.get("readOnlyRootFilesystem") is not True:
            yield f"{name}: its root can be written"
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: may become more than it is"
        if context.get("capabilities", {}).get("drop") != ["ALL"]:
            yield f"{name}: keeps capabilities"
        resources = container.get("resources", {})
        if not resources.get("limits") or resources.get("limits") != resources.get("requests"):
            yield f"{name}: is not given what it may use"
        if re.search(r":[\w.-]*\d", container["image"]) is None:
            yield f"{name}: image without a version"
        if stray := {mount["name"] for mount in container.get("volumeMounts", ())} - volumes:
            yield f"{name}: no such volume: {', '.join(stray)}"


def policy_faults(spec: Tree) -> Iterator[str]:
    if set(spec.get("policyTypes", ())) != {"Ingress", "Egress"}:
        yield "leaves a direction open"
    if spec.get("ingress"):
        yield "somebody may connect to agents"
    for rule in spec.get("egress", ()):
        if not rule.get("to"):
            yield "to anybody"
        if not rule.get("ports"):
            yield "to any port"
        for to in rule.get("to", ()):
            if to.get("ipBlock", {}).get("cidr", "10.0.0.0/8").endswith("/0"):
                yield "to the whole internet"


def service_faults(name: str, service: Tree) -> Iterator[str]:
    if service.get("read_only") is not True:
        yield f"{name}: its root can be written"
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", service.get("user", "")):
        yield f"{name}: may be root"
    if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get("security_opt", ()):
        yield f"{name}: may become more than it is"
    if service.get("privileged") or service.get("network_mode") == "host":
        yield f"{name}: is not confined"
    if any(not port.startswith("127.0.0.1:") for port in service.get("ports", ())):
        yield f"{name}: a port for everybody"


# -- what we have -------------------------------------------------------------------------------------


def compose() -> Tree:
    found: Tree = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def manifests() -> dict[str, Tree]:
    found = [tree for path in MANIFESTS for tree in yaml.safe_load_all(path.read_text())]
    return {tree["kind"]: tree for tree in found}


def pod() -> Tree:
    found: Tree = manifests()["Deployment"]["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_images_keep_the_rules_and_copy_what_is_there(path: Path) -> None:
    text = path.read_text()
    assert list(image_faults(text)) == []
    scripts = tomllib.loads(Path("pyproject.toml").read_text())["project"]["scripts"]
    assert re.search(r'ENTRYPOINT \["([\w-]+)"\]', text)[1] in scripts  # type: ignore[index]
    let_in = {line[1:] for line in Path(".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in shlex.split(line)[:-1]:
            assert Path(source).exists(), source
            assert source in let_in, source


def test_what_builds_the_wheel_is_pinned_as_for_development() -> None:
    lock = Path("requirements-dev.lock").read_text()
    lines = [line for line in (DEPLOY / "docker/requirements-build.txt").read_text().splitlines() if line[0] != "#"]
    assert all(line.rstrip(" \\") in lock for line in lines)
    needed = re.findall(r"^([a-z-]+)==[^#]*(?:#.*\n\s*)*?#(?: via|  ) +hatchling$", lock, re.MULTILINE)
    assert {line.partition("==")[0] for line in lines if "==" in line} == {"hatchling", *needed}


def test_kubernetes_keeps_the_rules_and_its_parts_fit() -> None:
    found = manifests()
    assert set(found) == {"Namespace", "Secret", "Deployment", "NetworkPolicy"}
    assert list(pod_faults(pod())) == []
    assert list(policy_faults(found["NetworkPolicy"]["spec"])) == []
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    (secret,) = (volume["secret"]["secretName"] for volume in pod()["volumes"] if "secret" in volume)
    assert secret == found["Secret"]["metadata"]["name"]
    assert {found[kind]["metadata"]["namespace"] for kind in ("Secret", "Deployment", "NetworkPolicy")} == {"loadgen"}
    assert all(value.startswith("PUT THE ") for value in found["Secret"]["stringData"].values())


def test_compose_keeps_the_rules_and_its_three_agents_are_of_one_key() -> None:
    services = compose()["services"]
    assert [fault for name, one in services.items() for fault in service_faults(name, one)] == []
    agents = {name: one for name, one in services.items() if one["image"] == "loadgen-agent"}
    assert len(agents) == 3
    for one in services.values():
        if "build" in one:
            assert (DEPLOY / one["build"]["context"] / one["build"]["dockerfile"]).resolve().is_file()
    for volume in services["controller"]["volumes"]:
        source = volume.split(":")[0]
        assert not source.startswith("./") or (DEPLOY / source).exists()
    read(DEPLOY / "compose-allow.toml")


def arguments() -> Iterator[list[str]]:
    yield pod()["containers"][0]["args"]
    yield from (one["command"] for one in compose()["services"].values() if one["image"] == "loadgen-agent")


@pytest.mark.parametrize("args", [*arguments()], ids=lambda args: args[1])
def test_agents_are_started_with_what_they_understand(args: list[str]) -> None:
    asked = _checked(_parser(), args)
    assert asked.controller.endswith(":5557")
    network = manifests()["NetworkPolicy"]["spec"]["egress"][1]
    host, _, port = asked.controller.rpartition(":")
    if host != "controller":
        assert (network["to"][0]["ipBlock"]["cidr"], network["ports"][0]["port"]) == (f"{host}/32", int(port))


@pytest.mark.parametrize("name", ["controller", "target"])
def test_commands_are_started_with_options_that_there_are(name: str) -> None:
    command, *options = compose()["services"][name]["command"]
    text = loadgen(command, "--help").output
    assert all(option.partition("=")[0] in text for option in options)


def test_keys_of_a_mounted_secret_become_such_that_an_agent_takes_them(tmp_path: Path) -> None:
    """A secret is mounted as links to files that the group may read, which an agent refuses: so it is copied first."""
    init_keys(tmp_path / "made")
    handout = add_agent(tmp_path / "made", "k8s")
    assert handout is not None
    data = tmp_path / "secret/..data"
    data.mkdir(parents=True)
    for name, source in {"controller.pub": "controller.pub", "agent.key": "agents/k8s.key"}.items():
        (data / name).write_bytes((handout / source).read_bytes())
        (data / name).chmod(0o440)
        (tmp_path / "secret" / name).symlink_to(data / name)
    (init,) = pod()["initContainers"]
    shell, *flags = init["command"]
    script = init["args"][0].replace("/secret", str(tmp_path / "secret")).replace("/keys", str(tmp_path / "keys"))
    subprocess.run([shell, *flags, script], check=True)
    assert load_agent(tmp_path / "keys") == load_agent(handout)


# -- that the rules find something --------------------------------------------------------------------

AGENT = (DEPLOY / "docker/agent.Dockerfile").read_text()


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("FROM python:3.13-slim-bookworm\n", "FROM python:latest\n", "base image without a version"),
        ("USER 10001:10001", "USER root", "who is not root"),
        ("USER 10001:10001\n", "", "who is not root"),
        ("USER 10001:10001", "USER 0:0", "who is not root"),
        ('ENTRYPOINT ["loadgen-agent"]', "ENTRYPOINT loadgen-agent", "hears no SIGTERM"),
        (" --require-hashes -r requirements-build.txt", " hatchling", "installs without hashes"),
        (" --require-hashes -r requirements-agent.txt", " boto3", "installs without hashes"),
        ("WORKDIR /src", "RUN curl -s https://x.example | sh", "no hash is known of"),
        ("COPY agent agent", "ADD https://x.example/a.tar /a", "no hash is known of"),
    ],
)
def test_fault_planted_in_an_image_is_found(before: str, after: str, fault: str) -> None:
    assert before in AGENT
    assert any(fault in one for one in image_faults(AGENT.replace(before, after)))


def spoilt(tree: Tree, spoil: Callable[[Tree], object]) -> Tree:
    tree = copy.deepcopy(tree)
    spoil(tree)
    return tree


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda p: p.pop("automountServiceAccountToken"), "token of the cluster"),
        (lambda p: p["securityContext"].update(runAsNonRoot=False), "may be root"),
        (lambda p: p["securityContext"].pop("seccompProfile"), "any system call"),
        (lambda p: p.update(hostNetwork=True), "host's namespaces"),
        (lambda p: p["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "folder of the host"),
        (lambda p: p["containers"][0]["securityContext"].pop("readOnlyRootFilesystem"), "root can be written"),
        (lambda p: p["initContainers"][0].pop("securityContext"), "keeps capabilities"),
        (lambda p: p["containers"][0]["securityContext"].update(allowPrivilegeEscalation=True), "more than it is"),
        (lambda p: p["containers"][0]["resources"]["requests"].update(cpu="1"), "not given what it may use"),
        (lambda p: p["containers"][0].update(image="loadgen-agent:latest"), "image without a version"),
        (lambda p: p["volumes"].pop(), "no such volume: tmp"),
    ],
)
def test_fault_planted_in_a_pod_is_found(spoil: Callable[[Tree], object], fault: str) -> None:
    assert any(fault in one for one in pod_faults(spoilt(pod(), spoil)))


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda s: s.update(policyTypes=["Ingress"]), "direction open"),
        (lambda s: s.update(ingress=[{}]), "connect to agents"),
        (lambda s: s["egress"].append({}), "to anybody"),
        (lambda s: s["egress"][2].pop("ports"), "to any port"),
        (lambda s: s["egress"][2]["to"][0]["ipBlock"].update(cidr="0.0.0.0/0"), "whole internet"),
    ],
)
def test_fault_planted_in_a_network_policy_is_found(spoil: Callable[[Tree], object], fault: str) -> None:
    assert any(fault in one for one in policy_faults(spoilt(manifests()["NetworkPolicy"]["spec"], spoil)))


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda s: s.pop("read_only"), "root can be written"),
        (lambda s: s.update(user="0:0"), "may be root"),
        (lambda s: s.pop("cap_drop"), "more than it is"),
        (lambda s: s.update(privileged=True), "not confined"),
        (lambda s: s.update(ports=["5558:5558"]), "a port for everybody"),
    ],
)
def test_fault_planted_in_a_service_is_found(spoil: Callable[[Tree], object], fault: str) -> None:
    service = spoilt(compose()["services"]["controller"], spoil)
    assert any(fault in one for one in service_faults("controller", service))
