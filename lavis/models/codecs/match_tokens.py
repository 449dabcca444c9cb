"""A token for a time: ``<vid>`` stands in texts for the second of the frame that it is matched with.

Which frame that is, a head tells for every token of an answer (``frame_match``). Texts are given back with the seconds
written out, and windows are read from them as from any text about times.

Source: E.T. Chat (PolyU-ChenLab/ETBench). Differs: a frame is worth the second at which it is shown, also where frames
are not one second apart (``index_is_second`` has the original's count), and no answer makes reading fail.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lavis.common.registry import registry
from lavis.models.codecs._marks import MATCH, given_seconds, similarity_rows, with_frames
from lavis.models.codecs._segments import Grid
from lavis.models.codecs._window_text import whole
from lavis.models.codecs.base import TimeCodec, truth_of
from lavis.scoring.etbench.windows_text import SPAN
from lavis.scoring.etbench.windows_text import windows as windows_of
from lavis.structures import FrameRef, ModelOutput, Moment, Prediction, Text, TimedTokens, VideoSample

_NO_TIME = re.compile(r"\d{13,}")
"""Digits that are no seconds of a video; the parser of windows takes cubic time for them."""


@registry.codecs.register("match_tokens")
class MatchTokens(TimeCodec):
    """``<vid>`` for times: of questions in ``extra["src"]``, of answers in ``extra["tgt"]``, in seconds.

    A sample without a conversation is answered with its windows (``answer``), or, where ``extra["captions"]`` has one
    for each of them, with ``<vid> - <vid> seconds, caption.`` for each.

    Args:
        fps: frames a second that the model looks at, above 0.
        index_is_second: count frames as seconds even where a long video is looked at more coarsely, as the original.
        time_template: how a matched second is written into the text of a prediction, such as ``{}s``.
        answer: what is learned of a sample without a conversation; ``{windows}`` are its windows.

    Raises:
        ValueError: for a setting out of range.
    """

    tokens = (MATCH,)

    def __init__(
        self,
        fps: float = 1.0,
        index_is_second: bool = False,
        time_template: str = "{}",
        answer: str = "{windows} seconds.",
    ) -> None:
        if not fps > 0:
            raise ValueError(f"codec.fps must be above 0, got {fps}")
        if time_template.count("{}") != 1:
            raise ValueError(f"codec.time_template must hold {{}} once, for the seconds, got {time_template!r}")
        if answer.count("{windows}") != 1 or MATCH in answer:
            raise ValueError(f"codec.answer must hold {{windows}} once, and no {MATCH}, got {answer!r}")
        self.fps, self.index_is_second = fps, index_is_second
        self.time_template, self.answer = time_template, answer
        self._match: int | None = None

    def bind(self, tokenizer: Any) -> None:
        self._match = tokenizer.get_vocab().get(MATCH)

    def grid(self, sample: VideoSample, count: int) -> Grid:
        """The frames of a sample, of which there are ``count``."""
        return Grid.of(count, sample.window, self.fps, index_is_second=self.index_is_second)

    def turns(self, sample: VideoSample, tokens: TimedTokens, answer: bool) -> list[list[Text | FrameRef]]:
        """What each turn says; a match token points to the frames that are shown with its own round.

        Raises:
            ValueError: if the truth is missing, or times and match tokens are not equally many; names the sample.
        """
        written, targets = self._written(sample, answer)
        left = {True: given_seconds(sample, "src"), False: targets}
        for user in (True, False):
            self._check(sample, user, [text for own, text, _ in written if own is user], len(left[user]), answer)
        count = len(set(tokens.frames))
        grid, shown = self.grid(sample, count), len(tokens) // max(count, 1)
        said: list[list[Text | FrameRef]] = []
        for number, (user, text, learned) in enumerate(written):
            marks = text.count(MATCH)
            own, left[user] = left[user][:marks], left[user][marks:]
            first = count * max(min(number // 2, shown - 1), 0)
            said.append(with_frames(text, own, grid, sample, learned=learned, first=first))
        return said

    def _check(self, sample: VideoSample, user: bool, texts: Sequence[str], times: int, answer: bool) -> None:
        marks = sum(text.count(MATCH) for text in texts)
        # To ask on, times of what was said so far are enough; a question without tokens needs none.
        exact = answer or (user and marks > 0)
        if marks != times if exact else marks > times:
            who, name = ("user", "src") if user else ("assistant", "tgt")
            raise ValueError(
                f"sample {sample.id}: {marks} {MATCH} in what the {who} says ({' '.join(texts)!r:.60}), but "
                f"extra[{name!r}] has {times} times; {MATCH} stands for a time in the video: give one for each, or "
                "write it otherwise"
            )

    def _written(self, sample: VideoSample, answer: bool) -> tuple[list[tuple[bool, str, bool]], list[float]]:
        """Of each turn whether it is the user's, its text, and whether it is learned; and the times of all answers."""
        if sample.turns:
            turns = [(turn.role == "user", turn.text, turn.learned) for turn in sample.turns]
            last = max(i for i, (user, *_) in enumerate(turns) if user)
            return turns if answer else turns[: last + 1], self._targets(sample)
        asked = [(True, sample.query, False)]
        if not answer:
            return asked, []
        if sample.answer is not None and (sample.moments is None or MATCH in sample.answer):
            return [*asked, (False, sample.answer, True)], self._targets(sample)
        moments = truth_of(sample)
        if not moments:
            raise ValueError(f"sample {sample.id} has an empty list of moments; leave it out of the training split")
        return [*asked, (False, self._answer(sample, moments), True)], _bounds(moments)

    def _targets(self, sample: VideoSample) -> list[float]:
        """Times of the answers: the annotation's, or else the bounds of the windows where tokens speak of them."""
        told = [turn.text for turn in sample.turns if turn.role != "user"] or [sample.answer or ""]
        if "tgt" not in sample.extra and any(MATCH in text for text in told):
            return _bounds(sample.moments or [])
        return given_seconds(sample, "tgt")

    def _answer(self, sample: VideoSample, moments: Sequence[Moment]) -> str:
        window = f"{MATCH} - {MATCH}"
        captions = sample.extra.get("captions")
        if isinstance(captions, list) and len(captions) == len(moments):
            return " ".join(f"{window} seconds, {str(caption).strip().rstrip('.')}." for caption in captions)
        return self.answer.replace("{windows}", ", ".join([window] * len(moments)))

    def decode(self, output: ModelOutput, sample: VideoSample) -> Prediction:
        """The text with seconds in place of match tokens, and the windows it tells.

        Windows are ranges (``3 - 7``) and their like in the text; if it has none, matched times in pairs, or a lone one
        with the length of a frame. Without either there are no moments, and the answer counts as ``malformed``.

        ``details``: ``match_inds``, positions of match tokens among those of the answer; ``frames``, the frame of each;
        ``times``, its second; ``similarities``, its row over the frames. A token without a frame (a video without
        frames, a row that holds no numbers or does not exist) has ``None`` there, and stays ``<vid>`` in the text. So
        do all where text and tokens do not have equally many.
        """
        places = [i for i, token in enumerate(output.token_ids) if token == self._match]
        rows = similarity_rows(output)
        frames = [_frame(output.hidden.get("frames"), rows, place) for place in places]
        grid = self.grid(sample, rows.shape[1] if rows is not None else round(sample.window.length * self.fps))
        times = [None if frame is None else _shown(grid.seconds(frame)) for frame in frames]
        shares = None if rows is None else [None if f is None else rows[p] for p, f in zip(places, frames, strict=True)]
        details = {
            "match_inds": places,
            "frames": frames,
            "times": times,
            "similarities": [None if row is None else row.tolist() for row in shares or [None] * len(places)],
        }
        text, plain = output.text.strip(), output.text.strip()
        if text.count(MATCH) == len(places):
            seconds = [None if time is None else str(time) for time in times]
            plain = _filled(text, seconds)
            text = _filled(text, [None if s is None else self.time_template.replace("{}", s) for s in seconds])
        moments, captions = self._told(plain, [time for time in times if time is not None], grid)
        return Prediction(sample.id, moments, text, malformed=not moments, captions=captions, details=details)

    def _told(self, text: str, times: list[float], grid: Grid) -> tuple[list[Moment], list[str]]:
        """Moments and, if they are ranges with words behind them, captions."""
        text = _NO_TIME.sub("", text)
        found = windows_of(text)
        if found is not None:
            moments = [Moment(whole(start), whole(end)) for start, end in found.tolist()]
            captions = [_caption(piece) for piece in SPAN.split(text)[3::3]]
            return moments, captions if len(captions) == len(moments) and any(captions) else []
        if len(times) == 1:
            return [Moment(times[0], times[0] + grid.step)], []
        pairs = zip(times[0::2], times[1::2], strict=False)
        return [Moment(min(pair), max(pair)) for pair in pairs], []

    def encode(self, sample: VideoSample) -> list[Text]:
        raise ValueError(f"sample {sample.id}: match tokens need the frames they stand for; use the prompt chat")

    def format_time(self, seconds: float, sample: VideoSample) -> str:
        return str(_shown(seconds))

    def format_duration(self, sample: VideoSample) -> str:
        return str(_shown(sample.duration))

    def format_windows(self, moments: Sequence[Moment], sample: VideoSample) -> str:
        return ", ".join(f"{_shown(m.start)} - {_shown(m.end)}" for m in moments) + " seconds"

    def resolution(self, sample: VideoSample) -> float:
        return 1 / self.fps


def substituted(text: str, ids: Sequence[int], frames: Sequence[int], match: int, template: str = "{}") -> str:
    """A text with its match tokens written out, as the original does it.

    Args:
        text: what ``ids`` say, match tokens included.
        ids: of the answer.
        frames: matched with each of ``ids``; of those of match tokens, the number is written.
        match: id of the match token.
        template: how it is written; ``{}`` is the number.

    Raises:
        ValueError: if there is not one frame for each id, or the text has more or fewer match tokens than ``ids``.
    """
    if len(ids) != len(frames):
        raise ValueError(f"each token of an answer needs a frame, got {len(frames)} frames for {len(ids)} tokens")
    matched = [template.replace("{}", str(frame)) for token, frame in zip(ids, frames, strict=True) if token == match]
    if text.count(MATCH) != len(matched):
        raise ValueError(f"{text!r:.80} has {text.count(MATCH)} {MATCH}, but its ids have {len(matched)}")
    return _filled(text.strip(), matched)


def _bounds(moments: Sequence[Moment]) -> list[float]:
    return [float(bound) for moment in moments for bound in moment.to_list()]


def _filled(text: str, words: Sequence[str | None]) -> str:
    """The text with its match tokens replaced one by one; those for which there is ``None`` stay."""
    first, *rest = text.split(MATCH)
    return first + "".join((MATCH if word is None else word) + piece for word, piece in zip(words, rest, strict=True))


def _frame(frames: Any, rows: NDArray[np.float32] | None, place: int) -> int | None:
    """The frame matched at a position: what the head says, as far as it is a frame of the video."""
    if not isinstance(frames, Tensor) or frames.dim() != 1 or frames.is_complex() or place >= len(frames):
        return None
    if rows is not None and (place >= len(rows) or not bool(np.isfinite(rows[place]).all())):
        return None
    frame = float(frames[place])
    count = math.inf if rows is None else rows.shape[1]
    return int(frame) if math.isfinite(frame) and 0 <= frame < count else None


def _shown(seconds: float) -> float:
    """Seconds as they are written: to two decimals, whole ones without."""
    return whole(round(seconds, 2))


def _caption(piece: str) -> str:
    """What is said behind a range of seconds."""
    return re.sub(r"^\s*(?:seconds|s)\b", "", piece).strip().strip(",.;: \n")
