"""Tar shards: many samples in few files, read at random by an index, without trusting either.

A sample is the members of one key, as webdataset has it: ``000042.json`` and ``000042.mp4``. Beside ``x.tar`` lies
``x.jsonl``: a line on the shard, then one for each sample, with place, size and CRC-32 of its members. A member is read
by one seek; what is read is checked against header and CRC, so that a damaged shard is named and never decoded.

Source: webdataset's format and the idea of its ``wids`` index. Unlike webdataset nothing is ever unpickled and no
address or command is opened: a shard is a file. Members that are links, devices or folders, that lie outside
(absolute, ``..``), or whose names are there twice are refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from lavis.common.io import FileFormatError, explained, read_jsonl, write_jsonl

FORMAT = "lavis-shard-1"
_BLOCK = tarfile.BLOCKSIZE
_REMAKE = "Copy it anew, or make it again"


class ShardError(ValueError):
    """A shard, or a member of one, that cannot be used; names both."""

    def __init__(self, shard: str | Path, cause: str = "", member: str | None = None) -> None:
        self.shard, self.cause, self.member = str(shard), cause, member
        super().__init__(f"{shard}{f', member {member}' if member else ''}: {cause}" if cause else str(shard))

    def __reduce__(self) -> tuple[type[ShardError], tuple[str, str, str | None]]:
        return type(self), (self.shard, self.cause, self.member)


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a shard: its name, where its bytes begin, how many they are, and their CRC-32."""

    name: str
    offset: int
    size: int
    crc: int


@dataclass(frozen=True, slots=True)
class Packed:
    """The members of one key by suffix (``mp4``), and what else its line of the index says."""

    key: str
    members: Mapping[str, Member]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """A shard as a whole: size in bytes, digest of all its bytes, and ``plan``: what it was made of."""

    size: int
    digest: str
    plan: str = ""


Content = tuple[str, Mapping[str, bytes], Mapping[str, Any]]
"""Key, bytes by suffix, and facts for the index."""


def index_path(shard: str | Path) -> Path:
    """Where the index of a shard lies."""
    return Path(shard).with_suffix(".jsonl")


def write_shard(path: str | Path, contents: Iterable[Content], plan: str = "") -> ShardFacts:
    """Writes a shard and its index, each beside its place and renamed; equal contents give equal bytes.

    The index comes last: a shard without one was not finished.

    Raises:
        ValueError: for a key or suffix that is no plain name, or a fact called ``key`` or ``members``.
        WriteError: if it cannot be written; then there is no index.
    """
    target = Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    rows: list[dict[str, Any]] = []
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        index_path(target).unlink(missing_ok=True)
        try:
            with open(beside, "wb") as stream:
                rows = [_add(stream, *content) for content in contents]
                stream.write(bytes(2 * _BLOCK))
                stream.flush()
                os.fsync(stream.fileno())
            facts = ShardFacts(beside.stat().st_size, file_digest(beside), plan)
            os.replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)
    _write_index(target, facts, rows)
    return facts


def _add(stream: BinaryIO, key: str, parts: Mapping[str, bytes], facts: Mapping[str, Any]) -> dict[str, Any]:
    members = {}
    if reserved := {"key", "members"} & set(facts):
        raise ValueError(
            f"facts of {key!r} cannot be called {' or '.join(sorted(reserved))}: the index has these itself"
        )
    for suffix, data in parts.items():
        name = f"{key}.{suffix}"
        if _fault_of_name(name) or "." in key:
            raise ValueError(f"{name!r} cannot be a member of a shard; keys are plain names without dots")
        facts_of_member = tarfile.TarInfo(name)  # no time, no owner: the same bytes wherever it is made
        facts_of_member.size = len(data)
        stream.write(facts_of_member.tobuf(tarfile.USTAR_FORMAT))
        members[suffix] = [stream.tell(), len(data), zlib.crc32(data)]
        stream.write(data)
        stream.write(bytes(-len(data) % _BLOCK))
    return {"key": key, "members": members, **facts}


def _write_index(shard: Path, facts: ShardFacts, rows: Iterable[Mapping[str, Any]]) -> None:
    head = {"format": FORMAT, "bytes": facts.size, "digest": facts.digest, "plan": facts.plan}
    write_jsonl(index_path(shard), [head, *rows])


def file_digest(path: str | Path) -> str:
    """32 hexadecimal digits that stand for all bytes of a file."""
    with open(path, "rb") as stream:
        found = hashlib.blake2b(digest_size=16)
        while block := stream.read(2**20):
            found.update(block)
    return found.hexdigest()


def read_index(shard: str | Path) -> tuple[ShardFacts, list[Packed]]:
    """What the index of a shard says.

    Raises:
        ShardError: if there is none, it is of another form, names a key twice, or bytes that are not in the shard, or
            the shard has another size than it says.
    """
    index = index_path(shard)
    try:
        head, *rows = read_jsonl(index)
        if head["format"] != FORMAT:
            raise ValueError(f"its format is {head['format']!r}, not {FORMAT!r}")
        facts = ShardFacts(int(head["bytes"]), str(head["digest"]), str(head.get("plan", "")))
        found = [_packed(row, facts.size) for row in rows]
        if len({packed.key for packed in found}) < len(found):
            raise ValueError("it has a key twice")
    except FileNotFoundError:
        raise ShardError(shard, f"has no index {index.name} beside it. Make it with make_shards.py --index") from None
    except FileFormatError as error:
        raise ShardError(shard, f"its index cannot be read: {error}. {_REMAKE}") from error
    except OSError as error:
        raise ShardError(shard, f"its index {index.name} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ShardError(shard, f"{index.name} is no index of a shard ({error!r}). {_REMAKE}") from error
    _check_size(shard, facts)
    return facts, found


def _packed(row: Mapping[str, Any], shard_size: int) -> Packed:
    key = str(row["key"])
    members = {}
    for suffix, (offset, size, crc) in row["members"].items():
        name = f"{key}.{suffix}"
        whole = all(type(number) is int and number >= 0 for number in (offset, size, crc))
        if _fault_of_name(name) or not whole or offset + size > shard_size:
            raise ValueError(f"member {name!r:.80} at {offset!r:.20} with {size!r:.20} bytes")
        members[suffix] = Member(name, offset, size, crc)
    return Packed(key, members, {k: v for k, v in row.items() if k not in ("key", "members")})


def _check_size(shard: str | Path, facts: ShardFacts) -> None:
    try:
        size = os.stat(shard).st_size
    except OSError as error:
        raise ShardError(shard, f"cannot be opened: {error.strerror or error}. {_REMAKE}") from error
    if size != facts.size:
        raise ShardError(shard, f"has {size} bytes, and its index says {facts.size}: it was cut or changed. {_REMAKE}")


def read_member(shard: str | Path, member: Member) -> bytes:
    """The bytes of a member, checked against its header and its CRC.

    Raises:
        ShardError: if they are not what was written; names shard and member.
    """
    try:
        with open(shard, "rb") as stream:
            stream.seek(max(0, member.offset - _BLOCK))
            header = stream.read(_BLOCK)
            data = stream.read(member.size)
    except OSError as error:
        raise ShardError(shard, f"cannot be read: {error.strerror or error}. {_REMAKE}", member.name) from error
    try:
        there = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise ShardError(shard, f"has no tar header where its index says ({error}). {_REMAKE}", member.name) from error
    intact = len(data) == member.size and zlib.crc32(data) == member.crc
    # Names that are long or not ASCII stand in a header before this one, and are cut or replaced here.
    if not there.isreg() or there.size != member.size or (there.name != member.name and not intact):
        raise ShardError(shard, f"another member is there, {there.name!r}: shard and index differ", member.name)
    if not intact:
        raise ShardError(shard, f"its bytes are not those that were written. {_REMAKE}", member.name)
    return data


def scan(shard: str | Path) -> Iterator[tuple[Member, bytes]]:
    """All members of any tar file, in order, with their bytes; what is no plain file inside is refused.

    Raises:
        ShardError: for a member that is refused, a header that is damaged, or a file that is cut short.
    """
    seen: set[str] = set()
    try:
        whole = os.stat(shard).st_size
        with tarfile.open(shard, "r:") as tar:
            for entry in tar:
                fault = _fault_of(entry) or (f"is there twice: {entry.name!r}" if entry.name in seen else None)
                if fault is not None:
                    raise ShardError(shard, f"{fault}. Such shards are not read", entry.name)
                seen.add(entry.name)
                if entry.offset_data + entry.size > whole:
                    raise ShardError(shard, f"is cut short within it. {_REMAKE}", entry.name)
                stream = tar.extractfile(entry)
                data = b"" if stream is None else stream.read()
                if len(data) != entry.size:
                    raise ShardError(shard, f"is cut short within it. {_REMAKE}", entry.name)
                yield Member(entry.name, entry.offset_data, entry.size, zlib.crc32(data)), data
            end = tar.offset
        with open(shard, "rb") as file:
            file.seek(end)
            if file.read(_BLOCK) != bytes(_BLOCK):  # the library takes a spoilt header for the end
                raise ShardError(shard, f"does not end, or go on, with a member at byte {end}. {_REMAKE}")
    except OSError as error:
        raise ShardError(shard, f"cannot be read: {error.strerror or error}") from error
    except ShardError:
        raise
    except (tarfile.TarError, ValueError, OverflowError, MemoryError) as error:  # a header may claim any size
        raise ShardError(shard, f"is no tar file, or a damaged one: {error!r}. {_REMAKE}") from error


def _fault_of(entry: tarfile.TarInfo) -> str | None:
    if entry.issparse():
        return "is a sparse file, which may unpack to any size"
    if not entry.isreg():
        kind = "a link" if entry.issym() or entry.islnk() else "a folder" if entry.isdir() else "a device or the like"
        return f"is {kind} and no file"
    return _fault_of_name(entry.name)


def _fault_of_name(name: str) -> str | None:
    path = PurePosixPath(name)
    if path.is_absolute() or "\\" in name or ".." in path.parts or "\0" in name or (len(name) > 1 and name[1] == ":"):
        return "lies outside of the shard by its name"
    if not path.name or path.name.startswith(".") or "." not in path.name:
        return "has no name of the form key.suffix"
    return None


def verify_shard(shard: str | Path) -> int:
    """Reads a whole shard and compares it with its index.

    Returns:
        number of samples.

    Raises:
        ShardError: naming the first member that differs, or the shard.
    """
    facts, rows = read_index(shard)
    wanted = {member.name: member for row in rows for member in row.members.values()}
    for member, _ in scan(shard):
        if wanted.pop(member.name, None) != member:
            raise ShardError(shard, f"its bytes are not those of the index. {_REMAKE}", member.name)
    if wanted:
        raise ShardError(shard, f"lacks {len(wanted)} members of its index. {_REMAKE}", next(iter(wanted)))
    if file_digest(shard) != facts.digest:
        raise ShardError(shard, f"its digest is not that of the index. {_REMAKE}")
    return len(rows)


def index_shard(shard: str | Path) -> int:
    """Writes the index of a shard that has none; its ``.json`` members become the facts of their samples.

    Returns:
        number of samples.

    Raises:
        ShardError: if the shard cannot be used, or a ``.json`` member is no JSON object.
    """
    rows: dict[str, dict[str, Any]] = {}
    for member, data in scan(shard):
        key, _, suffix = member.name.partition(".")
        row = rows.setdefault(key, {"key": key, "members": {}})
        row["members"][suffix] = [member.offset, member.size, member.crc]
        if suffix == "json":
            row.update(_facts_in(shard, member, data))
    _write_index(Path(shard), ShardFacts(os.stat(shard).st_size, file_digest(shard)), rows.values())
    return len(rows)


def _facts_in(shard: str | Path, member: Member, data: bytes) -> dict[str, Any]:
    try:
        found = json.load(BytesIO(data))
        return {str(k): v for k, v in found.items() if k not in ("key", "members")}
    except (ValueError, AttributeError, RecursionError) as error:
        raise ShardError(shard, f"is no JSON object: {error}", member.name) from error
