"""Annotations as MR.BLIP has them, made from the data sets' own releases.

Source: the notebook ``mr_BLIP_data/data_preprocess.ipynb`` of MR.BLIP (sudo-Boris/mr-Blip): QVHighlights, Charades-STA
with its split of 800 validation videos, ActivityNet Captions (NExT-QA: ``annotations_qa.py``). TACoS, for which
MR.BLIP has a configuration but no conversion, is ours. Unlike the notebook: no pandas, no work at import, paths are
arguments.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from lavis.common.io import read_text
from lavis.datasets.formats._charades_text import LINE, read_durations
from lavis.datasets.formats._record import AnnotationError, Record, each_sentence, read_lines, read_records, read_videos
from lavis.preparation.annotations import DUMMY_WINDOWS, Prepared, Row, Unit, in_unit, windows_of, write_rows

VALIDATION_VIDEOS = 800
ACTIVITYNET_FILES = {"train": "train", "val": "val_1", "test": "val_2"}
"""Which file of ActivityNet Captions MR.BLIP takes for which split."""


def prepare_qvhighlights(
    release: str | Path, out: str | Path, splits: Sequence[str] = ("train", "val", "test")
) -> list[Prepared]:
    """MR.BLIP's annotations of QVHighlights: ``train.json``, ``val.json``, ``test_dummy.json``.

    Args:
        release: folder of ``highlight_<split>_release.jsonl``.
        out: folder to write to.
        splits: which.
    """
    done = []
    for split in splits:
        records = read_records(Path(release) / f"highlight_{split}_release.jsonl")
        name = "test_dummy" if split == "test" else split
        done.append(_write(Path(out) / f"{name}.json", qvhighlights_rows(records, test=split == "test")))
    return done


def prepare_charades(
    release: str | Path, out: str | Path, splits: Sequence[str] = ("train", "test"), *, own_split: bool = False
) -> list[Prepared]:
    """MR.BLIP's annotations of Charades-STA: ``train.json`` (whole seconds), ``test_float.json``.

    Args:
        release: folder of ``charades_sta_<split>.txt`` and ``Charades_v1_<split>.csv``.
        out: folder to write to.
        splits: which.
        own_split: also ``new_train.json`` and ``new_val_float.json``, with 800 videos of train to validate on.
    """
    done = []
    for split in splits:
        text, table = Path(release) / f"charades_sta_{split}.txt", Path(release) / f"Charades_v1_{split}.csv"
        train = split == "train"
        name = "train" if train else f"{split}_float"
        done.append(_write(Path(out) / f"{name}.json", charades_rows(text, table, round_windows=train)))
        if train and own_split:
            kept, held_out = map(set, charades_split(table))
            rows = charades_rows(text, table, videos=kept)
            done.append(_write(Path(out) / "new_train.json", rows))
            rows = charades_rows(text, table, round_windows=False, videos=held_out)
            done.append(_write(Path(out) / "new_val_float.json", rows))
    return done


def prepare_activitynet(
    release: str | Path, out: str | Path, splits: Sequence[str] = ("train", "val", "test")
) -> list[Prepared]:
    """MR.BLIP's annotations of ActivityNet Captions: ``train.json`` (whole seconds), ``{val,test}_float.json``.

    Args:
        release: folder of ``train.json``, ``val_1.json`` (becomes ``val``) and ``val_2.json`` (``test``).
        out: folder to write to, another one.
        splits: which.
    """
    return [
        _write(
            Path(out) / ("train.json" if split == "train" else f"{split}_float.json"),
            activitynet_rows(
                read_videos(Path(release) / f"{ACTIVITYNET_FILES[split]}.json"), round_windows=split == "train"
            ),
        )
        for split in splits
    ]


def activitynet_file(release: Path, split: str) -> Path:
    """The file of a split of ActivityNet Captions, as MR.BLIP divides them.

    Raises:
        AnnotationError: if there is no such split.
    """
    if split not in ACTIVITYNET_FILES:
        raise AnnotationError(f"ActivityNet Captions has no split {split!r}. Choose of {', '.join(ACTIVITYNET_FILES)}")
    return release / f"{ACTIVITYNET_FILES[split]}.json"


def prepare_tacos(
    release: str | Path, out: str | Path, splits: Sequence[str] = ("train", "val", "test")
) -> list[Prepared]:
    """Annotations of TACoS in the same form: ``train.json`` (whole seconds), ``{val,test}_float.json``.

    Args:
        release: folder of ``<split>.json``, times in frames.
        out: folder to write to, another one.
        splits: which.
    """
    return [
        _write(
            Path(out) / ("train.json" if split == "train" else f"{split}_float.json"),
            tacos_rows(read_videos(Path(release) / f"{split}.json"), round_windows=split == "train"),
        )
        for split in splits
    ]


def qvhighlights_rows(records: Iterable[Record], *, test: bool = False, unit: Unit = "seconds") -> Iterator[Row]:
    """Rows of QVHighlights (``train.json``, ``val.json``, ``test_dummy.json``), windows as released.

    Args:
        records: rows of the release.
        test: whether to write ``DUMMY_WINDOWS``.
        unit: of the windows; the published weights use seconds.
    """
    for record in records:
        yield {
            "video": record.text("vid"),
            "qid": f"QVHighlight_{record.whole_number('qid')}",
            "query": record.text("query"),
            "duration": record.positive("duration"),
            "relevant_windows": DUMMY_WINDOWS if test else in_unit(windows_of(record), record, unit),
        }


def charades_rows(
    text: Path,
    table: Path,
    *,
    round_windows: bool = True,
    unit: Unit = "seconds",
    videos: Collection[str] | None = None,
) -> Iterator[Row]:
    """Rows of Charades-STA, ids ``CharadesSTA_<video>_<k>``; ends are cut to the video, durations are not rounded.

    Reversed windows (four in train) stay, as in MR.BLIP.

    Args:
        text: ``charades_sta_<split>.txt``.
        table: ``Charades_v1_<split>.csv``.
        round_windows: whole seconds (``train.json``), or as annotated (``test_float.json``). Relative windows in
            percent are cut off and not rounded.
        unit: of the windows.
        videos: those to take; ``None``: all.
    """
    durations = read_durations(table)
    objects = {
        row["id"]: row["objects"].split(";") if row["objects"] else [] for row in read_table(table, ("id", "objects"))
    }
    counts: dict[str, int] = {}
    for number, line in read_lines(text):
        record = Record({}, text, f"line {number}")
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise record.error(
                None, f"must be 'video start end##query', got {line!r:.80}", "Correct or remove the line"
            )
        video = match["video"]
        if videos is not None and video not in videos:
            continue
        if video not in durations:
            raise record.error("duration", f"{table} has no video {video!r}", "Take the file of the same split")
        duration = durations[video]
        window = [float(match["start"]), min(float(match["end"]), duration)]
        k = counts[video] = counts.get(video, -1) + 1
        yield {
            "video": video,
            "qid": f"CharadesSTA_{video}_{k}",
            "query": match["query"],
            "duration": duration,
            "relevant_windows": [_charades_window(window, duration, round_windows, unit)],
            "objects": objects[video],
        }


def charades_split(table: Path, num_videos: int = VALIDATION_VIDEOS, seed: int = 42) -> tuple[list[str], list[str]]:
    """MR.BLIP's own split of Charades-STA's training videos.

    Returns:
        Videos to train on, and ``num_videos`` to validate on.
    """
    videos = list(dict.fromkeys(row["id"] for row in read_table(table, ("id",))))
    random.Random(seed).shuffle(videos)
    return videos[num_videos:], videos[:num_videos]


def activitynet_rows(videos: Iterable[Record], *, round_windows: bool = True, unit: Unit = "seconds") -> Iterator[Row]:
    """Rows of ActivityNet Captions, ids ``ActivityNet_<video>_<k>``.

    Args:
        videos: entries of ``train.json``, ``val_1.json`` (validation) or ``val_2.json`` (test).
        round_windows: whole seconds (train), or floats (the others).
        unit: of the windows.
    """
    for record in _sentences(videos, "ActivityNet_"):
        windows = [[float(bound) for bound in window] for window in windows_of(record)]
        if unit == "seconds" and round_windows:
            windows = [[round(bound) for bound in window] for window in windows]
        yield {
            "video": record.text("video"),
            "qid": record.id,
            "query": record.text("sentences"),
            "duration": record.positive("duration"),
            "relevant_windows": in_unit(windows, record, unit),
        }


def tacos_rows(videos: Iterable[Record], *, round_windows: bool = True) -> Iterator[Row]:
    """Rows of TACoS in seconds, ids ``TACoS_<video>_<k>``, ends cut to the video; there is no original to be equal to.

    Args:
        videos: entries whose times are frames, with ``fps`` and ``num_frames``.
        round_windows: whole seconds, or floats.
    """
    for record in _sentences(videos, "TACoS_"):
        fps = record.positive("fps")
        duration = record.positive("num_frames") / fps
        [[start, end]] = windows_of(record)
        window = [start / fps, min(end / fps, duration)]
        yield {
            "video": record.text("video").removesuffix(".avi"),
            "qid": record.id,
            "query": record.text("sentences"),
            "duration": duration,
            "relevant_windows": [[round(bound) for bound in window] if round_windows else window],
        }


def _write(path: Path, rows: Iterable[Row]) -> Prepared:
    listed = list(rows)
    return Prepared(write_rows(path, listed), len(listed))


def _charades_window(window: list[float], duration: float, round_windows: bool, unit: Unit) -> list[float]:
    if unit == "seconds":
        return [round(bound) for bound in window] if round_windows else window
    if unit == "fraction":
        return [round(bound / duration, 2) for bound in window]
    return [int(bound / duration * 100) for bound in window]


def _sentences(videos: Iterable[Record], prefix: str) -> Iterator[Record]:
    for video in videos:
        for record in each_sentence(video, prefix + video.text("video").removesuffix(".avi")):
            fields = {**record.fields, "relevant_windows": [record.get("timestamps")]}
            yield Record(fields, record.path, record.row, record.id)


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file that has at least these columns.

    Raises:
        AnnotationError: if the file or a column is missing.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path)))
    except FileNotFoundError:
        raise AnnotationError(f"there is no table {path}. Correct the path") from None
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise AnnotationError(
            f"{path}: has no column {', '.join(missing)}; it has {', '.join(reader.fieldnames or ())}"
        )
    return list(reader)
