"""AIPerf as a process: a load generator of other authors for AI models, installed by `make peers`."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from loadgen.dsl.prompts.words import word_list
from tests.support.tokenizer_files import of_words

__all__ = ["aiperf_profile"]

_PROGRAM = Path(__file__).parents[2] / ".tools" / "aiperf" / "bin" / "aiperf"
_OFFLINE = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DISABLE_TELEMETRY": "1"}
"""No hub. With HF_HUB_OFFLINE, AIPerf 0.13.0 takes the folder of a tokenizer for the name of a model."""


def aiperf_profile(folder: Path, url: str, *options: str) -> tuple[dict[str, Any], list[list[str]]]:
    """Run `aiperf profile` with streamed chats and a tokenizer of whole words, and return what it wrote: JSON and CSV.

    Skip the test if AIPerf is not installed.
    """
    if not _PROGRAM.is_file():
        pytest.skip("AIPerf is not installed: run `make peers`")
    tokenizer, out = folder / "tokenizer", folder / "aiperf"
    tokenizer.mkdir(parents=True)
    of_words(tokenizer / "tokenizer.json", word_list())
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(settings))
    command = [
        *(str(_PROGRAM), "profile", "--url", url, "--endpoint-type", "chat", "--streaming", "--use-server-token-count"),
        *("--tokenizer", str(tokenizer), "--output-artifact-dir", str(out), "--random-seed", "1"),
        *("--ui-type", "none", "--no-gpu-telemetry", "--no-server-metrics", *options),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | _OFFLINE
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4_000:]
    with (out / "profile_export_aiperf.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    return json.loads((out / "profile_export_aiperf.json").read_text()), rows
