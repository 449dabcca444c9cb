"""Dense captioning of YouCook2 and ActivityNet Captions: SODA_c, CIDEr, METEOR, F1.

Two scripts are in use, and their figures differ on the same predictions: ``variant: mmduet`` and ``variant:
activitynet``; see ``lavis/scoring/captions/``. Both read every form. Words need pycocoevalcap (extra ``metrics``) and
Java; without them the figures of localisation still come out, and a note says why the others do not.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Literal

import numpy as np

from lavis.common.registry import registry
from lavis.scoring.base import Form, Pairs, Protocol, Scored, ScoringError, Tally, outside
from lavis.scoring.captions import activitynet, mmduet
from lavis.scoring.captions.dense import Events
from lavis.scoring.captions.stories import Story, Truth, answer_forms, in_seconds, truth_forms
from lavis.scoring.captions.texts import official, tolerant
from lavis.scoring.captions.tools import CaptionTools, caption_tools, captions_available, ngrams_available
from lavis.scoring.pairing import read
from lavis.scoring.reading import chosen_form, open_rows

_SIMILAR = 0.98
_NOTHING = Events(np.zeros((0, 2)), [])


@registry.protocols.register("dense_captioning")
class DenseCaptioning(Protocol[Story, Truth]):
    """SODA_c, METEOR, CIDEr and F1 of events with sentences, as the ActivityNet line or MMDuet computes them.

    Args:
        variant: ``activitynet`` (VTimeLLM's scripts) or ``mmduet``.
        more_annotations: a second file of truth, such as ``val_2.json`` of ActivityNet Captions (``activitynet``).
        text_times: unit of the times in answers such as ``From 3 to 10, a man cooks.``; ``mmduet`` reads those as its
            script does (``From`` with whole percents, else ``3.0 - 10.0 seconds, ...``).
        first_caption: MMDuet's first response of a video is discarded, or kept from 0 seconds on.
        merge_similar: join neighbouring predictions of nearly the same words, as VTimeLLM does.
        corrected: also ``SODA_c_corrected``, where METEOR gets the prediction as hypothesis.
        max_proposals: predictions of a video beyond these count for SODA alone (``activitynet``).
    """

    source = (
        "MMDuet (Wang et al., 2024) test/evaluate.py; VTimeLLM (Huang et al., 2024) dvc_eval: densevid_eval of "
        "ActivityNet Captions (Krishna et al., 2017) and SODA (Fujita et al., 2020)"
    )
    keys = tuple(dict.fromkeys((*activitynet.HEADLINE, *mmduet.HEADLINE)))
    missing = "drop"
    extra = "drop"

    def __init__(
        self,
        variant: Literal["activitynet", "mmduet"] = "activitynet",
        more_annotations: str | None = None,
        text_times: Literal["seconds", "percent"] = "seconds",
        first_caption: Literal["discard", "keep"] = "discard",
        merge_similar: bool = False,
        corrected: bool = False,
        max_proposals: int = 1000,
    ) -> None:
        if variant == "mmduet" and more_annotations is not None:
            raise ScoringError("several annotations are scored by variant activitynet only; leave out more_annotations")
        if max_proposals < 1:
            raise ScoringError(f"max_proposals must be at least 1, got {max_proposals}")
        self.variant = variant
        self.more_annotations = more_annotations
        self.text_times = text_times
        self.first_caption = first_caption
        self.merge_similar = merge_similar
        self.corrected = corrected
        self.max_proposals = max_proposals

    @property
    def answer_forms(self) -> Sequence[Form[Story]]:
        reader = official if self.variant == "mmduet" else tolerant
        return answer_forms(reader(self.text_times == "percent"), self.first_caption)

    @property
    def truth_forms(self) -> Sequence[Form[Truth]]:
        return truth_forms()

    def joined(self, truths: dict[str, Truth]) -> dict[str, Truth]:
        """Videos of either file, with the stories of both."""
        if self.more_annotations is None:
            return truths
        source = open_rows(self.more_annotations, "more_annotations")
        found = read(source, chosen_form(source, self.truth_forms, "annotations"))
        if found.broken:
            raise ScoringError("the truth cannot be read: " + "; ".join(problem for _, problem in found.broken[:5]))
        more = {truth.id: truth for truth in found.records}
        both = {}
        for name in dict.fromkeys((*truths, *more)):
            first, second = truths.get(name), more.get(name)
            known = first or second
            assert known is not None
            told = [None if truth is None else truth.references[0] for truth in (first, second)]
            both[name] = Truth(name, known.video, tuple(told))
        return both

    def checked(self, answer: Story, truth: Truth, tally: Tally, place: str) -> None:
        if not answer.readable:
            tally.add("unparseable", f"{place}: {answer.id!r}: events that cannot be read in its text")
        windows = in_seconds(answer, truth.duration, percent_first=self.variant == "mmduet").windows
        duration = truth.duration if truth.duration is not None else answer.duration
        if outside(windows, np.inf if duration is None else duration):
            tally.add("out_of_range", f"{place}: {answer.id!r} has a window outside its video, or reversed")

    def score(self, pairs: Pairs[Story, Truth]) -> Scored:
        predicted = [
            self.events(answer, truth.duration) for answer, truth in zip(pairs.answers, pairs.truths, strict=True)
        ]
        reason = captions_available()
        with ExitStack() as stack:
            tools = None if reason else stack.enter_context(caption_tools())
            found = self._scored(predicted, pairs.truths, tools)
        if reason:
            found.notes.append(f"SODA_c and the scores of words are not computed: {reason}")
        return found

    def _scored(self, predicted: list[Events], truths: list[Truth], tools: CaptionTools | None) -> Scored:
        if self.variant == "mmduet":
            videos = [
                mmduet.Video(events, _events(truth.stories[0])) for events, truth in zip(predicted, truths, strict=True)
            ]
            return mmduet.scored(videos, tools, ngrams_available() is None, self.corrected)
        told = [
            activitynet.Video(events, tuple(None if story is None else _events(story) for story in truth.references))
            for events, truth in zip(predicted, truths, strict=True)
        ]
        return activitynet.scored(told, tools, self.max_proposals, self.corrected)

    def events(self, answer: Story | None, duration: float | None) -> Events:
        """What an answer says, in seconds; nothing for none.

        Args:
            answer: as read.
            duration: seconds of the video, for answers in percent that do not know it.
        """
        if answer is None:
            return _NOTHING
        story = _without_repeats(answer) if self.merge_similar else answer
        return _events(in_seconds(story, duration, percent_first=self.variant == "mmduet"))


def _events(story: Story) -> Events:
    return Events(story.windows, list(story.captions))


def _without_repeats(story: Story) -> Story:
    """Neighbours of nearly the same words, at most 1 apart (in the unit of the answer), as one event."""
    windows: list[list[float]] = []
    captions: list[str] = []
    for (start, end), caption in zip(story.windows.tolist(), story.captions, strict=True):
        if captions and -1 <= start - windows[-1][1] <= 1 and _similar(captions[-1], caption):
            windows[-1][1] = end
        else:
            windows.append([start, end])
            captions.append(caption)
    array = np.array(windows) if windows else np.zeros((0, 2))
    return Story(story.id, story.video, array, tuple(captions), story.duration, story.unit, story.readable)


def _similar(one: str, other: str) -> bool:
    return difflib.SequenceMatcher(None, one, other).ratio() > _SIMILAR
