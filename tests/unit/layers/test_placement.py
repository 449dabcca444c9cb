"""Rows at their places, and their gradients back."""

from __future__ import annotations

import torch

from lavis.layers.placement import place

PLACES = [torch.tensor([4, 0]), torch.tensor([], dtype=torch.long), torch.tensor([1, 5, 3])]


def test_rows_stand_at_their_places_and_zeros_between() -> None:
    parts = [torch.randn(len(where), 3) for where in PLACES]
    placed = place(parts, PLACES, 7)
    for where, part in zip(PLACES, parts, strict=True):
        assert torch.equal(placed[where], part)
    assert not placed[[2, 6]].any()


def test_gradients_are_exact() -> None:
    parts = [torch.randn(len(where), 3, dtype=torch.float64, requires_grad=True) for where in PLACES]
    assert torch.autograd.gradcheck(lambda *parts: place(parts, PLACES, 7), parts)


def test_what_does_not_learn_gets_no_gradient() -> None:
    fixed, learned = torch.randn(2, 3), torch.randn(3, 3, requires_grad=True)
    place([fixed, learned], [PLACES[0], PLACES[2]], 6).sum().backward()
    assert fixed.grad is None
    assert torch.equal(learned.grad, torch.ones(3, 3))
