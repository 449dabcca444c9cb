"""Tar shards: what is written is read, and nothing else."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lavis.common.tar_shards import (
    Content,
    ShardError,
    index_path,
    index_shard,
    read_index,
    read_member,
    scan,
    verify_shard,
    write_shard,
)


def contents(count: int = 3) -> list[Content]:
    return [(f"{i:03d}", {"json": b'{"a": 1}', "mp4": bytes([i]) * (500 + i)}, {"a": 1}) for i in range(count)]


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "x-000000.tar"
    write_shard(path, contents(), "plan")
    return path


def test_what_was_written_is_read(shard: Path) -> None:
    facts, rows = read_index(shard)
    assert (facts.size, facts.plan) == (shard.stat().st_size, "plan")
    assert [row.key for row in rows] == ["000", "001", "002"]
    assert rows[0].facts == {"a": 1}
    for i, row in enumerate(rows):
        assert read_member(shard, row.members["mp4"]) == bytes([i]) * (500 + i)
    assert verify_shard(shard) == 3
    assert [p.name for p in sorted(shard.parent.iterdir())] == ["x-000000.jsonl", "x-000000.tar"]


def test_equal_contents_give_equal_bytes_that_tar_and_webdataset_read(shard: Path, tmp_path: Path) -> None:
    write_shard(tmp_path / "y.tar", contents(), "plan")
    assert (tmp_path / "y.tar").read_bytes() == shard.read_bytes()
    assert index_path(tmp_path / "y.tar").read_bytes() == index_path(shard).read_bytes()
    webdataset = pytest.importorskip("webdataset")
    rows = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    assert [row["mp4"] for row in rows] == [content[1]["mp4"] for content in contents()]


def test_an_index_can_be_made_anew(shard: Path) -> None:
    _, before = read_index(shard)
    index_path(shard).unlink()
    with pytest.raises(ShardError, match=r"has no index x-000000.jsonl"):
        read_index(shard)
    assert index_shard(shard) == 3
    assert read_index(shard)[1] == before


def test_every_cut_is_noticed(shard: Path) -> None:
    whole = shard.read_bytes()
    end = len(whole) - 1024
    for length in range(0, end + 512, 256):
        shard.write_bytes(whole[:length])
        with pytest.raises(ShardError, match=r"x-000000.tar"):
            read_index(shard)
        with pytest.raises(ShardError, match=r"x-000000.tar"):
            list(scan(shard))


def test_a_changed_byte_is_noticed_wherever_it_is(shard: Path) -> None:
    whole = shard.read_bytes()
    _, rows = read_index(shard)
    member = rows[1].members["mp4"]
    for place in (member.offset - 512, member.offset - 300, member.offset, member.offset + member.size - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        shard.write_bytes(changed)
        with pytest.raises(ShardError, match=r"x-000000.tar, member 001.mp4"):
            read_member(shard, member)
        with pytest.raises(ShardError):
            verify_shard(shard)
    for place in range(0, len(whole), 97):
        changed = bytearray(whole)
        changed[place] ^= 255
        shard.write_bytes(changed)
        with pytest.raises(ShardError, match=r"x-000000.tar"):
            verify_shard(shard)


def evil(name: str, kind: bytes = tarfile.REGTYPE) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with tarfile.open(path, "w") as tar:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            entry.size = 3 if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, io.BytesIO(b"abc"))

    return write


@pytest.mark.parametrize(
    ("write", "cause"),
    [
        (evil("/etc/passwd.mp4"), "outside"),
        (evil("../up.mp4"), "outside"),
        (evil("a/../../up.mp4"), "outside"),
        (evil("..\\up.mp4"), "outside"),
        (evil("C:up.mp4"), "outside"),
        (evil("noname"), "key.suffix"),
        (evil("link.mp4", tarfile.SYMTYPE), "a link"),
        (evil("hard.mp4", tarfile.LNKTYPE), "a link"),
        (evil("dev.mp4", tarfile.CHRTYPE), "a device"),
        (evil("block.mp4", tarfile.BLKTYPE), "a device"),
        (evil("pipe.mp4", tarfile.FIFOTYPE), "a device"),
        (evil("folder", tarfile.DIRTYPE), "a folder"),
    ],
)
def test_members_that_are_no_files_inside_are_refused(
    tmp_path: Path, write: Callable[[Path], None], cause: str
) -> None:
    path = tmp_path / "x.tar"
    write(path)
    with pytest.raises(ShardError, match=cause) as raised:
        index_shard(path)
    assert raised.value.member
    assert not index_path(path).exists()


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a.mp4"))
    with pytest.raises(ShardError, match="twice"):
        index_shard(path)


def claiming(kind: bytes, size: bytes, sparse: bytes = b"") -> bytes:
    """A header of member ``a.mp4`` whose size, or size once unpacked, is what it claims; nothing stands behind it."""
    block = bytearray(tarfile.TarInfo("a.mp4").tobuf(tarfile.GNU_FORMAT))
    block[156:157], block[124:136] = kind, size
    block[386 : 386 + len(sparse)] = sparse
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block) + bytes(1024)


HUGE = b"\x80" + b"\x7f" * 11
ONE_BLOCK = b"%011o\0" % 512
SPARSE = b"%011o\0" % 0 + ONE_BLOCK + bytes(72) + b"\0" + b"%011o\0" % (8**11 - 1)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (claiming(tarfile.REGTYPE, HUGE), "cut short"),
        (claiming(tarfile.REGTYPE, b"\xff" * 11 + b"\0"), "cut short"),
        (claiming(tarfile.GNUTYPE_SPARSE, ONE_BLOCK, SPARSE)[:512] + bytes(512 + 1024), "sparse"),
        (claiming(tarfile.XHDTYPE, HUGE), "damaged"),
        (claiming(tarfile.GNUTYPE_LONGNAME, HUGE), "damaged"),
    ],
)
def test_sizes_that_headers_only_claim(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    with pytest.raises(ShardError, match=cause):
        index_shard(path)
    assert not index_path(path).exists()


@pytest.mark.parametrize("name", ["k" * 150, "\u00fc\u00f1", "folder/" + "k" * 90])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_and_other_alphabets(tmp_path: Path, name: str, form: int) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=form) as tar:
        for number, suffix in enumerate(("json", "mp4")):
            entry = tarfile.TarInfo(f"{name}.{suffix}")
            entry.size = 2
            tar.addfile(entry, io.BytesIO(b"{}" if not number else b"xy"))
    assert index_shard(path) == 1
    (row,) = read_index(path)[1]
    assert (row.key, read_member(path, row.members["mp4"])) == (name, b"xy")
    assert verify_shard(path) == 1


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("mp4", [512, 10**18, 1]),
        ("mp4", [10**30, 3, 1]),
        ("mp4", [float("inf"), 3, 1]),
        ("mp4", [512, 3.5, 1]),
        ("mp4", [True, 1, 1]),
        ("bytes", float("inf")),
        ("twice", None),
        ("folder", None),
    ],
)
def test_an_index_that_claims_what_cannot_be(shard: Path, place: str, value: object) -> None:
    index = index_path(shard)
    rows = [json.loads(line) for line in index.read_text().splitlines()]
    if place == "mp4":
        rows[1]["members"]["mp4"] = value
    elif place == "bytes":
        rows[0]["bytes"] = value
    else:
        rows.append(rows[1])
    index.write_text("\n".join(map(json.dumps, rows)))
    if place == "folder":
        index.unlink()
        index.mkdir()
    with pytest.raises(ShardError, match="index"):
        read_index(shard)


def test_an_index_cannot_lead_outside(shard: Path) -> None:
    index = index_path(shard)
    good = index.read_text()
    for old, new in (
        ('"000"', '"../000"'),
        ('"key": "000", ', ""),
        ("lavis-shard-1", "other"),
        ('"json": [', '"json": [-'),
    ):
        index.write_text(good.replace(old, new, 1))
        with pytest.raises(ShardError, match="no index of a shard"):
            read_index(shard)
    index.write_text(good[: len(good) // 2])
    with pytest.raises(ShardError, match="line"):
        read_index(shard)


def test_a_shard_that_could_not_be_finished_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with pytest.raises(ValueError, match="plain names"):
        write_shard(path, [*contents(), ("a.b", {"mp4": b""}, {})])
    assert list(tmp_path.iterdir()) == []


def test_a_compressed_file_is_no_shard(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.mp4"))
    with pytest.raises(ShardError, match="no tar file"):
        index_shard(path)


def test_errors_travel_between_processes() -> None:
    error = ShardError("a.tar", "is spoilt", "b.mp4")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.member) == ("a.tar, member b.mp4: is spoilt", "b.mp4")
