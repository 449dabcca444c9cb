"""The processors known by LAVIS' names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lavis.common.registry import UnknownEntryError, registry
from lavis.processors import load_processor
from lavis.processors.readers.base import VideoDecodeError
from tests.video_factory import write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "a.mp4")


def test_defaults() -> None:
    assert load_processor("blip2_video_train").transform.image_size == 364
    assert load_processor("blip2_video_train").transform.overflow == "wrap"
    assert load_processor("blip_video_eval").transform.image_size == 256
    assert load_processor("blip_question").max_words == 50


def test_evaluation_clip(video: Path) -> None:
    processor = load_processor("blip_video_eval", {"name": "blip_video_eval", "image_size": 32, "n_frms": 6})
    clip, indices, fps = processor(str(video))
    assert clip.shape == (3, 6, 32, 32)
    assert (indices, fps) == ([0, 4, 8, 12, 16, 20], 8.0)
    assert processor(str(video), clip_proposal=[1.0, 2.5])[1] == [8, 10, 12, 14, 16, 18]
    assert load_processor("blip_video_eval", {"image_size": 8})(str(video))[1] == list(range(24))


def test_training_clip(video: Path) -> None:
    processor = load_processor("blip2_video_train", {"image_size": 32, "n_frms": 4})
    torch.manual_seed(3)
    clip, indices, _ = processor(str(video))
    assert clip.shape == (3, 4, 32, 32)
    assert indices == [0, 6, 12, 18]
    again = processor(str(video), generator=torch.Generator().manual_seed(3))[0]
    assert torch.equal(clip, again)


def test_bad_video() -> None:
    with pytest.raises(VideoDecodeError):
        load_processor("blip_video_eval")("nowhere.mp4")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("What is This?! (a test); ok~", "what is this? a test ok"),
        ("trailing   ", "trailing"),
        ("a  b", "a  b"),
        ("", ""),
    ],
)
def test_questions(given: str, expected: str) -> None:
    assert load_processor("blip_question")(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [("A dog. Runs;  fast!\n", "see: a dog runs fast"), ("one two three four", "see: one two three"), ("", "see: ")],
)
def test_captions(given: str, expected: str) -> None:
    words = 3 if "four" in given else 50
    assert load_processor("blip_caption", {"prompt": "see: ", "max_words": words})(given) == expected


def test_words_are_counted() -> None:
    assert load_processor("blip_question", {"max_words": 2})("one two three") == "one two"


def test_unknown() -> None:
    with pytest.raises(UnknownEntryError, match="blip_question"):
        load_processor("blip_questions")
    with pytest.raises(ValueError, match="has no max_word; it has max_words"):
        load_processor("blip_question", {"max_word": 3})


def test_every_processor_loads_without_settings() -> None:
    for name in registry.processors:
        assert callable(load_processor(name))
