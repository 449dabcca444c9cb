from __future__ import annotations

from typing import Any

import pytest

from lavis.structures import Moment, Prediction


def test_captions_come_back_from_json() -> None:
    prediction = Prediction("7", [Moment(0, 5), Moment(5, 9.5)], captions=["A man cooks.", "He eats."])
    row = prediction.to_json()
    assert row["captions"] == ["A man cooks.", "He eats."]
    assert Prediction.from_json(row) == prediction


def test_a_prediction_without_captions_has_no_such_field() -> None:
    row = Prediction("7", [Moment(0, 5)]).to_json()
    assert "captions" not in row
    assert Prediction.from_json(row).captions == []


def test_there_is_a_caption_for_each_moment_or_none() -> None:
    with pytest.raises(ValueError, match="prediction 7: 1 captions for 2 moments"):
        Prediction("7", [Moment(0, 5), Moment(5, 9)], captions=["x"])


@pytest.mark.parametrize("captions", ["x", [3], None, {"a": "b"}])
def test_captions_of_a_row_are_texts(captions: Any) -> None:
    with pytest.raises(ValueError, match="prediction 7: captions must be a list of texts"):
        Prediction.from_json({"id": 7, "moments": [[0, 5]], "captions": captions})
