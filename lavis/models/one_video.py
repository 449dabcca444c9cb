"""One question about one video: what is asked for each kind of question, and what of the answer is wanted.

The sentences are those that MeCo (pangzss/MeCo) and E.T. Chat (PolyU-ChenLab/ETBench) ask on E.T. Bench, so that their
published weights are asked what they were trained to answer; finding a query (``localize``) is asked as the model's
own configuration says (``model.prompt.question``), and so is any kind that ``model.prompt.question_of_kind`` has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

import numpy as np

from lavis.models.codecs._marks import MATCH
from lavis.models.codecs._segments import EVENT
from lavis.models.prompts.chat import PLACEHOLDERS, Chat
from lavis.scoring.etbench.requests import GVQ, IN_MIND, OF_TASK
from lavis.scoring.meco.structural_tokens import StructuralTokens
from lavis.structures import Prediction, Subtitle, Turn, VideoSample

if TYPE_CHECKING:
    from lavis.models.video_llm import VideoLLM

LOCALIZE, HIGHLIGHTS, QUESTION, GROUNDED_QA = "localize", "highlights", "question", "grounded_qa"
SALIENCY, HIGHLIGHT = "saliency", "highlight_s"
"""Where a prediction has them: in ``details`` the curve, in ``scores`` the seconds of its peak."""
TOPIC = "daily activities"

_VIDEO = "You are given a video about {query}. "
_FIND = f"You are given a video about {TOPIC}. Watch the video carefully and find the "
_FORMAT = "The format of your response should be: "


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of question.

    Args:
        described: how models ask that write tokens for events; ``{query}`` is what the user gives.
        timed: how others ask, that write times.
        chosen: how ``described`` is where there are options, ``{options}``.
        optional: whether the user need not say anything.
        seeks: whether moments are wanted, so that an answer without any is no answer.
    """

    described: str
    timed: str
    chosen: str | None = None
    optional: bool = False
    seeks: bool = True


KINDS: Mapping[str, Kind] = {
    LOCALIZE: Kind("{query}", "{query}"),
    HIGHLIGHTS: Kind(
        _FIND + "highlight moment described by the sentence: '{query}'. Provide a detailed description of the moment.",
        _FIND + "highlight moment described by the sentence: '{query}'. " + _FORMAT + "'The highlight moment happens "
        "at <time>'. You must represent the time in seconds.",
    ),
    "actions": Kind(
        _FIND + "clips that show the action: '{query}'. " + OF_TASK["tal"],
        _FIND + "clips that show the action: '{query}'. " + _FORMAT + "'The action happens in <start time> - <end "
        "time>, <start time> - <end time>, ...'. You must represent start and end times in seconds.",
    ),
    "summary": Kind(
        _VIDEO + OF_TASK["evs"],
        _VIDEO + "Watch the video carefully and find the clips that summarize it. " + _FORMAT + "'The summary locates "
        "in <start time> - <end time>, <start time> - <end time>, ...'. You must represent start and end times in "
        "seconds.",
        optional=True,
    ),
    "dense_captioning": Kind(
        _VIDEO + OF_TASK["dvc"],
        _VIDEO + "Watch the video carefully and densely describe its events in time order. " + _FORMAT + "'<start "
        "time> - <end time> seconds, <description>.' You must represent start and end times in seconds.",
        optional=True,
    ),
    "step_captioning": Kind(
        _VIDEO + OF_TASK["slc"],
        _VIDEO + "Watch the video carefully and identify its key steps in time order. " + _FORMAT + "'<start time> - "
        "<end time> seconds, <step>.' You must represent start and end times in seconds.",
        optional=True,
    ),
    GROUNDED_QA: Kind(
        IN_MIND + OF_TASK["epm"],
        IN_MIND + "Give the answer and the times of the clip. " + _FORMAT + "'<answer>. The relevant event happens in "
        "<start time> - <end time>'. You must represent start and end times in seconds.",
        GVQ,
    ),
    QUESTION: Kind("{query}", "{query}", seeks=False),
}


def sample_of(
    model: VideoLLM,
    video: str,
    question: str,
    kind: str = LOCALIZE,
    options: Sequence[str] = (),
    times: Sequence[float] = (),
    subtitles: list[Subtitle] | None = None,
    speech: list[Any] | None = None,
    prior: list[Any] | None = None,
    items: Iterable[str] | None = None,
) -> VideoSample:
    """The question as the model takes it; arguments as for ``VideoLLM.ask``.

    Raises:
        VideoDecodeError: if the file cannot be read.
        ValueError: if the question cannot be asked; says why.
    """
    _check(model, question, kind, options, times)
    assert model.processor is not None
    duration = model.processor.duration(video)
    late = [time for time in times if not 0 <= time <= duration]
    if late:
        raise ValueError(f"the time {late[0]:g} s is not in the video, which lasts {duration:.6g} s")
    sample = VideoSample(
        id=f"{video}::{question}",
        video=str(video),
        query=question if question.strip() else TOPIC,
        duration=duration,
        subtitles=list(subtitles or []),
        speech=list(speech or []),
        prior=prior,
        items=list(items) if items is not None else [],
        options=list(options),
        kind=None if kind == LOCALIZE else kind,
        extra={"src": list(times)} if times else {},
    )
    if not isinstance(model.prompt, Chat) or kind == LOCALIZE or kind in model.prompt.question_of_kind:
        return sample
    text = question_text(kind, question, options, described=EVENT in model.codec.tokens)
    return replace(sample, turns=[Turn("user", text)])


def question_text(kind: str, question: str, options: Sequence[str] = (), *, described: bool = True) -> str:
    """What is asked: the sentence of a kind, with what the user gives.

    Args:
        kind: of ``KINDS``.
        question: query, topic or question; may be empty where the kind says so.
        options: answers to choose from.
        described: whether the model describes events, or writes their times.
    """
    own = KINDS[kind]
    listed = " ".join(f"({letter}) {option.strip()}" for letter, option in zip(ascii_uppercase, options, strict=False))
    query = question.strip() or TOPIC
    if options and described and own.chosen is not None:
        return own.chosen.format(query=query, options=listed)
    text = (own.described if described else own.timed).format(query=query)
    return f"{text}\n{listed}\nOnly give the best option." if options else text


def _check(model: VideoLLM, question: str, kind: str, options: Sequence[str], times: Sequence[float]) -> None:
    if kind not in KINDS:
        near = get_close_matches(kind, KINDS, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"there is no task {kind!r}. {hint}Known: {', '.join(KINDS)}")
    if not question.strip() and not KINDS[kind].optional:
        wanted = "a sentence that describes what to find" if KINDS[kind].seeks else "a question"
        raise ValueError(f"the query is empty; give {wanted}")
    for text in (question, *options):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(f"the query {text!r} holds bytes that are no UTF-8 text; type it again")
    if model.processor is None:
        raise ValueError("this model was built without a processor; build it with load_model_and_preprocess")
    if kind != LOCALIZE and not (isinstance(model.prompt, Chat) or (kind == QUESTION and options)):
        raise ValueError(
            f"this model's prompt ({type(model.prompt).__name__}) has one form of question, so that it cannot be asked "
            f"for {kind}; choose a model of conversations, such as meco or etchat"
        )
    _check_marks(model, question, options, times)
    if options and kind not in (QUESTION, GROUNDED_QA):
        raise ValueError(f"options belong to {QUESTION} and {GROUNDED_QA}, not to {kind}; leave them out")
    if not all(option.strip() for option in options) or len(options) == 1 or len(options) > len(ascii_uppercase):
        raise ValueError(f"there must be 2 to {len(ascii_uppercase)} options, none of them blank; got {list(options)}")


def _check_marks(model: VideoLLM, question: str, options: Sequence[str], times: Sequence[float]) -> None:
    """Tokens that stand for something in the video may be typed only where the user says what."""
    tokens = set(model.codec.tokens)
    for mark in (*sorted(tokens - {MATCH}), *PLACEHOLDERS):
        found = next((text for text in (question, *options) if mark in text), None)
        if found is not None:
            raise ValueError(f"{found!r:.80} holds {mark}, which stands for a part of the video; write it otherwise")
    marks = question.count(MATCH)
    if (marks or times) and MATCH not in tokens:
        raise ValueError(
            f"this model knows no {MATCH} for a time in its question; write the seconds in words, or choose a model "
            "such as meco or etchat"
        )
    if any(MATCH in option for option in options):
        raise ValueError(f"an option holds {MATCH}; write its times in seconds")
    if marks != len(times):
        raise ValueError(
            f"the question has {marks} {MATCH} for {len(times)} times; write {MATCH} where a time belongs, and give "
            "the seconds of each (--time)"
        )


def answered(model: VideoLLM, sample: VideoSample, prediction: Prediction) -> Prediction:
    """What of the answer belongs to the question: no moments where none were asked for, a peak for highlights."""
    kind = sample.kind or LOCALIZE
    if not KINDS[kind].seeks and prediction.malformed:
        return replace(prediction, moments=[], captions=[], malformed=False)
    return _with_highlight(model, sample, prediction) if kind == HIGHLIGHTS else prediction


def _with_highlight(model: VideoLLM, sample: VideoSample, prediction: Prediction) -> Prediction:
    best = next(iter(prediction.moments), None)
    if best is None or prediction.malformed:
        return prediction
    curve = _saliency(model, sample, prediction)
    inside = [(share, time) for time, share in curve if best.start <= time < best.end]
    # Of equal frames the first; a moment that is told without a curve is worth its middle.
    at = max(inside, key=lambda each: each[0])[1] if inside else (best.start + best.end) / 2
    scores = {**prediction.scores, HIGHLIGHT: at}
    details = {**prediction.details, SALIENCY: [list(point) for point in curve]} if curve else prediction.details
    return replace(prediction, scores=scores, details=details)


def _saliency(model: VideoLLM, sample: VideoSample, prediction: Prediction) -> list[tuple[float, float]]:
    """Seconds of each frame and its share of the events' probability; empty for models without such tokens."""
    told, grid_of = prediction.details, getattr(model.codec, "grid", None)
    if grid_of is None or not told.get("ent_inds") or not told.get("vl_sims") or told.get("scale") is None:
        return []
    places = sorted([*told["ent_inds"], *told["tst_inds"]])
    rows = np.asarray(told["vl_sims"], dtype=np.float32)
    events = np.array([places.index(place) for place in told["ent_inds"]], dtype=np.int64)
    shares = StructuralTokens(rows, events, float(told["scale"])).probabilities()[events].mean(axis=0)
    grid = grid_of(sample, len(shares))
    return [(grid.seconds(frame), float(share)) for frame, share in enumerate(shares)]


_FUNCTION_WORDS = frozenset(
    ("a an the is are was were be been being am of in on at to from by with for and or but as it its this that these "
    "those he she they his her their him them who which what while then there into onto over under up down out off "
    "some any do does did has have had will would can could about").split()
)


def content_words(query: str) -> list[str]:
    """Words of a query that are no function words, in order: a stand-in for annotated ``items``."""
    words = [word.strip(".,!?;:\"'()").lower() for word in query.split()]
    return list(dict.fromkeys(word for word in words if word and word not in _FUNCTION_WORDS))
