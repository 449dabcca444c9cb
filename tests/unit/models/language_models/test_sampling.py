"""The next token: a repetition penalty, narrowing, and draws that belong to the sample."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lavis.common.random import SampleDraws
from lavis.common.schema import GenerationConfig
from lavis.models.language_models._sampling import Chooser, narrowed, penalised, seen_tokens


def scores(rows: int = 2, vocabulary: int = 40) -> Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(3)) * 3


def test_a_penalty_divides_positive_and_multiplies_negative_scores_once() -> None:
    ids = torch.tensor([[3, -1, 7, 7, 12, 9]])
    own = scores(1)
    out = penalised(own, seen_tokens(ids, 40, ignored=[12]), 1.2)
    for token in range(40):
        before, after = float(own[0, token]), float(out[0, token])
        if token in (3, 7, 9):
            assert after == pytest.approx(before * 1.2 if before < 0 else before / 1.2)
        else:
            assert after == before


@pytest.mark.parametrize(("top_k", "top_p"), [(None, 1.0), (5, 1.0), (None, 0.7), (8, 0.5), (100, 0.999), (1, 1e-6)])
def test_narrowing_is_that_of_transformers(top_k: int | None, top_p: float) -> None:
    from transformers.generation.logits_process import TopKLogitsWarper, TopPLogitsWarper

    own = scores(3)
    theirs = own if top_k is None else TopKLogitsWarper(top_k)(None, own)
    theirs = theirs if top_p == 1 else TopPLogitsWarper(top_p)(None, theirs)
    assert torch.equal(narrowed(own, top_k, top_p), theirs)


def test_without_a_temperature_the_likeliest_token_is_taken_with_its_log_probability() -> None:
    own = scores()
    tokens, logs = Chooser(torch.zeros(2, 1).long(), GenerationConfig(num_beams=1), [1.0, 1.0])(own)
    assert tokens.tolist() == own.argmax(dim=1).tolist()
    torch.testing.assert_close(logs, own.log_softmax(dim=1).max(dim=1).values)


def test_a_penalty_sees_the_prompt_and_what_was_written_and_may_differ_between_rows() -> None:
    own = torch.tensor([[1.0, 3.0, 2.0, 2.9]]).repeat(2, 1)
    chooser = Chooser(torch.tensor([[1, -1], [1, -1]]), GenerationConfig(num_beams=1), [1.0, 2.0], ignored=[2])
    assert chooser(own)[0].tolist() == [1, 3]
    assert chooser(own)[0].tolist() == [1, 2]  # 1 and 3 were seen, and 2 never counts
    assert chooser(own)[0].tolist() == [1, 2]
    chooser.keep(torch.tensor([1]))
    assert chooser(own[:1])[0].tolist() == [2]


def drawn(names: list[str], steps: int = 30, **settings: float) -> list[list[int]]:
    generation = GenerationConfig(num_beams=1, temperature=1.0, max_new_tokens=steps, **settings)  # type: ignore[arg-type]
    chooser = Chooser(torch.zeros(len(names), 1).long(), generation, [1.0] * len(names), [*map(SampleDraws, names)])
    own = scores(1).repeat(len(names), 1)
    rows = torch.stack([chooser(own)[0] for _ in range(steps)], dim=1).tolist()
    return [list(row) for row in rows]


def test_draws_belong_to_the_sample_and_follow_the_distribution() -> None:
    alone, together = drawn(["a"]), drawn(["b", "a", "c"])
    assert together[1] == alone[0]
    assert together[0] != together[1]
    many = torch.tensor(drawn(["a"], 4000)[0]).bincount(minlength=40) / 4000
    torch.testing.assert_close(many, scores(1).softmax(dim=1)[0], atol=0.03, rtol=0)
    narrow = set(drawn(["a"], 500, top_k=3)[0])
    assert narrow == set(scores(1).topk(3).indices[0].tolist())


def test_rows_that_leave_do_not_change_what_others_draw() -> None:
    generation = GenerationConfig(num_beams=1, temperature=1.0, max_new_tokens=8)
    own = scores(1)

    def ids(names: list[str], leave: bool) -> list[int]:
        chooser = Chooser(torch.zeros(len(names), 1).long(), generation, [1.0] * len(names), [*map(SampleDraws, names)])
        found = []
        for step in range(8):
            found.append(int(chooser(own.repeat(len(names), 1))[0][-1]))
            if leave and step == 3:
                chooser.keep(torch.tensor([1]))
                names = names[1:]
        return found

    assert ids(["a", "b"], leave=True) == ids(["b"], leave=False)


def test_draws_need_numbers() -> None:
    with pytest.raises(ValueError, match=r"asked\.draws"):
        Chooser(torch.zeros(1, 1).long(), GenerationConfig(num_beams=1, temperature=0.5), [1.0])
