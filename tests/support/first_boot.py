"""A fresh machine on loopback: what our user data do to it, with everything they touch its own.

    python -m tests.support.first_boot SCENARIO.json       prints what became of it, as JSON

Run by root in a network and a mount namespace of its own (`unshare --net --mount`). The machine's disk is this one's,
with an overlay on it that goes away: what is written there is not written here. In place of EC2 there is moto, and at
169.254.169.254 our own metadata service. The scripts and units come from the user data that the example renders.

Not as on a machine: `dnf` and `shutdown` only say that they were called; `sysctl` sets what a network namespace has and
nothing else; `aws` is boto3 with the commands that are used; `systemctl` starts what a unit says, as its user and
with its environment, but without its sandbox. nft, useradd, tar, pip and the agent are the real ones.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from loadgen.wire.curve_keys import read_key
from loadgen.wire.key_folder_changes import init_keys
from tests.support.aws import BUCKET, FLEET, REGION, client, made_fleet, role_of, running_aws
from tests.support.imds import Imds, running_imds
from tools.wheelhouse import lay_out

ROOT = Path(__file__).resolve().parents[2]
MOST_S = 100.0

AWS = """#!{python}
import os, sys
sys.path[:0] = {path!r}
import boto3, jmespath
words = sys.argv[1:]
def option(name): return words[words.index(name) + 1]
def client(name):
    region = os.environ.get("AWS_DEFAULT_REGION") or option("--region")
    return boto3.client(name, region_name=region, endpoint_url={url!r}, aws_access_key_id="testing",
                        aws_secret_access_key="testing")
if words[:2] == ["s3", "cp"]:
    where, to = words[-2:]
    bucket, key = (to if to.startswith("s3:") else where).removeprefix("s3://").split("/", 1)
    if to.startswith("s3:"): client("s3").upload_file(where, bucket, key)
    else: client("s3").download_file(bucket, key, to)
elif words[:2] == ["ssm", "get-parameter"]:
    print(client("ssm").get_parameter(Name=option("--name"), WithDecryption=True)["Parameter"]["Value"])
elif words[:2] == ["ec2", "describe-addresses"]:
    named = [dict(part.split("=", 1) for part in word.split(",")) for word in words if word.startswith("Name=")]
    filters = [{{"Name": one["Name"], "Values": [one["Values"]]}} for one in named]
    found = jmespath.search(option("--query"), client("ec2").describe_addresses(Filters=filters))
    print("\\t".join(found))
elif words[:2] == ["ec2", "associate-address"]:
    client("ec2").associate_address(InstanceId=option("--instance-id"), AllocationId=option("--allocation-id"),
                                    AllowReassociation="--no-allow-reassociation" not in words)
elif words[:2] == ["ec2", "create-tags"]:
    pairs = dict(pair.split("=", 1) for pair in option("--tags").split(","))
    client("ec2").create_tags(Resources=[option("--resources")], Tags=[pairs])
else:
    sys.exit("no such command: " + " ".join(words))
"""

SYSTEMCTL = """#!{python}
import os, pathlib, re, subprocess, sys
words = [word for word in sys.argv[1:] if not word.startswith("-")]
with open("/run/systemctl.log", "a") as calls: calls.write(" ".join(words) + "\\n")
verb, unit = words[0], words[1] if len(words) > 1 else ""
pid_file = pathlib.Path("/run", unit + ".pid")
def alive():
    try: os.kill(int(pid_file.read_text()), 0)
    except (OSError, ValueError): return False
    state = pathlib.Path("/proc", pid_file.read_text(), "stat").read_text().split(") ")[-1]
    return not state.startswith("Z")
if verb == "show": print(0)
if verb == "is-active": sys.exit(0 if alive() else 3)
if "--now" not in sys.argv or not unit.endswith(".service") or alive(): sys.exit(0)
text = pathlib.Path("/etc/systemd/system", unit).read_text()
lines = [line.split("=", 1) for line in text.splitlines() if "=" in line]
values = dict(lines)
environ = {{"PATH": os.environ["PATH"], **{extra!r}}}
environ.update(value.split("=", 1) for key, value in lines if key == "Environment")
if "EnvironmentFile" in values:
    pairs = (line.split("=", 1) for line in pathlib.Path(values["EnvironmentFile"]).read_text().splitlines())
    environ.update((name, value.strip("'")) for name, value in pairs)
def expanded(line):
    user, command = values.get("User"), []
    for word in line.split():
        if word[0] == "$" and word[1] != "{{": command += environ[word[1:]].split()
        else: command.append(re.sub(r"[$]{{(\\w+)}}", lambda found: environ[found[1]], word))
    return ["runuser", "-u", user, "--", *command] if user else command
if "ExecStartPre" in values: subprocess.run(expanded(values["ExecStartPre"]), env=environ, check=True)
command = expanded(values["ExecStart"])
if values.get("Type") == "oneshot": sys.exit(subprocess.run(command, env=environ).returncode)
log = open("/run/" + unit + ".log", "ab")
process = subprocess.Popen(command, env=environ, cwd=values.get("WorkingDirectory", "/"), start_new_session=True,
                           stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
pid_file.write_text(str(process.pid))
"""

SYSCTL = """#!{python}
import pathlib, sys
path = next(word.split("=", 1)[1] for word in sys.argv[1:] if word.startswith("--load="))
for line in pathlib.Path(path).read_text().splitlines():
    if line.strip() and not line.startswith("#"):
        name, value = (part.strip() for part in line.split("="))
        setting = pathlib.Path("/proc/sys", *name.split("."))
        if name.startswith("net.ipv4."): setting.write_text(value)
        elif not name.startswith("net.core."): setting.read_text()
"""

SAID = '#!/bin/sh\necho "$(basename "$0") $*" >> /run/said.log\n'


def wheel(folder: Path) -> Path:
    """loadgen's, which has nothing in it but the way to this checkout."""
    path = folder / "loadgen-0.1.0-py3-none-any.whl"
    files = {
        "checkout.pth": "\n".join(one for one in sys.path if one and Path(one).exists()) + "\n",
        "loadgen-0.1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: loadgen\nVersion: 0.1.0\n",
        "loadgen-0.1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "loadgen-0.1.0.dist-info/entry_points.txt": "[console_scripts]\nloadgen-agent = loadgen_agent.cli:main\n"
        "loadgen = loadgen_controller.cli:main\n",
    }
    record = "".join(f"{name},sha256={_digest(text)},{len(text.encode())}\n" for name, text in files.items())
    with zipfile.ZipFile(path, "w") as into:
        for name, text in {**files, "loadgen-0.1.0.dist-info/RECORD": record}.items():
            into.writestr(name, text)
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class Machine:
    """An overlay on this machine's disk."""

    def __init__(self, folder: Path) -> None:
        _do("mount", "-t", "tmpfs", "tmpfs", str(folder))
        for name in ("upper", "work", "disk"):
            (folder / name).mkdir()
        self.disk = folder / "disk"
        layers = f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work"
        _do("mount", "-t", "overlay", "overlay", "-o", layers, str(self.disk))
        for name in ("proc", "sys", "dev"):
            _do("mount", "--rbind", f"/{name}", str(self.disk / name))
        _do("mount", "-t", "tmpfs", "tmpfs", str(self.disk / "run"))
        (self.disk / "root").chmod(0o755)  # the interpreter may be below it

    def write(self, path: str, text: str, mode: int) -> None:
        file = self.disk / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def read(self, path: str) -> str:
        file = self.disk / path.lstrip("/")
        return file.read_text() if file.exists() else ""

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        command = ["chroot", str(self.disk), *words]
        try:
            return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=MOST_S, check=False)
        except subprocess.TimeoutExpired as late:
            said = b"".join(part for part in (late.stdout, late.stderr) if isinstance(part, bytes)).decode()
            return subprocess.CompletedProcess(command, 124, said, "")


def _do(*words: str) -> None:
    subprocess.run(words, check=True)


def stubs(machine: Machine, url: str) -> None:
    python = sys._base_executable  # type: ignore[attr-defined]  # of no venv
    known = {"python": python, "path": [one for one in sys.path if one], "url": url}
    machine.write("/usr/bin/aws", AWS.format(**known), 0o755)
    machine.write("/usr/local/bin/systemctl", SYSTEMCTL.format(extra={"AWS_ENDPOINT_URL": url}, **known), 0o755)
    machine.write("/usr/local/bin/sysctl", SYSCTL.format(**known), 0o755)
    machine.write("/usr/local/bin/python3.12", f'#!/bin/sh\nexec {python} "$@"\n', 0o755)
    for name in ("dnf", "shutdown"):
        machine.write(f"/usr/local/bin/{name}", SAID, 0o755)


class Cloud:
    """What is around the machines: AWS, the metadata service, and what Terraform has made."""

    def __init__(self, folder: Path, url: str, imds: Imds, keys: Path) -> None:
        self.folder, self.url, self.imds = folder, url, imds
        made_fleet(url, "127.0.0.1:5557", read_key(keys / "controller.pub"))
        secret = (keys / "controller.key").read_text()
        client(url, "ssm").put_parameter(
            Name=f"/loadgen/{FLEET}/controller/secret-key", Value=secret, Type="SecureString"
        )
        self.house = lay_out("", wheel(folder), [], folder / "house")
        allow = (ROOT / "deploy/terraform/examples/single/allow.toml").read_bytes()
        client(url, "s3").put_object(Bucket=BUCKET, Key="bootstrap/allow.toml", Body=allow)
        imds.meta |= {"local-ipv4": "10.0.0.10", "public-ipv4": "203.0.113.10"}

    def fill(self, harm: str) -> None:
        """Put the wheels into the bucket. harm: "list" or "wheel", which is then another one."""
        for path in self.house.iterdir():
            content = path.read_bytes()
            if (path.name, harm) == ("requirements.txt", "list"):
                content += b"# more\n"
            if (path.name, harm) == ("wheels.tar", "wheel"):
                content = content.replace(b"cli:main", b"cli:mane")
            key = f"wheelhouse/{self.house.name}/{path.name}"
            client(self.url, "s3").put_object(Bucket=BUCKET, Key=key, Body=content)

    def instance(self, role: str) -> str:
        tags = [{"Key": "loadgen:fleet", "Value": FLEET}, {"Key": "loadgen:role", "Value": role}]
        tagged = [{"ResourceType": "instance", "Tags": tags}]
        ec2 = client(self.url, "ec2")
        made = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, TagSpecifications=tagged)
        return str(made["Instances"][0]["InstanceId"])

    def addresses(self) -> None:
        """Two of the fleet, of which one is taken, and one of somebody else."""
        ec2 = client(self.url, "ec2")
        for fleet in (FLEET, FLEET, "other"):
            tags = [{"Key": "loadgen:fleet", "Value": fleet}, {"Key": "loadgen:role", "Value": "agent"}]
            tagged = [{"ResourceType": "elastic-ip", "Tags": tags}]
            ec2.allocate_address(Domain="vpc", TagSpecifications=tagged)
        first = ec2.describe_addresses(Filters=[{"Name": "tag:loadgen:fleet", "Values": [FLEET]}])["Addresses"][0]
        ec2.associate_address(InstanceId=self.instance("agent"), AllocationId=first["AllocationId"])

    def address_of(self, instance: str) -> list[str]:
        """Of whose fleets its fixed addresses are."""
        found = client(self.url, "ec2").describe_addresses()["Addresses"]
        mine = [one for one in found if one.get("InstanceId") == instance]
        return [tag["Value"] for one in mine for tag in one["Tags"] if tag["Key"] == "loadgen:fleet"]

    def tags(self, instance: str) -> dict[str, str]:
        ec2 = client(self.url, "ec2")
        found = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [instance]}])["Tags"]
        return {one["Key"]: one["Value"] for one in found}


class Booted:
    """A machine that cloud-init was done with."""

    def __init__(self, cloud: Cloud, role: str, user_data: str) -> None:
        self.cloud, self.unit, self.instance = cloud, f"loadgen-{role}.service", cloud.instance(role)
        folder = cloud.folder / role
        folder.mkdir()
        self.machine = Machine(folder)
        stubs(self.machine, cloud.url)
        cloud.imds.meta["instance-id"] = cloud.imds.instance_id = self.instance
        role_of(cloud.url, cloud.imds)
        config = json.loads(user_data.removeprefix("#cloud-config\n"))
        for file in config["write_files"]:
            text = file["content"]
            if file["path"].endswith("boot.env"):
                text = text.replace("loadgen-shop-111122223333", BUCKET).replace("0" * 64, cloud.house.name)
                text = text.replace("EGRESS_IPS='nat'", "EGRESS_IPS='eip'")
            self.machine.write(file["path"], text, int(file["permissions"], 8))
        self.command = config["runcmd"][0]
        begun = time.monotonic()
        self.first = self.machine.run(*self.command)
        self.took_s = time.monotonic() - begun

    @property
    def pid(self) -> str:
        return self.machine.read(f"/run/{self.unit}.pid")

    def told(self) -> dict[str, Any]:
        return {
            "status": self.first.returncode,
            "said": self.first.stdout + self.first.stderr,
            "took_s": self.took_s,
            "tag": self.cloud.tags(self.instance).get("loadgen:boot"),
            "addresses": self.cloud.address_of(self.instance),
            "called": self.machine.read("/run/said.log"),
            "log": self.machine.read(f"/run/{self.unit}.log"),
        }

    def end(self) -> None:
        if self.pid and Path("/proc", self.pid).exists():
            os.killpg(int(self.pid), 15)


def _registered(controller: Booted, agent: Booted) -> bool:
    """As the command line on the controller's machine sees it."""
    command = ["/opt/loadgen/venv/bin/loadgen", "agents", "--controller", "127.0.0.1:5558"]
    command += ["--ca", "/var/lib/loadgen/keys/api/server.crt", "--token-file", "/var/lib/loadgen/admin.token"]
    until = time.monotonic() + MOST_S
    while time.monotonic() < until:
        if agent.instance in controller.machine.run("runuser", "-u", "loadgen", "--", *command).stdout:
            return True
        time.sleep(0.5)
    return False


def _again(agent: Booted) -> dict[str, Any]:
    """A second time, and what the firewall lets through."""
    ends_at, pid = agent.machine.read("/etc/loadgen/ends-at"), agent.pid
    status = agent.machine.run(*agent.command).returncode
    url = "http://169.254.169.254/latest/meta-data/"
    curl = ["curl", "-sS", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", url]
    children = Path("/proc", pid, "task", pid, "children").read_text().split()
    uid = subprocess.run(["ps", "-o", "uid=", "-p", children[0]], capture_output=True, text=True).stdout.strip()
    return {
        "again": status,
        "same_end": ends_at != "" and ends_at == agent.machine.read("/etc/loadgen/ends-at"),
        "same_process": pid == agent.pid,
        "uid": uid,
        "uid_of_loadgen": agent.machine.run("id", "-u", "loadgen").stdout.strip(),
        "metadata": {
            user: agent.machine.run("runuser", "-u", user, "--", *curl).stdout for user in ("loadgen", "scenario")
        },
    }


def first_boot(folder: Path, user_data: dict[str, str], harm: str) -> dict[str, Any]:
    """Start a controller and an agent, and say what became of them; with harm only an agent."""
    _do("ip", "link", "set", "lo", "up")
    _do("ip", "address", "add", "169.254.169.254/32", "dev", "lo")
    init_keys(folder / "keys")
    booted: list[Booted] = []
    with running_aws() as url, running_imds("i-0", REGION, "169.254.169.254", 80) as imds:
        cloud = Cloud(folder, url, imds, folder / "keys")
        cloud.fill(harm)
        cloud.addresses()
        try:
            for role in ("agent",) if harm else ("controller", "agent"):
                booted.append(Booted(cloud, role, user_data[role]))
            told: dict[str, Any] = {one.unit: one.told() for one in booted}
            if not harm:
                told["registered"] = _registered(booted[0], booted[1])
                told |= _again(booted[1])
                told |= {f"{one.unit} later": one.told()["log"] for one in booted}
            return told
        finally:
            for one in booted:
                one.end()


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(first_boot(Path(asked["folder"]), asked["user_data"], asked["harm"])))
