"""The gRPC services that a set-up has reflected, in the run folder."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from loadgen.clients.grpc_schema.reflected import Reflected
from loadgen.clients.grpc_schema.schema import Schema
from loadgen.measure.run_folder.rundir import RunDir
from loadgen_controller.run.recovery import keep_descriptors
from tests.support.shop_service import CART, FILES, shop_set


def kept(folder: RunDir) -> dict[str, bytes]:
    place = folder.path / "descriptors"
    return {path.name: path.read_bytes() for path in place.iterdir()} if place.exists() else {}


def test_services_of_each_target_are_files_that_their_owner_can_read(tmp_path: Path) -> None:
    folder = RunDir.create(tmp_path, "20261129-120000-cart-0001")
    found = Reflected()
    found.keep("", CART, Schema(FILES))
    found.keep("stock", CART, Schema(FILES))
    keep_descriptors(folder, json.dumps(found.wrap({"a": 1})).encode())
    assert kept(folder) == {f"{CART}.binpb": shop_set(*FILES[::-1]), f"stock_{CART}.binpb": shop_set(*FILES[::-1])}
    assert stat.S_IMODE((folder.path / "descriptors").stat().st_mode) == 0o700
    folder.close()


def test_a_name_from_an_agent_leaves_no_folder_and_other_values_keep_nothing(tmp_path: Path) -> None:
    folder = RunDir.create(tmp_path, "20261129-120000-cart-0001")
    for value in (b"null", b"{", b"\xff", b'{"a": 1}', b'{"loadgen.grpc": [], "shared": 1}'):
        keep_descriptors(folder, value)
    assert kept(folder) == {}
    found = Reflected()
    found.keep("../../x", "/etc/passwd", Schema(FILES))
    found.keep("", "..", Schema(FILES))
    keep_descriptors(folder, json.dumps(found.wrap(None)).encode())
    assert sorted(kept(folder)) == [".binpb", "_.._x_etc_passwd.binpb"]
    folder.close()
