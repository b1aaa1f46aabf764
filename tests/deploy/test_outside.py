"""Tools of others find what they are for, in the way we call them; a tool that is missing is said and is no fault."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.deploy import outside

UNIT = "[Service]\nExecStart=/usr/bin/true\n%s\n"
Check = Callable[[dict[str, str]], Iterator[str]]


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"no {tool} here")


@pytest.mark.parametrize(
    ("check", "right", "wrong", "what"),
    [
        pytest.param(
            outside.shellcheck,
            {"a.sh": '#!/bin/bash\necho "$1"\n'},
            {"a.sh": "#!/bin/bash\necho $1\n"},
            "SC2086",
            marks=needs("shellcheck"),
            id="shellcheck",
        ),
        pytest.param(
            outside.cloud_init,
            {"a.yaml": "#cloud-config\nruncmd: [[ls]]\n"},
            {"a.yaml": "#cloud-config\nrun_cmd: [[ls]]\n"},
            "run_cmd",
            marks=[needs("cloud-init"), pytest.mark.slow],  # 2 s each
            id="cloud-init",
        ),
        pytest.param(
            outside.systemd,
            {"a.service": UNIT % "Restart=always"},
            {"a.service": UNIT % "Restart=sometimes"},
            "sometimes",
            marks=needs("systemd-analyze"),
            id="systemd",
        ),
    ],
)
def test_a_fault_is_found_and_what_is_right_is_not(
    check: Check, right: dict[str, str], wrong: dict[str, str], what: str
) -> None:
    assert list(check(right)) == []
    assert what in "\n".join(check(wrong))


def test_a_tool_that_is_missing_is_said_and_is_no_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(outside.Skipped, match="no shellcheck on the PATH"):
        list(outside.shellcheck({"a.sh": ""}))
    with pytest.raises(outside.Skipped, match="neither terraform nor tofu is on the PATH"):
        list(outside.terraform(tmp_path))


@pytest.mark.skipif(not (outside.TOOLS / "checkov" / ".installed").exists(), reason="make deploy-check installs it")
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_checkov_finds_a_disk_that_is_not_encrypted_and_a_skip_without_its_reason(tmp_path: Path) -> None:
    disk = 'resource "aws_ebs_volume" "x" {\n%s  availability_zone = "eu-west-1a"\n  size = 1\n  encrypted = false\n}\n'
    (tmp_path / "main.tf").write_text(disk % "  #checkov:skip=CKV_AWS_189\n")
    found = "\n".join(outside.checkov(tmp_path))
    assert "CKV_AWS_3]" in found
    assert "CKV_AWS_189 is skipped without a reason" in found


@pytest.mark.skipif(not (outside.TOOLS / "deploy" / ".installed").exists(), reason="make deploy-check installs it")
def test_python_hcl2_sees_what_is_no_hcl(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text('variable "x" {\n')
    with pytest.raises(SystemExit):
        outside.evaluated("hcl", tmp_path)


def test_the_command_ends_with_1_for_faults_and_says_them_all(tmp_path: Path) -> None:
    shutil.copytree("deploy", tmp_path / "deploy")
    shutil.copytree("tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    variables = tmp_path / "deploy/terraform/variables.tf"
    variables.write_text(variables.read_text() + 'variable "more" {\n  default = local.nothing\n}\n')
    skipped = [
        word
        for name in ("hcl", "facts", "scripts", "cloud-init", "checkov", "terraform")
        for word in ("--without", name)
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tools.deploy", *skipped], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1, json.dumps(done.stderr)
    for what in ("more has no type", "more has no description", "more is not used", "there is no local nothing"):
        assert what in done.stdout
    assert "checkov: skipped: --without checkov" in done.stdout
