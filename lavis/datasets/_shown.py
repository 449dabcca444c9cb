"""A question about a segment of a video, asked of the part of it that is shown (HawkEye's temporal rows).

The format ``hawkeye_it`` reads which part may be shown at most; what is shown is drawn anew each time a sample is read
in training, and only then it is known which option is right. Source: HawkEye (yellow-binary-tree/HawkEye); facts only.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

from lavis.datasets.formats._hawkeye_temporal import PLACES
from lavis.processors.samplers import WindowChoice, frame_number
from lavis.scoring.questions.text import LETTERS
from lavis.structures import Moment, Turn, VideoSample


def ask_of_part(sample: VideoSample, choice: WindowChoice, generator: random.Random) -> VideoSample:
    """The sample with the part that is shown as ``clip``, and with its question and answer.

    ``turns`` are the instruction (``system``), the question and the answer, which is learned; times in texts count from
    the start of the part, in seconds or in numbers of its frames. ``moments`` stay seconds of the video.

    Args:
        sample: of the format ``hawkeye_it``; one without a widest part (``extra["shown_window"]``) comes back as it is.
        choice: how much is shown.
        generator: where chance comes from.

    Raises:
        ValueError: if the segment has no length, or does not lie in the part; names the sample.
    """
    if "shown_window" not in sample.extra or not sample.moments:
        return sample
    (segment,) = sample.moments
    allowed = Moment(*sample.extra["shown_window"])
    extra = dict(sample.extra)
    try:
        if str(sample.kind).endswith("_choice"):
            window, option = choice.with_option(segment, allowed, generator)
            extra["answer_index"] = place = extra["option_keys"].index(option)
            about = sample.options[place]
            told = f"({LETTERS[place]}) {about}"
        else:
            window = choice.for_times(segment, allowed, generator)
            about = told = _filled(extra["template"], segment, window, choice.num_frames)
    except ValueError as error:
        raise ValueError(f"sample {sample.id}: {error}") from error
    # What is asked for is the segment, or else its caption, which the reader knows.
    asks = sample.answer is None
    query, said = (sample.query, told) if asks else (about, str(sample.answer))
    turns = [Turn("user", query), Turn("assistant", said, learned=True)]
    instruction = next(iter(extra.get("instructions", ())), "")
    if instruction:
        turns.insert(0, Turn("system", instruction))
    answer = about if asks else sample.answer
    return replace(sample, query=query, answer=answer, turns=turns, clip=window, extra=extra)


def _filled(template: str, segment: Moment, window: Moment, num_frames: int) -> str:
    """A text whose two places hold start and end of the segment."""
    bounds = iter((segment.start, segment.end))

    def written(place: re.Match[str]) -> str:
        seconds = next(bounds)
        number = place[0].endswith("d")
        value: float = frame_number(seconds, window, num_frames) if number else seconds - window.start
        return str(place[0] % value)

    return PLACES.sub(written, template)
