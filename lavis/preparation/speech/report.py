"""What captions of a collection are like, and what it took to make them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.io import read_text
from lavis.preparation.collection.summary import PROJECTED_HOURS, Summary
from lavis.preparation.speech.quality import LOOP_RATIO, UNSURE, Quality, pooled
from lavis.preparation.speech.word_errors import WordErrors, word_errors
from lavis.processors.subtitles import parse_srt


@dataclass(frozen=True, slots=True)
class Compared:
    """How captions compare with what is really said.

    Args:
        errors: of all videos together.
        videos: how many have a reference.
        worst: names of the videos with the highest rates, and these.
        lacking: how many videos have none.
    """

    errors: WordErrors
    videos: int
    worst: list[tuple[str, float]]
    lacking: int


@dataclass(frozen=True, slots=True)
class CaptionReport:
    """What ``extract_captions`` did, videos of earlier runs included.

    Args:
        summary: counts, failures and cost.
        theirs: names of videos whose captions are of other origin and were left as they are.
        quality: of all captions together.
        without_sound, without_speech: videos whose captions are empty for that reason.
        languages: how many videos are in each.
        damaged: videos with packets of sound that could not be decoded.
        spent: seconds of video, of decoding, of listening (both processor time) and of both by the clock.
        compared: against a reference, if there is one.
    """

    summary: Summary
    theirs: list[str]
    quality: Quality
    without_sound: int
    without_speech: int
    languages: dict[str, int]
    damaged: int
    spent: tuple[float, float, float, float]
    compared: Compared | None = None

    @property
    def times_real_time(self) -> float | None:
        """Seconds of video that a processor core gets through in a second, loading the model not counted."""
        seconds, decode, listen, _ = self.spent
        return seconds / (decode + listen) if decode + listen > 0 and seconds > 0 else None

    def to_json(self) -> dict[str, Any]:
        """All figures."""
        row = self.summary.to_json() | {
            "kept_of_other_origin": len(self.theirs), "without_sound": self.without_sound,
            "without_speech": self.without_speech, "with_damaged_sound": self.damaged, "languages": self.languages,
            "video_s": self.spent[0], "times_real_time_per_core": self.times_real_time,
            "quality": self.quality.to_json() | {"chars_per_s": self.quality.chars_per_s},
        }  # fmt: skip
        if self.compared is not None:
            found = self.compared
            row["reference"] = {
                "word_error_rate": found.errors.rate, "errors": found.errors.errors, "words": found.errors.words,
                "videos": found.videos, "without_reference": found.lacking,
            }  # fmt: skip
        return row

    def to_text(self) -> str:
        """The same for reading."""
        return "\n".join([self.summary.to_text(), *self._counts(), *self._quality(), *self._speed(), *self._errors()])

    def _counts(self) -> Iterator[str]:
        if self.theirs:
            shown = ", ".join(self.theirs[:3]) + (", ..." if len(self.theirs) > 3 else "")
            yield f"{len(self.theirs)} caption files of other origin left as they are (--overwrite): {shown}"
        yield f"empty captions: {self.without_sound} videos without sound, {self.without_speech} without speech"
        if self.damaged:
            yield f"{self.damaged} videos have damaged sound; silence stands in its place"
        if self.languages:
            yield "languages: " + ", ".join(f"{name} {count}" for name, count in self.languages.items())

    def _quality(self) -> Iterator[str]:
        q = self.quality
        yield "quality of the captions:"
        yield f"  lines                        {q.lines}"
        if not q.lines:
            return
        yield f"  share of time with a line    {_percent(q.line_s, self.spent[0])}"
        if q.voice_s is not None:
            yield f"  share of time with a voice   {_percent(q.voice_s, self.spent[0])}"
        yield f"  characters a second          {_number(q.chars_per_s, 1)}"
        yield f"  mean log probability         {_number(q.log_probability, 3)} ({q.unsure} utterances below {UNSURE:g})"
        yield f"  mean no-speech probability   {_number(q.no_speech, 3)}"
        yield f"  lines like the one before    {q.repeated} ({_percent(q.repeated, q.lines)})"
        yield f"  lines that loop              {q.loops} (compress more than {LOOP_RATIO:g} times)"

    def _speed(self) -> Iterator[str]:
        rate = self.times_real_time
        if rate is None:
            return
        seconds, decode, listen, wall = self.spent
        yield (
            f"speed: {rate:,.3g} x real time per core ({seconds / wall:,.3g} x by the clock, per process; "
            f"{decode / (decode + listen):.0%} of it decoding), loading the model not counted: {PROJECTED_HOURS:,} h "
            f"of video would take {PROJECTED_HOURS / rate:,.3g} core-hours"
        )

    def _errors(self) -> Iterator[str]:
        if self.compared is None:
            return
        found = self.compared
        rate = f"{found.errors.rate:.2%}" if found.errors.rate is not None else "-"
        yield (
            f"word error rate: {rate} ({found.errors.errors} errors, {found.errors.words} words of {found.videos} "
            f"references; {found.lacking} videos without one)"
        )
        yield from (f"  {value:8.2%}  {name}" for name, value in found.worst)


def report_of(summary: Summary, out: Path, theirs: Sequence[str], reference: Path | None) -> CaptionReport:
    """The report of a run.

    Args:
        summary: what the executor says.
        out: folder of the captions.
        theirs: names of videos whose captions were not made.
        reference: folder of what is really said.

    Raises:
        ValueError: if there is no such folder, or it has no file for any video.
    """
    results = [outcome.result for outcome in summary.done if outcome.result is not None]
    spent = tuple(sum(float(row[name]) for row in results) for name in _SPENT)
    qualities = [Quality.from_json(row["quality"]) for row in results]
    return CaptionReport(
        summary=summary, theirs=list(theirs), quality=pooled(qualities),
        without_sound=sum(not row["sound"] for row in results),
        without_speech=sum(row["sound"] and not row["quality"]["lines"] for row in results),
        languages=dict(Counter(row["language"] for row in results if row["language"]).most_common()),
        damaged=sum(row["damaged_packets"] > 0 for row in results),
        spent=(spent[0], spent[1], spent[2], spent[3]),
        compared=_compared([row["srt"] for row in results], out, reference) if reference is not None else None,
    )  # fmt: skip


_SPENT = ("duration_s", "decode_core_s", "listen_core_s", "listen_wall_s")


def _compared(names: Sequence[str], out: Path, reference: Path) -> Compared:
    if not reference.is_dir():
        raise ValueError(f"there is no folder of references {reference}")
    found: dict[str, WordErrors] = {}
    for name in names:
        truth = _reference_text(reference / name)
        if truth is not None:
            found[name] = word_errors(truth, _srt_text(out / name))
    if names and not found:
        raise ValueError(f"{reference} has no reference for any video, such as {Path(names[0]).with_suffix('.txt')}")
    rates = [(name, errors.rate) for name, errors in found.items() if errors.rate]
    worst = sorted(((name, rate) for name, rate in rates if rate is not None), key=lambda pair: -pair[1])[:5]
    return Compared(sum(found.values(), WordErrors()), len(found), worst, len(names) - len(found))


def _reference_text(srt: Path) -> str | None:
    if srt.is_file():
        return _srt_text(srt)
    text = srt.with_suffix(".txt")
    return read_text(text) if text.is_file() else None


def _srt_text(path: Path) -> str:
    return " ".join(line.text for line in parse_srt(read_text(path), path, digit_lines="text"))


def _percent(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole > 0 else "-"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
