"""Captions of E.T. Instruct's events by a model that sees the middle of each, for ``meco_annotations``.

Which model described the events for MeCo is not published. Any ``Captioner`` does; where its prompt has a place
for the query, it is asked about what the row looks for. Files are captioned by the executor of collections, so that a
run can be stopped and taken up again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lavis.common.io import write_jsonl
from lavis.datasets.formats._conversation import without_placeholder
from lavis.datasets.formats._record import AnnotationError
from lavis.models.codecs._marks import MATCH
from lavis.preparation.collection.items import Item, Shard
from lavis.preparation.collection.run import Running, run_collection
from lavis.preparation.collection.summary import Summary
from lavis.preparation.internvid_g.frames import pictures
from lavis.preparation.internvid_g.models import Captioner
from lavis.preparation.internvid_g.similarity import Looking
from lavis.preparation.internvid_g.step import digest_of, videos_of
from lavis.preparation.meco_annotations import Event, OnBadRow, event_of, rows_of
from lavis.preparation.meco_texts import NoCaption, sought

if TYPE_CHECKING:
    from typing import Unpack  # since Python 3.11; only type checkers read it

BATCH = 16
"""Pictures that are in memory at a time."""


@dataclass(frozen=True, slots=True)
class CaptionEvents:
    """Work for one video.

    Args:
        events: middle of each event in seconds and what is asked of it, by id of the row, by video.
        captioner: says what a picture shows.
        looking: how pictures are read.
    """

    events: Mapping[str, Mapping[str, tuple[list[float], str]]]
    captioner: Captioner
    looking: Looking

    start_s: ClassVar[float] = 3600.0  # gigabytes of a model from a network disk

    def start(self, worker: int) -> None:
        """Loads the model: one that cannot be loaded ends the job, and is no fault of the first hundred videos."""
        self.captioner.load()

    def __call__(self, item: Item, scratch: Path) -> dict[str, Any]:
        info = self.looking.reader.probe(item.path)
        mine = self.events[item.name]
        made: dict[str, list[str]] = {}
        for name, (times, query) in mine.items():
            captioner = _asking(self.captioner, query)
            made[name] = []
            for first in range(0, len(times), BATCH):
                shown = pictures(self.looking.reader, str(item.path), info, times[first : first + BATCH])
                texts = captioner.captions(shown)
                if len(texts) != len(shown):
                    raise ValueError(f"the captioner gave {len(texts)} texts for {len(shown)} pictures")
                made[name] += [text.strip() for text in texts]
        return {"duration_s": info.duration_s, "captions": made, "given": digest_of(mine)}


def _asking(captioner: Captioner, query: str) -> Captioner:
    """The same captioner, asked about a query where its prompt has a place for one."""
    prompt = getattr(captioner, "prompt", None)
    if not isinstance(prompt, str) or "{query}" not in prompt:
        return captioner
    focused: Any = captioner
    asked: Captioner = replace(focused, prompt=prompt.replace("{query}", query))
    return asked


def caption_events(
    source: str | Path,
    videos: str | Path,
    out: str | Path,
    captioner: Captioner,
    looking: Looking | None = None,
    *,
    on_bad_row: OnBadRow = "raise",
    **running: Unpack[Running],
) -> Summary:
    """Has a model describe the middle of each event; writes what ``read_captions`` reads.

    Rows with an event of which the captioner says nothing have no line, so that their own texts are used.

    Args:
        source: as for ``make_annotations``.
        videos: folder of the videos.
        out: JSON lines file.
        captioner: says what a picture shows; ``{query}`` in its ``prompt`` is what the row looks for.
        looking: how pictures are read.
        on_bad_row: as in ``Style``.
        running: see ``run_collection``.

    Raises:
        AnnotationError: for a bad row under ``raise``.
        ValueError: as ``run_collection``.
    """
    how = looking or Looking()
    events: dict[str, dict[str, tuple[list[float], str]]] = defaultdict(dict)
    for record in rows_of(source):
        try:
            event = event_of(record)
        except AnnotationError:
            if on_bad_row == "raise":
                raise
            continue
        events[event.video][str(record.id)] = ([(a + b) / 2 for a, b in event.windows], _query(event))
    target = Path(out).expanduser()

    def is_done(item: Item, result: Mapping[str, Any]) -> bool:
        return result.get("given") == digest_of(events.get(item.name))

    summary = run_collection(
        videos_of(videos, events), CaptionEvents(dict(events), captioner, how), target.parent,
        name=f"meco_{target.stem}", options={**how.options(), "captioner": captioner.identity()}, is_done=is_done,
        **running,
    )  # fmt: skip
    if Shard.of(running.get("shard")).count == 1:
        made = [pair for each in summary.done for pair in (each.result or {}).get("captions", {}).items()]
        write_jsonl(target, ({"id": name, "captions": texts} for name, texts in made if all(texts)))
    return summary


def _query(event: Event) -> str:
    """What the row looks for, else its whole question, with times in seconds."""
    try:
        query = sought(event.task, event.question, event.answer)
    except NoCaption:
        query = without_placeholder(event.question)
    for seconds in event.record.fields.get("src") or ():
        query = query.replace(MATCH, f"{seconds:g} s", 1)
    return query
