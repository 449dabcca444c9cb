"""``extract_captions``: an ``.srt`` for every video of a collection, from what is said in it.

Ours; it makes the files that CALCE (tjhd1475/CALCE) and this project read as ``<srts>/<video>.srt``. Times count from
the first picture. A video without sound, or in which nobody speaks, gets an empty file: CALCE's prompt then says
``[-1*None*-1]``, while a missing file is an error. Runs through the executor of ``lavis.preparation.collection``.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from lavis.common.io import append_jsonl, read_jsonl, write_bytes
from lavis.common.locking import exclusive
from lavis.preparation.collection.items import Item
from lavis.preparation.collection.run import run_collection
from lavis.preparation.collection.summary import Summary
from lavis.preparation.speech.audio import read_sound
from lavis.preparation.speech.lines import caption_lines
from lavis.preparation.speech.quality import quality_of
from lavis.preparation.speech.report import CaptionReport, report_of
from lavis.preparation.speech.transcribers.base import (
    Listening,
    Transcriber,
    Transcript,
    digest_of_model,
    transcribers,
)
from lavis.processors.subtitles import write_srt

JOB = "captions"
"""Name of the job: its journal is in ``<out>/.collection/captions``."""

_VERSION = 1  # of what is written; a new one has everything made again


@dataclass(frozen=True, slots=True)
class Captioning:
    """The work for one video, picklable: see ``collection.outcome.Work``.

    Args:
        out: folder of the captions.
        transcriber: registered name.
        listening: how speech is written down; its model is a folder.
        max_chars: longest line; ``None`` cuts nothing.
        on_truncated: what to do with a file whose sound ends too early.
    """

    out: Path
    transcriber: str
    listening: Listening
    max_chars: int | None = None
    on_truncated: Literal["raise", "warn"] = "raise"

    start_s: ClassVar[float] = 3600.0  # gigabytes of a model from a network disk

    def start(self, worker: int) -> None:
        """Loads the model: one that cannot be loaded ends the job, and is no fault of the first hundred videos."""
        _loaded(self.transcriber, self.listening)

    def __call__(self, item: Item, scratch: Path) -> Mapping[str, Any]:
        model = _loaded(self.transcriber, self.listening)
        start = _Clock()
        sound = read_sound(item.path, on_truncated=self.on_truncated)
        decoded = _Clock()
        said = Transcript([])
        if sound.samples is not None and len(sound.samples):
            said = model.transcribe(sound.samples)
        lines = caption_lines(said.utterances, self.max_chars, sound.duration_s or math.inf)
        heard = _Clock()
        name = caption_name(item.name)
        draft = scratch / f"{hashlib.blake2b(name.encode(), digest_size=16).hexdigest()}.srt"
        data = write_srt(draft, lines).read_bytes()
        draft.unlink()
        _announce(self.out, name, data)
        write_bytes(self.out / name, data)
        return {
            "srt": name, "duration_s": sound.duration_s, "sound": sound.samples is not None,
            "language": said.language, "damaged_packets": sound.damaged,
            "decode_core_s": decoded.core - start.core, "listen_core_s": heard.core - decoded.core,
            "listen_wall_s": heard.wall - start.wall, "quality": quality_of(said, lines).to_json(),
        }  # fmt: skip


def extract_captions(
    items: Sequence[Item],
    out: str | Path,
    listening: Listening,
    *,
    transcriber: str = "faster_whisper",
    max_chars: int | None = None,
    on_truncated: Literal["raise", "warn"] = "raise",
    reference: str | Path | None = None,
    overwrite: bool = False,
    **running: Any,
) -> CaptionReport:
    """Writes ``<out>/<name without its ending>.srt`` for every video.

    A caption file that this job did not write, or that was changed since, is left as it is and counted, unless
    ``overwrite``. A file that it wrote is made again when the video, the model or an option changes.

    Args:
        items: the videos.
        out: folder of the captions.
        listening: how speech is written down.
        transcriber: registered name, ``faster_whisper`` or ``transformers``.
        max_chars: longest line; ``None`` keeps the lines of the model.
        on_truncated: what to do with a file whose sound ends too early.
        reference: folder of ``.srt`` or ``.txt`` files of the same names, with what is really said.
        overwrite: write over captions of other origin.
        running: keywords of ``run_collection`` (``collection.run.Running``).

    Returns:
        what was done and how good it is.

    Raises:
        ValueError: for options that make no sense, a model that does not exist, or two videos that would share a file.
        ImportError: if the transcriber's package is missing; names the extra.
        TooManyFailures: once more videos failed than the budget allows.
    """
    root = Path(out).expanduser()
    _check_names(items)
    caption_lines([], max_chars)
    folder = transcribers.get(transcriber).find(listening.model)
    listening = replace(listening, model=str(folder))
    work = Captioning(root, transcriber, listening, max_chars, on_truncated)
    theirs = [] if overwrite else _of_others(items, root)
    left = set(theirs)
    summary: Summary = run_collection(
        [item for item in items if item.name not in left], work, root, name=JOB,
        options=_options(work, folder), is_done=lambda item, result: (root / caption_name(item.name)).is_file(),
        **running,
    )  # fmt: skip
    return report_of(summary, root, theirs, Path(reference).expanduser() if reference is not None else None)


def caption_name(video: str) -> str:
    """The caption file of a video, both by their paths below their folders."""
    return PurePosixPath(video).with_suffix(".srt").as_posix()


def _options(work: Captioning, folder: Path) -> dict[str, Any]:
    """What changes the result. Not where the model lies, but what it is; not how many threads, but how they count."""
    listening = asdict(work.listening) | {"model": digest_of_model(folder)}
    for name in ("device", "threads"):
        del listening[name]
    return {
        "version": _VERSION, "transcriber": work.transcriber, "max_chars": work.max_chars,
        "on_truncated": work.on_truncated, **listening,
    }  # fmt: skip


def _check_names(items: Sequence[Item]) -> None:
    seen: dict[str, str] = {}
    for item in items:
        name = caption_name(item.name)
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ValueError(f"video {item.name!r}: its captions would lie outside the folder of captions")
        if name in seen:
            raise ValueError(f"{seen[name]} and {item.name} would share {name}; keep one of them, or rename one")
        seen[name] = item.name


@lru_cache(maxsize=1)
def _loaded(transcriber: str, listening: Listening) -> Transcriber:
    """The model, loaded once in each process."""
    return transcribers.get(transcriber)(listening)


class _Clock:
    def __init__(self) -> None:
        self.wall, self.core = time.monotonic(), time.process_time()


def _announce(out: Path, name: str, data: bytes) -> None:
    """Notes what is about to be written, so that a file can be told from one of other origin even after kill -9."""
    file = _written(out)
    with exclusive(file):
        append_jsonl(file, [{"srt": name, "digest": _digest(data)}])


def _of_others(items: Sequence[Item], out: Path) -> list[str]:
    """Names of videos whose captions are there, and not as this job wrote them."""
    file = _written(out)
    rows = read_jsonl(file, drop_torn=True) if file.exists() else []
    ours = {(row["srt"], row["digest"]) for row in rows}
    theirs = []
    for item in items:
        name = caption_name(item.name)
        path = out / name
        if path.is_file() and (name, _digest(path.read_bytes())) not in ours:
            theirs.append(item.name)
    return theirs


def _written(out: Path) -> Path:
    return out / ".collection" / JOB / "written.jsonl"


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
