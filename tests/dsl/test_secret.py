"""Secrets: found where they are given, never shown, never sent along."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import msgspec
import pytest

from loadgen.bundle import pack
from loadgen.dsl.loading.loader import load
from loadgen.dsl.secret import SECRETS_DIR, missing_secrets, secret, secret_values, variable_of
from loadgen.errors import ScenarioError
from tests.support.scenarios import browse_with

CANARY = "canary-5f1e"


def test_the_variable_of_a_secret() -> None:
    assert variable_of("api-token.v2") == "LOADGEN_SECRET_API_TOKEN_V2"


def test_a_secret_is_revealed_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADGEN_SECRET_FROM_ENV", CANARY)
    assert secret("from-env").reveal() == CANARY
    assert secret_values()["from-env"] == CANARY


def test_a_secret_is_revealed_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRETS_DIR, str(tmp_path))
    (tmp_path / "from-file").write_text(CANARY + "\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert secret("from-file").reveal() == CANARY
    assert [fault.message for fault in missing_secrets(["from-file", "empty", "binary", "../from-file"])] == [
        'secret "empty" is not set',
        'secret "binary" is not set',
        'secret "../from-file" is not set',
    ]


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("LOADGEN_SECRET_SHOWN", CANARY)
    token = secret("shown")
    token.reveal()
    logging.getLogger("test").warning("%s %r", token, token)
    for text in (str(token), repr(token), f"{token}", f"{token!r:>30}", f"{token}", str([token]), caplog.text):
        assert CANARY not in text
    for refuse in (json.dumps, msgspec.json.encode, msgspec.msgpack.encode, pickle.dumps, msgspec.to_builtins):
        with pytest.raises(TypeError):
            refuse(token)
    with pytest.raises(TypeError):
        "Bearer " + token  # type: ignore[operator]


def test_a_secret_that_was_not_given_says_how_to_give_it() -> None:
    with pytest.raises(ScenarioError) as raised:
        secret("not-given").reveal()
    (fault,) = raised.value.faults
    assert (fault.file, fault.message) == (__file__, 'secret "not-given" is not set')
    assert "LOADGEN_SECRET_NOT_GIVEN" in fault.hint
    assert "LOADGEN_SECRETS_DIR" in fault.hint


def with_secrets(folder: Path) -> Path:
    path = browse_with(folder)
    text = path.read_text().replace(
        'await user.http.get("/")', 'await user.http.get("/", headers={"A": secret("late").reveal()})'
    )
    path.write_text(text + '\nfrom loadgen.dsl.secret import secret\ntoken = secret("early")\n')
    return path


def test_the_loader_knows_the_secrets_of_a_scenario_and_asks_for_them_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_secrets(tmp_path)
    scenario = load(path)
    assert scenario.secrets == scenario.plan.spec().secrets == ("early", "late")
    with pytest.raises(ScenarioError) as raised:
        load(path, check_secrets=True)
    assert [(fault.line, fault.message) for fault in raised.value.faults] == [
        (7, 'secret "late" is not set'),
        (16, 'secret "early" is not set'),
    ]
    monkeypatch.setenv("LOADGEN_SECRET_EARLY", CANARY)
    monkeypatch.setenv("LOADGEN_SECRET_LATE", CANARY)
    ready = load(path, check_secrets=True)
    assert CANARY not in repr(ready)
    assert CANARY.encode() not in msgspec.json.encode(ready.plan.spec())
    assert CANARY.encode() not in pack(ready).data


def test_a_secret_with_an_impossible_name_is_a_fault(tmp_path: Path) -> None:
    path = browse_with(tmp_path)
    path.write_text(path.read_text() + '\nfrom loadgen.dsl.secret import secret\ntoken = secret("../etc")\n')
    with pytest.raises(ScenarioError, match="is not a valid name of a secret"):
        load(path)


@pytest.mark.parametrize("text", ['f"Bearer {token}"', "f'Bearer {secret(\"early\")}'"])
def test_a_secret_in_a_text_is_a_fault_since_it_would_be_sent_as_stars(tmp_path: Path, text: str) -> None:
    path = with_secrets(tmp_path)
    path.write_text(path.read_text() + f"HEADERS = {{'Authorization': {text}}}\n")
    with pytest.raises(
        ScenarioError, match=r"in a text gives \*\*\*\*, not the secret's value\n +write .*\.reveal\(\)\}"
    ):
        load(path)


def test_a_secret_that_is_revealed_while_loading_is_a_fault_and_stays_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOADGEN_SECRET_EARLY", CANARY)
    path = with_secrets(tmp_path)
    path.write_text(path.read_text() + 'assert token.reveal() == "****"\n')
    with pytest.raises(ScenarioError) as raised:
        load(path)
    (fault,) = raised.value.faults
    assert (fault.line, fault.hint) == (17, "call reveal() within a journey")
