"""One token a frame for each question: shapes, batches, chunks, settings."""

from __future__ import annotations

import pytest
import torch

from lavis.models.compressors.base import QFormerSettings
from lavis.models.compressors.query_aggregator import QueryAggregator
from lavis.structures import FrameFeatures, TimedTokens, VideoSample
from tests.toy_models import bert_tokenizer

SIZES = QFormerSettings(vocab_size=200, width=16, layers=2, heads=2, hidden=24, max_positions=64, dropout=0.0)


def build(**fields: object) -> QueryAggregator:
    torch.manual_seed(0)
    fields = {"tokenizer": bert_tokenizer(), "num_queries": 4, "qformer": SIZES, "max_tokens": 16, **fields}
    return QueryAggregator(12, 20, **fields).eval()  # type: ignore[arg-type]


def features(frames: int, seed: int = 0) -> FrameFeatures:
    generator = torch.Generator().manual_seed(seed)
    return FrameFeatures(torch.randn(frames, 5, 12, generator=generator), [float(i) for i in range(frames)])


def sample(identity: str = "q") -> VideoSample:
    return VideoSample(identity, "v.mp4", "red man", 9.0)


def ask(model: QueryAggregator, *asked: tuple[FrameFeatures, list[str]]) -> list[TimedTokens]:
    with torch.no_grad():
        return model([own for own, _ in asked], [sample() for _ in asked], questions=[texts for _, texts in asked])


def test_each_question_has_a_token_a_frame() -> None:
    model = build()
    (own,) = ask(model, (features(5), ["red man", "dog talks"]))
    assert own.tokens.shape == (10, 20)
    assert own.counts == [1] * 10
    assert own.frames == [0, 1, 2, 3, 4] * 2
    assert own.starts() == [0.0, 1.0, 2.0, 3.0, 4.0] * 2
    assert not torch.allclose(own.tokens[:5], own.tokens[5:])


def test_neither_batch_nor_chunks_nor_other_questions_matter() -> None:
    video, other = features(5), features(3, seed=1)
    alone = ask(build(), (video, ["red man"]))[0].tokens
    together = ask(build(chunk_size=2), (video, ["red man"]), (other, ["dog"]), (video, ["dog talks to a camera"]))
    torch.testing.assert_close(together[0].tokens, alone, atol=1e-5, rtol=1e-4)
    assert len(together[1]) == 3


def test_the_query_is_asked_where_no_question_is_given_and_an_empty_one_is_allowed() -> None:
    model = build()
    with torch.no_grad():
        (own,) = model([features(2)], [sample()])
    torch.testing.assert_close(own.tokens, ask(model, (features(2), ["red man"]))[0].tokens)
    assert ask(model, (features(2), [""]))[0].tokens.shape == (2, 20)
    assert ask(model, (features(0), ["red man"]))[0].tokens.shape == (0, 20)
    with pytest.raises(ValueError, match="asks nothing"):
        ask(model, (features(2), []))


def test_times_are_told_to_one_question_only() -> None:
    model = build(time_tag=True)
    assert ask(model, (features(3), ["red man"]))[0].tokens.shape == (3, 20)
    with pytest.raises(ValueError, match="one question"):
        ask(model, (features(3), ["red", "man"]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_queries": 0}, "num_queries"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"max_tokens": 65}, "max_positions"),
        ({"tokenizer": "/nowhere"}, "cannot be read"),
        ({"qformer": QFormerSettings(vocab_size=5, width=16, layers=1, heads=2, hidden=8)}, "embeddings"),
    ],
)
def test_settings_that_do_not_fit_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**fields)
