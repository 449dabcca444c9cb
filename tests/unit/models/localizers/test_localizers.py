"""How often, and on what, a model is asked."""

from __future__ import annotations

import pytest

from lavis.models.localizers.coarse_to_fine import CoarseToFine
from lavis.models.localizers.locate_then_answer import LocateThenAnswer
from lavis.structures import Batch, Moment, Prediction
from tests.toy_models import batch, sample, toy_model

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


@pytest.mark.parametrize(
    ("window", "expected"),
    [(Moment(8, 20), [8.0, 16.0]), (Moment(5, 5), [8.0, 16.0, 24.0]), (Moment(-1, -1), [8.0, 16.0, 24.0])],
)
def test_answers_come_from_frames_of_the_moment(window: Moment, expected: list[float]) -> None:
    model = toy_model(
        prompt={"name": "question_answer"}, codec={"name": "option_letter"}, subtitle_choice=None
    )
    model.localizer = LocateThenAnswer(Pointing(window), num_frames=4)  # type: ignore[arg-type]
    asked = sample("a", options=["a dog", "a man"], answer="1", duration=32)
    data = batch(asked, num_frames=4)
    seen = []
    answer = model.answer
    model.answer = lambda b, g=None: seen.append(b.views["frames"][0].times) or answer(b, g)  # type: ignore[method-assign, func-returns-value]
    (prediction,) = model.generate(data)
    assert prediction.id == "a"
    assert seen[0] == expected
    assert "lm" in model(data)
