"""Question answering annotations as MR.BLIP has them, made from the releases of NExT-QA and NExT-GQA.

Source: the notebook ``mr_BLIP_data/data_preprocess.ipynb`` of MR.BLIP (sudo-Boris/mr-Blip). Unlike it: no pandas, no
moviepy, and an answer that is none of the options is an error and not the index -1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lavis.common.io import read_text
from lavis.datasets.formats._charades_text import read_durations
from lavis.datasets.formats._record import AnnotationError, Record, load_json
from lavis.preparation.annotations import Prepared, Row, write_rows
from lavis.preparation.annotations_mr_blip import read_table

V = TypeVar("V")

NUM_OPTIONS = 5
VIDEO_MAP = "map_vid_vidorID.json"


def prepare_nextqa(
    release: str | Path, videos: str | Path, out: str | Path, splits: Sequence[str] = ("train", "val")
) -> list[Prepared]:
    """MR.BLIP's annotations of NExT-QA: ``<split>.json``.

    Args:
        release: folder of ``<split>.csv`` and ``map_vid_vidorID.json``; with a ``durations.json`` (video to seconds)
            the videos are not opened.
        videos: folder of ``<video>.mp4``, whose lengths the release does not give.
        out: folder to write to.
        splits: which.

    Raises:
        AnnotationError: if a file is absent or a row does not fit; names file and row.
    """
    names = read_mapping(Path(release) / VIDEO_MAP)
    known = Path(release) / "durations.json"
    durations: Mapping[str, float] = read_durations(known) if known.exists() else FileDurations(Path(videos))
    done = []
    for split in splits:
        rows = list(nextqa_rows(Path(release) / f"{split}.csv", names, durations))
        done.append(Prepared(write_rows(Path(out) / f"{split}.json", rows), len(rows)))
    return done


def prepare_nextgqa(release: str | Path, out: str | Path, splits: Sequence[str] = ("val", "test")) -> list[Prepared]:
    """MR.BLIP's annotations of NExT-GQA: ``<split>.json``.

    Args:
        release: folder of ``<split>.csv``, ``gsub_<split>.json`` and ``map_vid_vidorID.json``.
        out: folder to write to.
        splits: which.

    Raises:
        AnnotationError: if a file is absent or a row does not fit; names file and row.
    """
    names = read_mapping(Path(release) / VIDEO_MAP)
    done = []
    for split in splits:
        spans = read_mapping(Path(release) / f"gsub_{split}.json")
        rows = list(nextgqa_rows(Path(release) / f"{split}.csv", names, spans))
        done.append(Prepared(write_rows(Path(out) / f"{split}.json", rows), len(rows)))
    return done


def nextqa_rows(table: Path, videos: Mapping[str, str], durations: Mapping[str, float]) -> Iterator[Row]:
    """Rows of NExT-QA (multiple choice).

    Args:
        table: ``train.csv`` or ``val.csv`` of the release; its answers are indices.
        videos: the release's number of a video to its file name (``map_vid_vidorID.json``).
        durations: seconds by file name.

    Raises:
        AnnotationError: if a video is unknown or an answer is no index.
    """
    for record in _questions(table, "video"):
        video = _lookup(record, "video", record.get("video"), videos, "the map of videos")
        record.check_inside(video, "video")
        if not str(record.get("answer")).isdecimal() or int(record.get("answer")) >= NUM_OPTIONS:
            raise record.error("answer", f"must be an index below {NUM_OPTIONS}", "Choose the file of NExT-QA")
        yield {
            "video": video,
            "duration": _lookup(record, "video", video, durations, "the table of durations"),
            **_question(record, "video"),
            "answer": int(record.get("answer")),
            "question": record.text("question") + "?",
        }


def nextgqa_rows(table: Path, videos: Mapping[str, str], spans: Mapping[str, Mapping[str, object]]) -> Iterator[Row]:
    """Rows of NExT-GQA (multiple choice with the moments that hold the answer).

    Args:
        table: ``val.csv`` or ``test.csv`` of the release; its answers are texts.
        videos: the release's number of a video to its file name.
        spans: ``gsub_<split>.json``: number of a video to ``{"location": {qid: windows}, "duration": seconds}``.

    Raises:
        AnnotationError: if a video is unknown, an answer is none of the options, or a question has no windows.
    """
    for record in _questions(table, "video_id"):
        options = [record.get(f"a{i}") for i in range(NUM_OPTIONS)]
        if record.get("answer") not in options:
            raise record.error("answer", f"{record.get('answer')!r} is none of the options", "Correct the row")
        span = spans.get(record.get("video_id"), {})
        locations = span.get("location", {})
        windows = locations.get(record.get("qid")) if isinstance(locations, Mapping) else None
        if windows is None or "duration" not in span:
            raise record.error("qid", "the spans have no moments for this question", "Take the file of the same split")
        video = _lookup(record, "video_id", record.get("video_id"), videos, "the map of videos")
        record.check_inside(video, "video_id")
        yield {
            "video": video,
            **_question(record, "video_id"),
            "answer": options.index(record.get("answer")),
            "question": record.text("question") + "?",
            "relevant_windows": windows,
            "duration": span["duration"],
        }


class FileDurations(Mapping[str, float]):
    """Seconds of the videos in a folder, to hundredths, read when asked for."""

    def __init__(self, folder: Path, suffix: str = ".mp4") -> None:
        self.folder = folder
        self.suffix = suffix
        self._known: dict[str, float] = {}

    def __getitem__(self, video: str) -> float:
        if video not in self._known:
            self._known[video] = file_duration(self.folder / f"{video}{self.suffix}")
        return self._known[video]

    def __contains__(self, video: object) -> bool:
        return (self.folder / f"{video}{self.suffix}").exists()

    def __iter__(self) -> Iterator[str]:
        return (str(path.relative_to(self.folder).with_suffix("")) for path in self.folder.rglob(f"*{self.suffix}"))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def file_duration(path: Path) -> float:
    """Seconds that the container of a video states, to hundredths.

    Raises:
        AnnotationError: if it cannot be opened, or states none.
    """
    import av

    try:
        with av.open(str(path)) as container:
            microseconds: int | None = container.duration
    except (OSError, av.FFmpegError) as error:
        raise AnnotationError(f"{path}: cannot be opened ({error}). Download the video again") from error
    if not microseconds:
        raise AnnotationError(f"{path}: states no duration. Give its seconds in durations.json")
    return round(microseconds / 1_000_000, 2)


def read_mapping(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        AnnotationError: if the file is absent or something else.
    """
    try:
        value = load_json(read_text(path), str(path))
    except FileNotFoundError:
        raise AnnotationError(f"there is no file {path}. It belongs to the release") from None
    if not isinstance(value, dict):
        raise AnnotationError(f"{path}: must be an object, got {type(value).__name__}. Choose another file")
    return value


def _question(record: Record, video: str) -> Row:
    options = {f"a{i}": f"{record.get(f'a{i}')}." for i in range(NUM_OPTIONS)}
    identity = "_".join((record.text("type"), record.text(video), record.text("qid")))
    return {"num_option": NUM_OPTIONS, "qid": identity, **options}


def _questions(table: Path, video: str) -> Iterator[Record]:
    columns = (video, "question", "answer", "qid", "type", *(f"a{i}" for i in range(NUM_OPTIONS)))
    for number, row in enumerate(read_table(table, columns), start=2):
        yield Record(row, table, f"line {number}", row["qid"])


def _lookup(record: Record, field: str, key: str, mapping: Mapping[str, V], what: str) -> V:
    if key not in mapping:
        raise record.error(field, f"{what} has no {key!r}", "Take the files of one release")
    return mapping[key]
