"""Answers without times: ``<ent>`` closes what is said of an event, ``<tst>`` stands for what lies between events.

Where they are is told by a head that compares these tokens with the frames (``structure_contrast``). Time is found
from its similarities as MeCo's metric scripts do it (``lavis/scoring/meco``), so that a model answers with windows by
itself, and its prediction files can be scored by those scripts as well.

Source: MeCo (pangzss/MeCo, arXiv 2503.09027).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from lavis.common.registry import registry
from lavis.models.codecs._marks import MATCH, given_seconds, refuse_tokens, similarity_rows, with_frames
from lavis.models.codecs._segments import EVENT, TRANSITION, Grid, as_written, marked, with_transitions
from lavis.models.codecs.base import TimeCodec, truth_of
from lavis.scoring.base import RowError
from lavis.scoring.meco.grounding import clip_scores
from lavis.scoring.meco.structural_tokens import StructuralTokens as Similarities
from lavis.scoring.meco.structural_tokens import boundaries, event_captions
from lavis.structures import FrameRef, ModelOutput, Moment, Prediction, Text, TimedTokens, VideoSample

_LARGEST = 1e30
"""Similarities, scaled, below which their powers can be compared."""


@registry.codecs.register("structural_tokens")
class StructuralTokens(TimeCodec):
    """Structural tokens in answers, ``<vid>`` for seconds in questions (``extra["src"]``).

    Args:
        fps: frames a second that the model looks at, above 0.
        threshold: a frame belongs to an event if its similarity, stretched to 0..1, is above this.
        nms: windows that overlap a better one by this IoU or more are suppressed.
        compare: whether a frame also has to be as likely as under every other token; and windows grow by a frame.
        confidence: what windows are ranked by: the ``cosine`` of the event, as MeCo ranks on E.T. Bench, or its
            ``probability`` over frames, as on Charades-STA and QVHighlights.
        suppressed: ``zero`` keeps suppressed windows with the score 0, as the original; ``drop`` leaves them out.
        strip: how ``<tst>`` is taken off captions: as a ``marker``, or by its ``characters`` as the original does.
        index_is_second: count frames as seconds even where a long video is looked at more coarsely, as the original.
        answer: what is learned for an event of a sample without a conversation; ``{query}`` is the query.
        whole_video: whether an answer without a window means all of the video; such answers count as ``malformed``.

    Raises:
        ValueError: for a setting out of range.
    """

    tokens = (MATCH, EVENT, TRANSITION)

    def __init__(
        self,
        fps: float = 1.0,
        threshold: float = 0.7,
        nms: float = 0.7,
        compare: bool = True,
        confidence: Literal["cosine", "probability"] = "cosine",
        suppressed: Literal["zero", "drop"] = "drop",
        strip: Literal["marker", "characters"] = "marker",
        index_is_second: bool = False,
        answer: str = "{query}",
        whole_video: bool = True,
    ) -> None:
        if not fps > 0 or not 0 <= threshold < 1 or not 0 < nms <= 1:
            raise ValueError(
                "codec.fps must be above 0, codec.threshold in [0, 1) and codec.nms in (0, 1], got "
                f"{fps}, {threshold} and {nms}"
            )
        if suppressed not in ("zero", "drop") or strip not in ("marker", "characters"):
            raise ValueError(
                f"codec.suppressed is zero or drop, codec.strip marker or characters; got {suppressed} and {strip}"
            )
        if confidence not in ("cosine", "probability"):
            raise ValueError(f"codec.confidence is cosine or probability, got {confidence}")
        self.fps, self.threshold, self.nms, self.compare = fps, threshold, nms, compare
        self.confidence: Literal["cosine", "probability"] = confidence
        self.suppressed: Literal["zero", "drop"] = suppressed
        self.strip: Literal["marker", "characters"] = strip
        self.index_is_second, self.answer, self.whole_video = index_is_second, answer, whole_video
        self._ids: dict[int, str] = {}

    def bind(self, tokenizer: Any) -> None:
        known = tokenizer.get_vocab()
        self._ids = {known[token]: token for token in (EVENT, TRANSITION) if token in known}

    def turns(self, sample: VideoSample, tokens: TimedTokens, answer: bool) -> list[list[Text | FrameRef]]:
        grid = self.grid(sample, len(set(tokens.frames)))
        written = [(turn.role == "user", turn.text) for turn in sample.turns] or [(True, sample.query)]
        if not sample.turns and answer:
            events = [self.answer.replace("{query}", sample.query.strip()) + EVENT for _ in truth_of(sample)]
            written.append((False, "\n".join(events)))
        if not answer:
            written = written[: 1 + max(i for i, (user, _) in enumerate(written) if user)]
        source = given_seconds(sample, "src")
        said: list[list[Text | FrameRef]] = []
        for user, text in written:
            if user:
                refuse_tokens(text, (EVENT, TRANSITION), sample)
                count = text.count(MATCH)
                said.append(with_frames(text, source[:count], grid, sample))
                source = source[count:]
            else:
                said.append(self._answer(sample, text, grid) if EVENT in text else [Text(text, learned=True)])
        if source and any(user and MATCH in text for user, text in written):
            raise ValueError(
                f"sample {sample.id}: extra['src'] has {len(source)} times too many for {MATCH} of the user; give "
                "one for each"
            )
        return said

    def grid(self, sample: VideoSample, count: int) -> Grid:
        """The frames of a sample, of which there are ``count``."""
        return Grid.of(count, sample.window, self.fps, index_is_second=self.index_is_second)

    def _answer(self, sample: VideoSample, text: str, grid: Grid) -> list[Text | FrameRef]:
        windows = [(float(m.start), float(m.end)) for m in truth_of(sample)]
        given = sample.extra.get("tst_windows")
        try:
            if given is None:
                parts, found = with_transitions(text, windows, grid.end)
            else:
                parts, found = as_written(text, windows, [(float(a), float(b)) for a, b in given])
        except ValueError as error:
            raise ValueError(f"sample {sample.id}: {error}; correct the annotation") from error
        return marked(parts, grid.frames(found))

    def decode(self, output: ModelOutput, sample: VideoSample) -> Prediction:
        """Windows of the events with what is said of each, best first; ``details`` are MeCo's fields of a prediction.

        ``frame_scores`` rate clips of two seconds by how likely they are under the events. Without an event that has a
        window (no structural token, similarities that are all equal, or no numbers) the answer is that of
        ``whole_video``.
        """
        places = [(i, self._ids[token]) for i, token in enumerate(output.token_ids) if token in self._ids]
        table, scale = similarity_rows(output), _scale_of(output)
        places = [] if table is None else [(i, token) for i, token in places if i < len(table)]
        if table is None or not len(places):
            return self._nothing(output, sample, {"ent_inds": [], "tst_inds": [], "vl_sims": [], "scale": scale})
        rows = table[[place for place, _ in places]]
        details = {
            "ent_inds": [place for place, token in places if token == EVENT],
            "tst_inds": [place for place, token in places if token == TRANSITION],
            "vl_sims": rows.tolist(),
            "scale": scale,
        }
        events = np.array([i for i, (_, token) in enumerate(places) if token == EVENT], dtype=np.int64)
        own = Similarities(rows, events, scale)
        if scale is None or not rows.shape[1] or not float(np.abs(rows).max()) * max(abs(scale), 1) < _LARGEST:
            return self._nothing(output, sample, details)
        found = boundaries(
            own,
            self.threshold,
            self.nms,
            compare=self.compare,
            dilate=self.compare,
            confidence=self.confidence,
            suppressed=self.suppressed,
        )
        if not len(found.boxes):
            return self._nothing(output, sample, details)
        grid = self.grid(sample, rows.shape[1])
        end = sample.window.end  # which the last frames may lie behind, by the tolerance of the grid
        moments = [
            Moment(min(grid.seconds(a), end), min(grid.seconds(b), end), float(score))
            for (a, b), score in zip(found.boxes.tolist(), found.scores.tolist(), strict=True)
        ]
        clips = clip_scores(own.probabilities()[events]).tolist() if len(events) else []
        captions = self._captions(output.text, found.events)
        return Prediction(sample.id, moments, output.text, frame_scores=clips, captions=captions, details=details)

    def _captions(self, text: str, events: Any) -> list[str]:
        try:
            captions = event_captions(text, events, strip=self.strip)
        except RowError:
            return []
        return captions if any(captions) else []

    def _nothing(self, output: ModelOutput, sample: VideoSample, details: dict[str, Any]) -> Prediction:
        moments = [Moment(sample.window.start, sample.window.end, 0.0)] if self.whole_video else []
        return Prediction(sample.id, moments, output.text, malformed=True, details=details)

    def encode(self, sample: VideoSample) -> list[Text]:
        raise ValueError(
            f"sample {sample.id}: structural tokens need the frames they stand for; use the prompt chat"
        )

    def format_time(self, seconds: float, sample: VideoSample) -> str:
        return f"{seconds:g}"

    def format_duration(self, sample: VideoSample) -> str:
        return f"{sample.duration:g}"

    def format_windows(self, moments: Sequence[Moment], sample: VideoSample) -> str:
        return ", ".join(f"{m.start:g} - {m.end:g} seconds" for m in moments)

    def resolution(self, sample: VideoSample) -> float:
        return 1 / self.fps


def _scale_of(output: ModelOutput) -> float | None:
    """What similarities are multiplied by; ``None`` if that is no number."""
    scale = output.hidden.get("scale")
    if not isinstance(scale, Tensor) or scale.numel() != 1 or scale.is_complex():
        return None
    number = float(scale)
    return number if math.isfinite(number) else None
