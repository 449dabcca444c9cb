"""How often, and on what, a model is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from lavis.models.localizers.coarse_to_fine import CoarseToFine
from lavis.models.localizers.locate_then_answer import LocateThenAnswer
from lavis.models.video_llm import VideoLLM
from lavis.structures import Batch, Moment, Prediction
from tests.toy_models import batch, sample, toy_model
from tests.video_factory import write_video

FINE = {"name": "interleaved", "show_prior": True}


class Pointing:
    """A coarse model that always points at the same moment."""

    processor = None

    def __init__(self, *moments: Moment) -> None:
        self.moments = list(moments)
        self.asked = 0

    def generate(self, batch: Batch) -> list[Prediction]:
        self.asked += 1
        return [Prediction(s.id, self.moments) for s in batch.samples]


def test_coarse_to_fine_fills_the_prior() -> None:
    coarse = Pointing(Moment(4, 10), Moment(20, 22))
    model = toy_model(prompt=FINE)
    model.localizer = CoarseToFine(coarse, max_prior=1)  # type: ignore[arg-type]
    seen = []
    answer = model.answer
    model.answer = lambda b, g=None: seen.append(b.samples) or answer(b, g)  # type: ignore[method-assign, func-returns-value]
    assert [p.id for p in model.generate(batch(sample("a")))] == ["a"]
    assert seen[0][0].prior == [Moment(4, 10)]


def test_given_priors_are_used_as_they_are() -> None:
    coarse = Pointing(Moment(4, 10))
    model = toy_model(prompt=FINE)
    model.localizer = CoarseToFine(coarse)  # type: ignore[arg-type]
    model.generate(batch(sample("a", prior=[Moment(0, 2)])))
    assert coarse.asked == 0


def test_a_second_stage_alone_says_what_is_missing() -> None:
    model = toy_model(prompt=FINE, localizer={"name": "coarse_to_fine"})
    with pytest.raises(ValueError, match="no earlier stage is attached"):
        model.generate(batch(sample("a")))


ANSWERING = {"prompt": {"name": "question_answer"}, "codec": {"name": "option_letter"}, "subtitle_choice": None}
ASKED = {"options": ["a dog", "a man"], "answer": "1", "duration": 32}


def frames_seen(model: VideoLLM) -> list[list[float]]:
    """Times of the frames of each sample the model is asked about from now on."""
    seen: list[list[float]] = []
    answer = model.answer

    def noting(data: Batch, generation: object = None) -> list[Prediction]:
        seen.extend(frames.times for frames in data.views["frames"])
        return answer(data)

    model.answer = noting  # type: ignore[method-assign, assignment]
    return seen


@pytest.mark.parametrize(
    ("window", "looked_at", "expected"),
    [
        (Moment(8, 20), Moment(8, 20), [8.0, 16.0]),
        (Moment(13, 25), Moment(13, 25), [16.0, 24.0]),
        (Moment(20, 90), Moment(20, 32), [16.0, 24.0]),
        (Moment(5, 5), Moment(5, 32), [8.0, 16.0, 24.0]),
        (Moment(40, 50), Moment(0, 32), [0.0, 8.0, 16.0, 24.0]),
        (Moment(-1, -1), Moment(0, 32), [0.0, 8.0, 16.0, 24.0]),
    ],
)
@pytest.mark.parametrize("attached", [True, False], ids=["coarse", "prior"])
def test_answers_come_from_frames_of_the_moment(
    window: Moment, looked_at: Moment, expected: list[float], attached: bool
) -> None:
    model = toy_model(**ANSWERING)
    model.localizer = LocateThenAnswer(Pointing(window) if attached else None)  # type: ignore[arg-type]
    asked = sample("a", prior=None if attached else [window, Moment(0, 2)], **ASKED)
    seen = frames_seen(model)
    (prediction,) = model.generate(batch(asked, num_frames=4))
    assert seen == [expected]
    assert (prediction.id, prediction.moments) == ("a", [looked_at])


def test_without_a_moment_the_whole_video_is_looked_at_and_thinned() -> None:
    model = toy_model(**ANSWERING)
    model.localizer = LocateThenAnswer(num_frames=3)
    seen = frames_seen(model)
    (prediction,) = model.generate(batch(sample("a", **ASKED), num_frames=8))
    assert seen == [[0.0, 12.0, 28.0]]
    assert prediction.moments == [Moment(0, 32)]


def test_training_sees_the_frames_of_the_moment() -> None:
    model = toy_model(**ANSWERING)
    whole, part = (batch(sample("a", prior=[m], **ASKED), num_frames=8) for m in (Moment(0, 32), Moment(8, 16)))
    plain = model(part)["lm"]
    assert model(whole)["lm"] == plain
    model.localizer = LocateThenAnswer(num_frames=8)
    assert model(whole)["lm"] == plain
    assert model(part)["lm"] != plain


@pytest.mark.parametrize("count", [8, 4])
def test_resampling_reads_the_moment_anew(tmp_path: Path, count: int) -> None:
    clip = write_video(tmp_path / "a.mp4", num_frames=32, fps=1)
    phases = {name: {"name": "clip_eval", "image_size": 28} for name in ("train", "eval")}
    views = {"frames": {"sampler": {"name": "uniform", "num_frames": 8}, "transform": phases}}
    model = toy_model(processor={"views": views}, **ANSWERING)
    assert model.processor is not None
    asked = sample("a", video=str(clip), prior=[Moment(16, 24)], **ASKED)
    data = Batch([asked], {"frames": [model.processor(asked, train=False)["frames"]]})
    seen = frames_seen(model)
    model.localizer = LocateThenAnswer(num_frames=count)
    model.generate(data)
    model.localizer = LocateThenAnswer(num_frames=count, resample=True)
    model.generate(data)
    assert seen[0] == [14.0, 18.0, 22.0]
    assert seen[1] == ([16.0, 17.0, 18.0, 19.0, 20.0, 21.0, 22.0, 23.0] if count == 8 else [16.0, 18.0, 20.0, 23.0])


def test_resampling_needs_a_processor() -> None:
    model = toy_model(**ANSWERING)
    model.localizer = LocateThenAnswer(resample=True)
    with pytest.raises(ValueError, match=r"localizer\.resample.*model\.processor"):
        model.generate(batch(sample("a", **ASKED)))
