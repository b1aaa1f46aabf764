"""How exactly the inference server sends, and what its hot functions cost."""

from __future__ import annotations

import os
import selectors
from pathlib import Path

import numpy as np
import pytest

from tests.support.llm_target import Wire, chat_body, running_llm, sends_of
from tests.support.quiet import in_a_quiet_moment, undisturbed

pytestmark = [pytest.mark.quiet, pytest.mark.process]

STREAMS, TOKENS = 100, 100


def lateness_us(log: Path, *options: str) -> np.ndarray:
    """Return for each token of 100 streams at 50 events/s how late its send began, in µs.

    A send is late from when it is due, or from the end of the send before it, which the kernel may hold up.
    """
    core = str(max(os.sched_getaffinity(0)))
    with (
        undisturbed(),
        running_llm("--ttft", "1s", "--output", str(TOKENS), "--log", str(log), "--core", core, *options) as url,
    ):
        selector = selectors.DefaultSelector()
        for _ in range(STREAMS):
            wire = Wire(url)
            wire.send("/v1/chat/completions", chat_body(), {"connection": "close"})
            selector.register(wire.sock, selectors.EVENT_READ, wire)
        while selector.get_map():
            for key, _ in selector.select(60):
                if not key.data.sock.recv(65_536):
                    selector.unregister(key.fileobj)
                    key.data.close()
    # The role and the end of a stream share their time with a token, so they cannot both be on time.
    sends = sorted(sends_of(log), key=lambda send: send["t_before_ns"])
    free_ns = [0, *(send["t_after_ns"] for send in sends)]
    is_token = [send["kinds"] == ["content"] and send["event"] > 2 for send in sends]
    assert all(send["t_before_ns"] >= send["due_ns"] for send in sends)
    return np.array(
        [
            (send["t_before_ns"] - max(send["due_ns"], free)) / 1e3
            for send, free, token in zip(sends, free_ns, is_token, strict=False)
            if token
        ]
    )


@in_a_quiet_moment
def test_100_independent_streams_are_sent_within_50_us_of_the_plan(tmp_path: Path) -> None:
    late_us = lateness_us(tmp_path / "log.jsonl", "--jitter", "20%")

    assert len(late_us) == STREAMS * (TOKENS - 1)
    assert late_us.min() >= 0
    assert np.percentile(late_us, 99) < 50
