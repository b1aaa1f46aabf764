"""The names of the hpack library that we override or read exist and behave as used.

If one of these tests fails after an update of hpack, change `http2_heads.py`, or keep the older hpack (pyproject.toml).
"""

import inspect

import pytest
from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.huffman import HuffmanEncoder
from hpack.table import HeaderTable


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (Decoder, "decode"),
        (HeaderTable, "add get_by_index STATIC_TABLE_LENGTH maxsize"),
        (HuffmanEncoder, "encode"),
    ],
)
def test_the_names_exist(owner: type, names: str) -> None:
    assert [name for name in names.split() if not hasattr(owner, name)] == []


def test_the_methods_take_the_arguments_that_we_pass() -> None:
    assert list(inspect.signature(Decoder.decode).parameters) == ["self", "data", "raw"]
    assert list(inspect.signature(Decoder.__init__).parameters) == ["self", "max_header_list_size"]


def test_a_table_of_headers_evicts_the_oldest_entries_and_lists_the_newest_first() -> None:
    table = HeaderTable()
    assert (table.maxsize, table.STATIC_TABLE_LENGTH, len(table.STATIC_TABLE)) == (4096, 61, 61)
    for value in (b"1", b"2", b"3"):
        table.add(b"a", value)
    assert list(table.dynamic_entries) == [(b"a", b"3"), (b"a", b"2"), (b"a", b"1")]
    table.maxsize = 2 * 34
    assert list(table.dynamic_entries) == [(b"a", b"3"), (b"a", b"2")]
    table.add(b"a", b"x" * 4096)
    assert not table.dynamic_entries


def test_every_error_of_a_block_has_one_base() -> None:
    assert issubclass(OversizedHeaderListError, HPACKError)
    for block in (b"\xff", b"\x40\x05ab", b"\x80", b"\x3f\xff\xff\xff\xff\x0f", b"\x88\x20"):
        with pytest.raises(HPACKError):
            Decoder().decode(block, raw=True)
