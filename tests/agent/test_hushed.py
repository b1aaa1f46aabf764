"""What scenario code prints reaches the log without secrets."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from loadgen.redact import Redactor
from loadgen_agent.masked_output import MaskedOutput

CANARY = "s3cr3t-canary-4711"


def written(*pieces: str) -> str:
    out = io.StringIO()
    hushed = MaskedOutput(out, Redactor(lambda: [CANARY]).known)
    for piece in pieces:
        hushed.write(piece)
    hushed.close()
    return out.getvalue()


def test_a_line_without_secrets_is_written_as_it_is() -> None:
    assert written("a line\n", "half ", "a line") == "a line\nhalf a line"


@given(cut=st.integers(0, len(CANARY)), before=st.text("ab \n", max_size=5), after=st.text("ab \n", max_size=5))
def test_a_secret_that_is_written_in_two_pieces_is_found(cut: int, before: str, after: str) -> None:
    text = written(before + CANARY[:cut], CANARY[cut:] + after)
    assert CANARY not in text
    assert text.count("\n") == (before + after).count("\n")


def test_a_line_that_never_ends_is_not_held_for_ever() -> None:
    out = io.StringIO()
    hushed = MaskedOutput(out, lambda text: text)
    hushed.write("x" * 100_000)
    assert len(out.getvalue()) == 100_000
