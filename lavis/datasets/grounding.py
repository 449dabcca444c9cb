"""``GroundingDataset``: an annotation file, a format that reads it, and a processor that decodes its videos.

Source: the moment retrieval datasets of CALCE (tjhd1475/CALCE) and MR.BLIP (sudo-Boris/mr-Blip), in one class. Unlike
theirs: videos and subtitles are looked for before the first step, the folder of the subtitles is given and not guessed,
nothing is replaced silently, paraphrases do not overwrite the annotations, and stage 2 joins predictions by id.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Literal, get_args

import torch

from lavis.common.registry import registry
from lavis.datasets._files import missing_message, missing_names
from lavis.datasets._folds import Fold
from lavis.datasets._selection import Selection
from lavis.datasets._shown import ask_of_part
from lavis.datasets.base import Item, MomentDataset, OnError, Processor
from lavis.datasets.formats.base import AnnotationFormat, check_choice
from lavis.datasets.prior import join_priors, read_priors
from lavis.processors.samplers import WindowChoice
from lavis.processors.subtitles import DigitLines, read_srt
from lavis.structures import VideoSample

OnMissingSubtitles = Literal["raise", "skip", "empty"]

log = logging.getLogger(__name__)


@registry.datasets.register("grounding")
class GroundingDataset(MomentDataset):
    """Queries on videos with the moments they mean.

    ``{split}`` is filled in in all paths. Samples carry all that a model or a report may want: raw query, subtitles and
    speech spans, nouns, prior, clip; the prompt is made by the model.

    Args:
        dataset_name: key in the configuration.
        split: key of ``annotations``.
        processor: decodes and transforms a sample's video.
        train: passed on to ``processor``; requires truth.
        format: reads the annotation file.
        annotations: split to file.
        videos: folder; a video is ``<videos>/<name><video_suffix>``, a picture (``extra["media"]``)
            ``<videos>/<name>``. A sample of text alone has no file, and an empty ``video``.
        video_suffix: ``.mp4``; ``""`` for folders of frames, or where names have their suffix.
        subtitles: folder of ``<name>.srt`` files; ``None``: no subtitles, no speech.
        prior: earlier predictions, joined by id; replaces what the annotations hold.
        on_bad_row: ``raise``, or ``skip`` rows of the annotations that are not of the format, and count them.
        on_decode_error: ``raise``, or ``skip`` the item and count it.
        on_missing_video: the same for files that are not there, found before the first step.
        on_missing_subtitles: ``raise``, ``skip`` the sample, or take it as ``empty`` (no speech).
        on_malformed_subtitles: ``raise``, or ``skip`` the entries that cannot be read, with a warning.
        digit_lines: what a line of digits in a subtitle file is, see ``read_srt``.
        shown_window: how much is shown around the segment of a sample whose annotation says what may be shown
            (``hawkeye_it``), drawn anew in each epoch; evaluation shows all of it. ``None``: no ``clip`` and no
            question is made of such samples.
        check_files: look for videos and subtitles now; turn off where listing the folders is slow.
        fix, keyword, no_keyword, random, subset, use_rewrite, seed, fold: see ``Selection``.

    Raises:
        ValueError: for any fault of the options, annotations, files or priors.
    """

    wiring = ("dataset_name", "split", "processor", "train")

    def __init__(
        self,
        *,
        dataset_name: str,
        split: str,
        processor: Processor,
        train: bool,
        format: AnnotationFormat,
        annotations: Mapping[str, str],
        videos: str,
        video_suffix: str = ".mp4",
        subtitles: str | None = None,
        prior: str | None = None,
        on_bad_row: OnError = "raise",
        on_decode_error: OnError = "raise",
        on_missing_video: OnError = "raise",
        on_missing_subtitles: OnMissingSubtitles = "raise",
        on_malformed_subtitles: OnError = "raise",
        digit_lines: DigitLines = "entry",
        shown_window: WindowChoice | None = None,
        check_files: bool = True,
        fix: Sequence[int | str] | None = None,
        keyword: Sequence[str] | None = None,
        no_keyword: Sequence[str] | None = None,
        random: int | None = None,
        subset: int | None = None,
        use_rewrite: bool = False,
        seed: int = 0,
        fold: Fold | None = None,
    ) -> None:
        where = f"datasets.{dataset_name}"
        check_choice(f"{where}.on_bad_row", on_bad_row, get_args(OnError))
        check_choice(f"{where}.on_decode_error", on_decode_error, get_args(OnError))
        check_choice(f"{where}.on_missing_video", on_missing_video, get_args(OnError))
        check_choice(f"{where}.on_missing_subtitles", on_missing_subtitles, get_args(OnMissingSubtitles))
        check_choice(f"{where}.on_malformed_subtitles", on_malformed_subtitles, get_args(OnError))
        check_choice(f"{where}.digit_lines", digit_lines, get_args(DigitLines))
        if split not in annotations:
            raise ValueError(f"{where}.annotations has no split {split!r}; it has {', '.join(annotations) or 'none'}")
        self.where = where
        self.processor = processor
        self.on_decode_error: OnError = on_decode_error
        self.on_missing_video = on_missing_video
        self.on_missing_subtitles = on_missing_subtitles
        self.on_malformed_subtitles: OnError = on_malformed_subtitles
        self.digit_lines: DigitLines = digit_lines
        self.shown_window = shown_window if train or shown_window is None else replace(shown_window, crop="none")
        self.videos = filled(videos, split)
        self.video_suffix = video_suffix
        self.subtitles = filled(subtitles, split) if subtitles is not None else None
        file = filled(annotations[split], split)
        read = format.read(file, split, on_bad_row)
        chosen = Selection(fix, keyword, no_keyword, random, subset, use_rewrite, seed, where, fold)
        samples = chosen.apply(read.samples, split, train)
        counts = Counter(read.counts)
        if train:
            self._require_truth(samples, file)
        if check_files:
            samples = self._with_files(samples, counts)
        if prior is not None:
            path = filled(prior, split)
            samples = join_priors(samples, read_priors(path), str(path))
        # As in the annotations: subtitles share them, which a picture has none of.
        self._names = ["" if _is_picture(s) else s.video for s in samples]
        # A sample of text alone has no file.
        paths = [str(self.videos / self._file_name(s)) if s.video else "" for s in samples]
        samples = [replace(s, video=path, dataset=dataset_name) for s, path in zip(samples, paths, strict=True)]
        super().__init__(dataset_name, split, train, samples, counts)

    def __getitem__(self, index: int) -> Item | None:
        sample = self.with_subtitles(index)
        if sample is None:
            self.mark_skipped(index)
            return None
        if self.shown_window is not None:
            # From the generator that the loader seeds for each sample and epoch.
            sample = ask_of_part(sample, self.shown_window, Random(int(torch.randint(2**62, ()))))
        return self.framed(index, sample, self.processor, self.on_decode_error)

    def set_epoch(self, epoch: int) -> None:
        """Passes the epoch on to the processor, in training: evaluation is the same in every epoch."""
        set_epoch = getattr(self.processor, "set_epoch", None)
        if self.train and set_epoch is not None:
            set_epoch(epoch)

    def with_subtitles(self, index: int) -> VideoSample | None:
        """A sample with its subtitles and speech spans read; ``None`` where they are missing and it is to be left out.

        Raises:
            SubtitleError: if the file cannot be parsed.
            ValueError: if there is none, under ``on_missing_subtitles: raise``.
        """
        sample = self.samples[index]
        if self.subtitles is None or not self._names[index]:
            return sample
        path = self._subtitle_file(index)
        if not path.exists():
            if self.on_missing_subtitles == "raise":
                raise ValueError(f"{self.where}, sample {sample.id}: there are no subtitles {path}. {SUBTITLE_CURE}")
            return sample if self.on_missing_subtitles == "empty" else None
        lines, speech = read_srt(path, digit_lines=self.digit_lines, on_malformed=self.on_malformed_subtitles)
        return replace(sample, subtitles=lines, speech=speech)

    def side_files(self, index: int) -> list[Path]:
        if self.subtitles is None or not self._names[index] or not self._subtitle_file(index).exists():
            return []
        return [self._subtitle_file(index)]

    def _subtitle_file(self, index: int) -> Path:
        assert self.subtitles is not None
        return self.subtitles / f"{self._names[index]}.srt"

    def _file_name(self, sample: VideoSample) -> str:
        """Of the video, below ``videos``; a picture has its suffix in the annotations."""
        return sample.video if _is_picture(sample) else f"{sample.video}{self.video_suffix}"

    def _require_truth(self, samples: Sequence[VideoSample], file: Path) -> None:
        without = next((s.id for s in samples if s.moments is None and s.answer is None and not s.turns), None)
        if without is not None:
            raise ValueError(f"{self.where}: {file} has no truth to train on (sample {without}). Choose another split")

    def _with_files(self, samples: list[VideoSample], counts: Counter[str]) -> list[VideoSample]:
        """The samples whose files are there, or may be missing; notes the others in ``counts``."""
        names = {self._file_name(s) for s in samples if s.video}
        gone = self._missing("videos", self.videos, names, self.on_missing_video == "raise", VIDEO_CURE)
        kept = [s for s in samples if not s.video or self._file_name(s) not in gone]
        counts["missing_videos"] = len(gone)
        counts["without_video"] = len(samples) - len(kept)
        if self.subtitles is not None:
            names = {f"{s.video}.srt" for s in kept if s.video and not _is_picture(s)}
            strict = self.on_missing_subtitles == "raise"
            gone = self._missing("subtitles", self.subtitles, names, strict, SUBTITLE_CURE)
            counts["missing_subtitles"] = len(gone)
            if self.on_missing_subtitles == "skip":
                silent = [s for s in kept if f"{s.video}.srt" in gone]
                kept = [s for s in kept if f"{s.video}.srt" not in gone]
                counts["without_subtitles"] = len(silent)
        if not kept:
            raise ValueError(f"{self.where}: not one of {len(samples)} samples has its files. {VIDEO_CURE}")
        return kept

    def _missing(self, key: str, folder: Path, names: set[str], strict: bool, cure: str) -> set[str]:
        try:
            gone = missing_names(folder, names)
        except (FileNotFoundError, NotADirectoryError):
            raise ValueError(f"{self.where}.{key}: there is no folder {folder}. {cure}") from None
        if gone:
            message = missing_message(f"{self.where}.{key}", key, folder, gone, len(names), cure)
            if strict:
                raise ValueError(message)
            log.warning("%s", message)
        return gone


VIDEO_CURE = (
    "Correct datasets.<name>.videos and video_suffix, or set LAVIS_DATA to the folder that holds the data; "
    "on_missing_video: skip leaves such samples out"
)
SUBTITLE_CURE = (
    "Correct datasets.<name>.subtitles, or set it to null for silent videos; "
    "on_missing_subtitles may be skip (leave the sample out) or empty (take it as silent)"
)


def _is_picture(sample: VideoSample) -> bool:
    return sample.extra.get("media") == "image"


def filled(path: str, split: str) -> Path:
    """A path with ``{split}`` filled in and ``~`` expanded."""
    return Path(path.replace("{split}", split)).expanduser()
