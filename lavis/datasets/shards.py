"""``ShardsDataset``: samples and media out of tar shards, as ``process_data/make_shards.py`` writes them.

Shards are read by their index and not as a stream, so that everything else is as with files: epochs of a known length,
equal batches on every process, a permutation for each epoch that any number of loader processes share, and a resumed
run that goes on in its middle. A stream has to give up one of these, or to count on even shards. What a stream is for,
reading a slow disk in long pieces, ``order: shards`` does by a permutation that stays within a few shards at a time.

Source: webdataset's shards; what is read is checked (``lavis/common/tar_shards.py``), and nothing is unpickled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

import torch

from lavis.common.io import FileFormatError, read_json
from lavis.common.registry import registry
from lavis.common.tar_shards import Member, Packed, ShardError, read_index
from lavis.datasets._sample_rows import from_row
from lavis.datasets._unpacked import Unpacked
from lavis.datasets.base import Item, MomentDataset, OnError, Processor
from lavis.datasets.formats.base import check_choice
from lavis.processors.readers.base import VideoDecodeError
from lavis.structures import VideoSample, Views

INDEX_FORMAT = "lavis-shards-1"
Order = Literal["samples", "shards"]


@registry.datasets.register("shards")
class ShardsDataset(MomentDataset):
    """Samples of tar shards on videos or images.

    Args:
        dataset_name: key in the configuration.
        split: key of ``annotations``.
        processor: decodes and transforms a sample's video.
        train: passed on to ``processor``; requires truth.
        annotations: split to the index of its shards (``index.json``), or the folder it is in.
        on_decode_error: ``raise``, or ``skip`` the item and count it; a damaged member of a shard is such an error.
        scratch: folder where media are unpacked while they are read, best in memory (``/dev/shm``); ``None`` is the
            system's folder of temporary files.
        scratch_mb: what each loader process keeps there, in MiB.
        order: of training: ``samples`` mixes all of them evenly; ``shards`` takes the shards by chance and mixes the
            samples of ``shuffle_shards`` shards at a time, so that disks read nearly in sequence.
        shuffle_shards: how many, at least 1.

    Raises:
        ShardError: if a shard is missing, was cut, or an index is damaged.
        ValueError: for any fault of the options or samples.
    """

    wiring = ("dataset_name", "split", "processor", "train")

    def __init__(
        self,
        *,
        dataset_name: str,
        split: str,
        processor: Processor,
        train: bool,
        annotations: Mapping[str, str],
        on_decode_error: OnError = "raise",
        scratch: str | None = None,
        scratch_mb: int = 256,
        order: Order = "samples",
        shuffle_shards: int = 8,
    ) -> None:
        where = f"datasets.{dataset_name}"
        check_choice(f"{where}.on_decode_error", on_decode_error, get_args(OnError))
        check_choice(f"{where}.order", order, get_args(Order))
        if isinstance(shuffle_shards, bool) or shuffle_shards < 1:
            raise ValueError(f"{where}.shuffle_shards must be at least 1 shard, got {shuffle_shards!r}")
        if split not in annotations:
            raise ValueError(f"{where}.annotations has no split {split!r}; it has {', '.join(annotations) or 'none'}")
        if scratch_mb < 0:
            raise ValueError(f"{where}.scratch_mb must be at least 0 MiB, got {scratch_mb}")
        self.processor = processor
        self.on_decode_error: OnError = on_decode_error
        index = Path(annotations[split].replace("{split}", split)).expanduser()
        self._media: dict[str, tuple[Path, Member]] = {}
        self.order = order
        self.shuffle_shards = shuffle_shards
        shards = shards_of(index)
        by_shard = [list(self._samples(shard)) for shard in shards]
        samples = [sample for own in by_shard for sample in own]
        self._edges = [0, *accumulate(map(len, by_shard))]
        if not samples:
            raise ValueError(f"{where}: {index} lists no samples. Choose another index")
        untold = next((s.id for s in samples if s.moments is None and s.answer is None and not s.turns), None)
        if train and untold is not None:
            raise ValueError(f"{where}: {index} has no truth to train on (sample {untold}). Choose another split")
        self._unpacked = Unpacked(scratch, scratch_mb * 2**20)
        counts = Counter(rows=len(samples), shards=len(shards), media=len(self._media))
        samples = [replace(sample, dataset=dataset_name) for sample in samples]
        super().__init__(dataset_name, split, train, samples, counts)

    def __getitem__(self, index: int) -> Item | None:
        return self.framed(index, self.samples[index], self._frames, self.on_decode_error)

    def set_epoch(self, epoch: int) -> None:
        set_epoch = getattr(self.processor, "set_epoch", None)
        if self.train and set_epoch is not None:
            set_epoch(epoch)

    def epoch_order(self, seed: int, epoch: int) -> Sequence[int] | None:
        """The order in which an epoch visits the samples, each once; ``None`` leaves it to the sampler.

        Args:
            seed: of the run.
            epoch: from 0; the order is another one in each, and always the same for the same seed and epoch.
        """
        if self.order == "samples":
            return None
        return windowed_order(self._edges, self.shuffle_shards, seed, epoch)

    def _frames(self, sample: VideoSample, train: bool) -> Views:
        """Frames of a sample whose ``video`` names a member; the processor gets the file it was unpacked to."""
        if sample.video not in self._media:
            return self.processor(sample, train)  # text alone
        shard, member = self._media[sample.video]
        try:
            path = self._unpacked.path(shard, member)
        except ShardError as error:
            cure = "on_decode_error: skip leaves it out"
            raise VideoDecodeError(sample.video, error.cause, cure, sample.id) from error
        try:
            return self.processor(replace(sample, video=str(path)), train)
        except VideoDecodeError as error:
            raise type(error)(sample.video, error.cause or str(error), error.cure, sample.id) from error

    def _samples(self, shard: Path) -> Iterator[VideoSample]:
        _, rows = read_index(shard)
        for row in rows:
            video = self._note_medium(shard, row)
            try:
                samples = row.facts["samples"]
                if not isinstance(samples, list):
                    raise ValueError("samples is no list")
                yield from (from_row(sample, video, "") for sample in samples)
            except (ValueError, KeyError) as error:
                cause = f"its samples cannot be read: {error}. Make the shard with make_shards.py"
                raise ShardError(shard, cause, row.key) from error

    def _note_medium(self, shard: Path, row: Packed) -> str:
        """The name of a row's medium, ``<shard>/<member>``, empty for text alone."""
        media = [member for suffix, member in row.members.items() if suffix != "json"]
        if len(media) > 1:
            raise ShardError(shard, f"has {len(media)} media for one sample; one is expected", row.key)
        if not media:
            return ""
        name = str(shard / media[0].name)
        self._media[name] = (shard, media[0])
        return name


def windowed_order(edges: Sequence[int], window: int, seed: int, epoch: int) -> list[int]:
    """Numbers below ``edges[-1]``, each once: groups in random order, mixed within ``window`` groups at a time.

    Args:
        edges: where each group begins, from 0, and where the last one ends.
        window: groups that are mixed with each other, at least 1.
        seed: with ``epoch``, decides the order.
        epoch: see ``seed``.
    """
    generator = torch.Generator().manual_seed((seed * 0x9E3779B1 + epoch) % 2**63)
    groups = list(pairwise(edges))
    visited = torch.randperm(len(groups), generator=generator).tolist()
    order: list[int] = []
    for first in range(0, len(groups), window):
        held = [i for group in visited[first : first + window] for i in range(*groups[group])]
        order += [held[i] for i in torch.randperm(len(held), generator=generator).tolist()]
    return order


def shards_of(index: Path) -> list[Path]:
    """The shards that an index lists, in its order.

    Args:
        index: ``index.json``, or the folder it is in.

    Raises:
        ShardError: if there is none, it is of another form, or a name in it is none of a file beside it.
    """
    path = index / "index.json" if index.is_dir() else index
    try:
        found: Any = read_json(path)
        if found["format"] != INDEX_FORMAT:
            raise ValueError(f"its format is {found['format']!r}, not {INDEX_FORMAT!r}")
        names = [str(row["url"]) for row in found["shardlist"]]
    except FileNotFoundError:
        raise ShardError(path, "there is no such index. Give the index.json that make_shards.py wrote") from None
    except (FileFormatError, ValueError, KeyError, TypeError) as error:
        raise ShardError(path, f"is no index of shards ({error}). Make it with make_shards.py --index") from error
    for name in names:
        if PurePath(name).name != name or not name.strip() or name.startswith(".") or any(c in name for c in ":\\\0"):
            # An address (http://...) or a command (pipe:...) would be opened by webdataset.
            raise ShardError(path, f"names a shard {name!r:.80} that is no file beside it")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ShardError(path, f"names the shard {twice!r:.80} twice, so its samples would come twice. Remove one")
    return [path.parent / name for name in names]
