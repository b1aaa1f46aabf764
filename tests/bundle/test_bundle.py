"""Bundles: the same bytes each time, nothing secret in them, and nothing believed when one is unpacked."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen import bundle
from loadgen.bundle import pack, pack_files, unpack, verify
from loadgen.dsl.loading.loader import load
from loadgen.errors import BundleError
from tests.support.examples import examples
from tests.support.scenarios import browse_with, write

SCENARIOS = Path(__file__).parent.parent.parent / "scenarios"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def folder_with(folder: Path, *names: str) -> tuple[Path, list[Path]]:
    """A scenario file and others of these names beside it."""
    return write(folder, "x = 1\n"), [write(folder, f"content of {name}", name) for name in names]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# -- packing ------------------------------------------------------------------------------------------


def test_a_scenario_with_its_data_comes_out_as_it_went_in(tmp_path: Path) -> None:
    scenario = load(SCENARIOS / "checkout.py")
    packed = pack(scenario)
    assert (packed.scenario, packed.files) == ("checkout.py", ("checkout.py", "data/shoppers.csv"))
    unpack(packed.data, packed.sha256, tmp_path / "there")
    again = load(tmp_path / "there" / packed.scenario)
    assert again.plan.spec() == scenario.plan.spec()
    assert pack(again) == packed  # whoever packs it


def test_bytes_do_not_depend_on_time_mode_owner_or_order(tmp_path: Path) -> None:
    scenario, files = folder_with(tmp_path / "a", "b.py", "data/c.csv")
    first = pack_files(scenario, files)
    os.utime(files[0], (1, 1))
    files[1].chmod(0o600)
    assert pack_files(scenario, files[::-1]) == first
    elsewhere, same = folder_with(tmp_path / "other", "b.py", "data/c.csv")
    assert pack_files(elsewhere, same) == first
    assert first.sha256 == sha256(first.data)
    with tarfile.open(fileobj=BytesIO(first.data)) as tar:
        entries = [(e.name, e.mtime, e.uid, e.gid, e.uname, e.mode) for e in tar]
    assert entries == [(name, 0, 0, 0, "", 0o644) for name in ("b.py", "data/c.csv", "scenario.py")]


def test_other_content_has_another_hash(tmp_path: Path) -> None:
    scenario, files = folder_with(tmp_path, "b.py")
    first = pack_files(scenario, files)
    files[0].write_text("changed")
    assert pack_files(scenario, files).sha256 != first.sha256


@pytest.mark.parametrize(
    "name",
    [".env", ".env.local", "prod.env", "key.pem", "KEY.PEM", "tls/server.key", ".aws/config", "a/.ssh/known_hosts",
     "id_rsa", "credentials.json", ".netrc", ".git/config"],
)  # fmt: skip
def test_files_that_hold_secrets_by_their_names_do_not_travel(tmp_path: Path, name: str) -> None:
    scenario, files = folder_with(tmp_path, name)
    with pytest.raises(BundleError, match="may contain secrets"):
        pack_files(scenario, files)


def test_a_ca_that_the_plan_names_travels_unless_a_key_is_in_it(tmp_path: Path) -> None:
    write(tmp_path, "-----BEGIN CERTIFICATE-----\n", "ca.pem")
    path = browse_with(tmp_path, ca='"ca.pem"')
    assert pack(load(path)).files == ("ca.pem", "scenario.py")
    write(tmp_path, "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n", "ca.pem")
    with pytest.raises(BundleError, match="private key"):
        pack(load(path))


def test_symbolic_links_do_not_travel(tmp_path: Path) -> None:
    scenario, _ = folder_with(tmp_path / "a")
    (tmp_path / "a" / "link.csv").symlink_to("/etc/hostname")
    with pytest.raises(BundleError, match=r"link\.csv is a symbolic link"):
        pack_files(scenario, [tmp_path / "a" / "link.csv"])
    write(tmp_path, "x", "real/data.csv")
    (tmp_path / "a" / "data").symlink_to(tmp_path / "real")
    with pytest.raises(BundleError, match="data is a symbolic link"):
        pack_files(scenario, [tmp_path / "a" / "data" / "data.csv"])


def test_files_outside_of_the_folder_do_not_travel(tmp_path: Path) -> None:
    scenario, _ = folder_with(tmp_path / "a")
    write(tmp_path, "x", "b.csv")
    for path in (tmp_path / "b.csv", tmp_path / "a" / ".." / "b.csv"):
        with pytest.raises(BundleError, match="not in the scenario's folder"):
            pack_files(scenario, [path])


def test_a_pipe_does_not_travel(tmp_path: Path) -> None:
    scenario, _ = folder_with(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BundleError, match="not a regular file"):
        pack_files(scenario, [tmp_path / "pipe"])


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    scenario, _ = folder_with(tmp_path)
    with pytest.raises(BundleError, match=r"gone\.csv cannot be read: No such file"):
        pack_files(scenario, [tmp_path / "gone.csv"])


def test_a_bundle_over_the_limit_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario, files = folder_with(tmp_path, "b.csv", "c.csv")
    monkeypatch.setattr(bundle, "MAX_FILES", 2)
    with pytest.raises(BundleError, match="3 files; the limit is 2"):
        pack_files(scenario, files)
    monkeypatch.setattr(bundle, "MAX_FILES", 3)
    monkeypatch.setattr(bundle, "MAX_BYTES", 20)
    with pytest.raises(BundleError, match="the limit is 20"):
        pack_files(scenario, files)


def test_a_file_over_the_limit_is_not_even_read(tmp_path: Path) -> None:
    scenario, _ = folder_with(tmp_path)
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(bundle.MAX_BYTES + 1)  # a hole, no bytes on disk
    with pytest.raises(BundleError, match="the limit is 268,435,456"):
        pack_files(scenario, [tmp_path / "huge.csv"])


# -- unpacking -------------------------------------------------------------------------------------------


def archive(*entries: tuple[tarfile.TarInfo, bytes] | tuple[str, bytes]) -> bytes:
    """A tar with these entries, as an attacker would make it."""
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for what, content in entries:
            info = what if isinstance(what, tarfile.TarInfo) else tarfile.TarInfo(what)
            if not isinstance(what, tarfile.TarInfo):
                info.size = len(content)
            tar.addfile(info, BytesIO(content))
    return out.getvalue()


def special(kind: bytes, name: str = "x", target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (archive(("../evil", b"x")), "not a plain relative path"),
        (archive(("a/../../evil", b"x")), "not a plain relative path"),
        (archive(("/etc/evil", b"x")), "not a plain relative path"),
        (archive(("//etc/evil", b"x")), "not a plain relative path"),
        (archive(("./a", b"x")), "not a plain relative path"),
        (archive(("a//b", b"x")), "not a plain relative path"),
        (archive((".", b"x")), "not a plain relative path"),
        (archive(("a\nb", b"x")), "not a plain relative path"),
        (archive(("n" * 2000, b"x")), "not a plain relative path"),
        (archive(special(tarfile.SYMTYPE, target="/etc/passwd")), "is a link"),
        (archive(special(tarfile.LNKTYPE, target="/etc/passwd")), "is a link"),
        (archive(special(tarfile.CHRTYPE)), "not a regular file"),
        (archive(special(tarfile.BLKTYPE)), "not a regular file"),
        (archive(special(tarfile.FIFOTYPE)), "not a regular file"),
        (archive(special(tarfile.DIRTYPE)), "a folder"),
        (archive(special(tarfile.GNUTYPE_SPARSE)), "no"),
        (archive(("a", b"1"), ("a", b"2")), "a is in it twice"),
        (archive(("a", b"1"), ("a/b", b"2")), "cannot be written"),
        (b"this is no archive at all" * 100, "not an archive of loadgen"),
        (b"", "not an archive of loadgen"),
    ],
)
def test_an_unsafe_archive_leaves_nothing_behind(tmp_path: Path, data: bytes, message: str) -> None:
    inside = tmp_path / "inside"
    with pytest.raises(BundleError, match=message):
        unpack(data, sha256(data), inside / "into")
    assert contents(tmp_path) == {}
    assert list(inside.iterdir()) == []


@pytest.mark.fault("F27", "a link that leads out")
def test_a_link_does_not_lead_a_later_file_out(tmp_path: Path) -> None:
    data = archive(special(tarfile.SYMTYPE, "out", str(tmp_path)), ("out/evil", b"x"))
    with pytest.raises(BundleError, match="is a link"):
        unpack(data, sha256(data), tmp_path / "into")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("size", [10_000_000, bundle.MAX_BYTES + 1, 1 << 40])
def test_a_size_that_lies_is_not_believed(tmp_path: Path, size: int) -> None:
    info = tarfile.TarInfo("bomb")
    info.size = size
    data = info.tobuf(tarfile.GNU_FORMAT) + b"x" * 1024
    with pytest.raises(BundleError, match="claims to have"):
        unpack(data, sha256(data), tmp_path / "into")


def test_a_size_that_lies_a_little_is_cut_short(tmp_path: Path) -> None:
    info = tarfile.TarInfo("short")
    info.size = 1024
    data = info.tobuf(tarfile.GNU_FORMAT) + b"x" * 600
    with pytest.raises(BundleError, match=r"truncated|not an archive of loadgen"):
        unpack(data, sha256(data), tmp_path / "into")


@pytest.mark.parametrize("compress", ["gz", "bz2", "xz"])
def test_a_compressed_archive_is_not_opened(tmp_path: Path, compress: str) -> None:
    out = BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compress}") as tar:  # type: ignore[call-overload]
        tar.addfile(tarfile.TarInfo("a"))
    with pytest.raises(BundleError, match="not an archive of loadgen"):
        unpack(out.getvalue(), sha256(out.getvalue()), tmp_path / "into")


@pytest.mark.fault("F27", "a bomb")
def test_too_many_files_and_too_many_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = archive(*((f"f{i}", b"") for i in range(11)))
    monkeypatch.setattr(bundle, "MAX_FILES", 10)
    with pytest.raises(BundleError, match="more than 10 files"):
        unpack(data, sha256(data), tmp_path / "into")
    monkeypatch.setattr(bundle, "MAX_BYTES", 100)
    with pytest.raises(BundleError, match="the limit is 100"):
        verify(data, sha256(data))


@pytest.mark.fault("F27", "tampered with")
def test_an_archive_with_another_hash_is_refused(tmp_path: Path) -> None:
    data = archive(("a", b"x"))
    with pytest.raises(BundleError, match="sha256"):
        unpack(data, sha256(data + b"x"), tmp_path / "into")
    assert contents(tmp_path) == {}


def test_unpacking_again_replaces_what_was_there(tmp_path: Path) -> None:
    for name in ("a", "b"):
        data = archive((name, b"x"))
        assert unpack(data, sha256(data), tmp_path / "into") == (tmp_path / "into" / name,)
    assert contents(tmp_path) == {"into/b": b"x"}


def test_unpacked_files_are_plain_whatever_their_mode_was(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.mode, info.size = 0o6777, 1
    data = archive((info, b"x"))
    (path,) = unpack(data, sha256(data), tmp_path / "into")
    assert not path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IXUSR)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    data = archive(("a", b"x"))
    with pytest.raises(BundleError, match="cannot be written"):
        unpack(data, sha256(data), tmp_path / "file" / "into")


parts = st.text("ab.é -_", min_size=1, max_size=8).filter(lambda t: t not in (".", ".."))
names = st.lists(parts, min_size=1, max_size=3).map("/".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60))
@given(st.dictionaries(names, st.binary(max_size=2000), max_size=6))
def test_what_is_packed_is_what_is_unpacked(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("packed")
    wanted = {"s.py": b"x = 1\n"}
    (folder / "s.py").write_bytes(wanted["s.py"])
    for name, content in files.items():
        try:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
            wanted[name] = content
        except OSError:
            continue  # a file where another has a folder
    try:
        packed = pack_files(folder / "s.py", [folder / name for name in wanted])
    except BundleError as error:
        assert "secrets" in str(error)  # noqa: PT017  # rare, and fine
        return
    unpack(packed.data, packed.sha256, folder.with_name(folder.name + "-there"))
    assert contents(folder.with_name(folder.name + "-there")) == wanted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(200))
@given(st.data())
def test_a_damaged_archive_never_does_anything_but_raise_or_unpack_inside(
    tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject
) -> None:
    good = bytearray(archive(("a.py", b"x = 1"), ("data/b.csv", b"c" * 700)))
    for _ in range(draw.draw(st.integers(1, 4))):
        good[draw.draw(st.integers(0, 3000))] = draw.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged")
    damaged = bytes(good)
    try:
        paths = unpack(damaged, sha256(damaged), folder / "into")
    except BundleError:
        assert list(folder.iterdir()) == []
    else:
        assert all(path.is_relative_to(folder / "into") and path.is_file() for path in paths)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("-----BEGIN RSA PRIVATE KEY-----\n" + "A" * 64, "a private key"),
        ("-----BEGIN PRIVATE KEY-----\n" + "b" * 64, "a private key"),
        ("key = 'AKIA" + "Q" * 16 + "'", "an AWS access key"),
        ("TOKEN = 'ghp_" + "x" * 36 + "'", "a token of a code host"),
        ("TOKEN = 'xoxb-" + "1" * 24 + "'", "a token of a chat"),
    ],
)
def test_what_looks_like_a_secret_does_not_travel_whatever_its_file_is_called(
    tmp_path: Path, text: str, what: str
) -> None:
    scenario = tmp_path / "s.py"
    scenario.write_text(f"# a scenario\n{text}\n")

    with pytest.raises(BundleError, match=f"s.py contains {what}") as raised:
        pack_files(scenario, [scenario])
    assert text not in str(raised.value)
    scenario.write_text("# begins with AKIA, ends with -----BEGIN PRIVATE KEY----- and holds no key\n")
    assert pack_files(scenario, [scenario]).files == ("s.py",)
