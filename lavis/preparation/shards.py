"""``make_shards``: samples and the videos or images they are about into tar shards, for ``lavis/datasets/shards.py``.

A medium lies in its shard once, with all samples on it; every shard is made whole or not at all, and made again only if
what goes into it has changed. Which medium goes where follows from the seed alone.

Source: webdataset's shards, that hold one medium and one text. Here samples keep all fields, and an index tells sizes
and digests. The index has the fields of webdataset's ``wids``, so that its readers find the shards, too.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

from lavis.common.io import write_json
from lavis.common.locking import sole_writer
from lavis.common.logging import Progress
from lavis.common.tar_shards import (
    Content,
    ShardError,
    index_path,
    index_shard,
    read_index,
    verify_shard,
    write_shard,
)
from lavis.datasets._sample_rows import to_row
from lavis.datasets.shards import INDEX_FORMAT, shards_of
from lavis.preparation.collection.items import Shard as Part
from lavis.preparation.collection.state import beside_others
from lavis.structures import VideoSample

INDEX = "index.json"


@dataclass(frozen=True, slots=True)
class Medium:
    """A file and the samples on it; without a path they are text alone."""

    path: Path | None
    samples: tuple[VideoSample, ...]
    size: int = 0

    @property
    def stamp(self) -> tuple[str, int, int]:
        """What changes when the file does."""
        return ("", 0, 0) if self.path is None else (self.path.name, self.size, self.path.stat().st_mtime_ns)


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """What goes into one shard: numbers of its media count from ``first``."""

    path: Path
    first: int
    media: Sequence[Medium]

    @property
    def digest(self) -> str:
        """Stands for everything that decides the bytes of the shard."""
        rows = [[medium.stamp, [to_row(sample) for sample in medium.samples]] for medium in self.media]
        return hashlib.blake2b(json.dumps([INDEX_FORMAT, self.first, rows]).encode(), digest_size=16).hexdigest()

    def contents(self) -> Iterator[Content]:
        """Members of the shard, each read when it is due."""
        for number, medium in enumerate(self.media, start=self.first):
            facts = {"samples": [to_row(sample) for sample in medium.samples]}
            text = json.dumps(facts, ensure_ascii=False).encode("utf-8", "backslashreplace")
            parts = {"json": text}
            if medium.path is not None:
                parts[medium.path.suffix[1:].lower()] = medium.path.read_bytes()
            yield f"{number:09d}", parts, facts


@dataclass(frozen=True, slots=True)
class MadeShards:
    """What came of it: shards of this part made now and found done, bytes written, seconds; ``index`` once all are."""

    made: int
    kept: int
    written: int
    seconds: float
    index: Path | None
    figures: Mapping[str, Any] = field(default_factory=dict)

    def to_text(self) -> str:
        """The same for reading."""
        rate = self.written / 2**20 / max(self.seconds, 1e-9)
        written = f"{self.written / 2**20:.1f} MiB written, {rate:.0f} MiB/s"
        text = f"{self.made} shards made, {self.kept} were there, {written}"
        if self.index is None:
            return f"{text}; other parts are not done, the last one to end writes {INDEX}"
        shown = ", ".join(f"{key} {value:,}" for key, value in self.figures.items())
        return f"{text}\n{self.index}: {shown}"


def make_shards(
    samples: Sequence[VideoSample],
    out: str | Path,
    *,
    name: str = "shard",
    media_per_shard: int = 1000,
    shard_mb: float = 512.0,
    shuffle: bool = True,
    seed: int = 0,
    workers: int = 4,
    part: str | None = None,
) -> MadeShards:
    """Writes shards, beside each its index, and ``index.json`` over all.

    Args:
        samples: whose ``video`` is a path; equal paths are one medium; empty for text alone.
        out: folder of the shards.
        name: they are ``<name>-000000.tar`` and so on.
        media_per_shard: media in a shard at most.
        shard_mb: MiB of media in a shard at most; a larger medium has one of its own.
        shuffle: mix the media, by ``seed``; otherwise they stay in the order of the samples.
        seed: of the order.
        workers: shards written at a time.
        part: ``I/N``: only these shards, for batch schedulers; the last part to end writes ``index.json``.

    Raises:
        ValueError: if a medium is missing, a folder, or has no suffix, an id is there twice, or an option makes no
            sense.
        BusyError: if another run writes the same part, or one of the whole is under way beside one of a part.
        WriteError: if something cannot be written; what is done stays done.
    """
    if media_per_shard < 1 or shard_mb <= 0 or workers < 1:
        raise ValueError(
            f"media_per_shard and workers must be at least 1 and shard_mb above 0, got {media_per_shard}, {workers} "
            f"and {shard_mb}"
        )
    folder, share = Path(out).expanduser(), Part.of(part)
    planned = _plan(folder, name, media_of(samples, seed if shuffle else None), media_per_shard, shard_mb * 2**20)
    mine = planned[share.number - 1 :: share.count]
    started = time.monotonic()
    with (
        sole_writer(folder / f".parts/{share}", "this one", ", or write to another folder"),
        beside_others(folder / ".parts", share.count == 1),
        ThreadPoolExecutor(workers) as pool,
    ):
        _remove_unfinished(mine)
        done = list(Progress(pool.map(_made, mine), f"{name} shards", total=len(mine), unit="shards", every=30.0))
        index, figures = _finish(folder, name, planned, {"shuffle": shuffle, "seed": seed})
    written = [size for size in done if size is not None]
    seconds = time.monotonic() - started
    return MadeShards(len(written), len(done) - len(written), sum(written), seconds, index, figures)


def media_of(samples: Sequence[VideoSample], seed: int | None) -> list[Medium]:
    """Samples by medium, in the order of their first samples or, with a seed, mixed.

    Raises:
        ValueError: see ``make_shards``.
    """
    if not samples:
        raise ValueError("there are no samples to put into shards")
    groups: dict[str, list[VideoSample]] = {}
    seen: set[str] = set()
    for number, sample in enumerate(samples):
        if sample.id in seen:
            raise ValueError(f"two samples have the id {sample.id!r}; ids must be unique in a set of shards")
        seen.add(sample.id)
        groups.setdefault(sample.video or f"\0{number}", []).append(sample)
    media = [_medium(video, group) for video, group in groups.items()]
    if seed is not None:
        random.Random(seed).shuffle(media)
    return media


def _medium(video: str, samples: Sequence[VideoSample]) -> Medium:
    if video.startswith("\0"):
        return Medium(None, tuple(samples))
    path = Path(video)
    if not path.is_file():
        what = "is a folder of frames; make a video of it first" if path.is_dir() else "is not there"
        raise ValueError(f"{path} {what} (sample {samples[0].id})")
    if not path.suffix[1:] or path.suffix.lower() == ".json":
        raise ValueError(f"{path} has no suffix that tells what it is, such as .mp4 (sample {samples[0].id})")
    return Medium(path, tuple(samples), path.stat().st_size)


def _plan(folder: Path, name: str, media: Sequence[Medium], most: int, most_bytes: float) -> list[PlannedShard]:
    groups: list[list[Medium]] = [[]]
    size = 0
    for medium in media:
        if groups[-1] and (len(groups[-1]) == most or size + medium.size > most_bytes):
            groups.append([])
            size = 0
        groups[-1].append(medium)
        size += medium.size
    firsts = [sum(map(len, groups[:i])) for i in range(len(groups))]
    return [
        PlannedShard(folder / f"{name}-{i:06d}.tar", first, group)
        for i, (first, group) in enumerate(zip(firsts, groups, strict=True))
    ]


def _remove_unfinished(planned: Sequence[PlannedShard]) -> None:
    """What a run that was killed left of these shards: as much as a shard each, and of no use to anybody."""
    for shard in planned:
        for target in (shard.path, index_path(shard.path)):
            for left in target.parent.glob(f".{escape(target.name)}.*.part"):
                left.unlink(missing_ok=True)


def _made(shard: PlannedShard) -> int | None:
    """Bytes written; ``None`` if the shard was there."""
    plan = shard.digest
    return None if _is_done(shard.path, plan) else write_shard(shard.path, shard.contents(), plan).size


def _is_done(path: Path, plan: str) -> bool:
    try:
        return read_index(path)[0].plan == plan
    except ShardError:
        return False


def _finish(
    folder: Path, name: str, planned: Sequence[PlannedShard], order: Mapping[str, Any]
) -> tuple[Path | None, dict[str, Any]]:
    if not all(index_path(shard.path).is_file() and _is_done(shard.path, shard.digest) for shard in planned):
        return None, {}
    wanted = {shard.path for shard in planned}
    for old in folder.glob(f"{name}-*.tar"):
        if old not in wanted:  # of an earlier, larger plan; the index would not name it
            old.unlink()
            index_path(old).unlink(missing_ok=True)
    return write_index(folder, [shard.path for shard in planned], name, order)


def write_index(
    folder: Path, shards: Sequence[Path], name: str, order: Mapping[str, Any] | None = None
) -> tuple[Path, dict[str, Any]]:
    """Writes ``index.json`` over shards whose own indices are there.

    Returns:
        its path, and counts of shards, media, samples and bytes.

    Raises:
        ShardError: if the index of a shard cannot be read.
    """
    rows: list[dict[str, Any]] = []
    media = samples = 0
    for shard in shards:
        facts, packed = read_index(shard)
        own = sum(len(row.facts.get("samples", ())) for row in packed)
        rows.append(
            {"url": shard.name, "nsamples": len(packed), "filesize": facts.size, "digest": facts.digest, "samples": own}
        )
        media, samples = media + len(packed), samples + own
    figures = {"shards": len(rows), "media": media, "samples": samples, "bytes": sum(r["filesize"] for r in rows)}
    head = {"wids_version": 1, "format": INDEX_FORMAT, "name": name, **figures, **(order or {})}
    return write_json(folder / INDEX, {**head, "shardlist": rows}), figures


def index_folder(folder: str | Path, name: str = "shard") -> dict[str, Any]:
    """Makes the indices of shards that somebody else made; each ``.json`` member holds ``{"samples": [...]}``.

    Raises:
        ShardError: if a shard cannot be used.
        ValueError: if there is none.
    """
    shards = sorted(Path(folder).expanduser().glob("*.tar"))
    if not shards:
        raise ValueError(f"there is no .tar file in {folder}")
    for shard in shards:
        index_shard(shard)
    return write_index(shards[0].parent, shards, name)[1]


def verify_shards(index: str | Path, say: Callable[[str], None] = lambda text: None) -> list[str]:
    """Reads all shards of an index and compares every byte.

    Args:
        index: ``index.json`` or its folder.
        say: told of each fault as it is found.

    Returns:
        the faults, at most one for each shard.

    Raises:
        ShardError: if the index itself cannot be read.
    """
    faults = []
    for shard in Progress(shards_of(Path(index).expanduser()), "verify", unit="shards", every=30.0):
        try:
            verify_shard(shard)
        except ShardError as error:
            faults.append(str(error))
            say(faults[-1])
    return faults
