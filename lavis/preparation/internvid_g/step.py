"""One step over videos, by the executor of collections: resumable, with a quarantine, its file written whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavis.common.io import write_jsonl
from lavis.preparation.collection.items import Item, Shard
from lavis.preparation.collection.outcome import Work
from lavis.preparation.collection.run import Running, run_collection
from lavis.preparation.collection.summary import Summary
from lavis.preparation.internvid_g.rows import Row

if TYPE_CHECKING:
    from typing import Unpack  # since Python 3.11; only type checkers read it


@dataclass(frozen=True, slots=True)
class Step:
    """What is made.

    Args:
        out: JSON lines file to write.
        options: whatever changes the rows of all videos.
        given: what rows are made of, by video; a video is done again when it changes.
    """

    out: Path
    options: Mapping[str, Any]
    given: Mapping[str, Any]

    def run(
        self,
        items: Sequence[Item],
        work: Work,
        rows: Callable[[str, Mapping[str, Any]], Iterable[Row]],
        **running: Unpack[Running],
    ) -> Summary:
        """Does the work for all videos that are not done yet, then writes the file.

        Of a shard only its journal is written; when all are through, a run without ``shard`` writes the file.

        Args:
            items: videos.
            work: gives a mapping with ``given``, the digest of what it was made of.
            rows: of a video, from its name and what the work gave.
            running: see ``run_collection``.

        Returns:
            what was done.

        Raises:
            ValueError: as ``run_collection``.
        """
        out = self.out.expanduser()

        def is_done(item: Item, result: Mapping[str, Any]) -> bool:
            return result.get("given") == digest_of(self.given.get(item.name))

        name = f"internvid_g_{out.stem}"
        summary = run_collection(
            items, work, out.parent, name=name, options=self.options, is_done=is_done, **running
        )  # fmt: skip
        if Shard.of(running.get("shard")).count == 1:
            write_jsonl(out, (row for each in summary.done for row in rows(each.item, each.result or {})))
        return summary


def digest_of(given: Any) -> str:
    """16 hexadecimal digits that stand for what a video's rows are made of."""
    return hashlib.blake2b(json.dumps(given, sort_keys=True).encode(), digest_size=8).hexdigest()


def videos_of(videos: str | Path, names: Iterable[str]) -> list[Item]:
    """The videos of these names below a folder; one that is not there fails when its turn comes.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    root = Path(videos).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder of videos {root}")
    return [Item(name, root / name) for name in dict.fromkeys(names)]
