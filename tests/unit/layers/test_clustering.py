"""DPC-KNN: labels, masks, and independence of the batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lavis.layers.clustering import dpc_knn, num_centres


def plain(x: Tensor, centres: int, noise: Tensor, mask: Tensor | None, k: int, far: float | None = None) -> list[int]:
    """The algorithm for one sample ``[N, C]``, word by word; ``far`` is the distance of masked tokens."""
    length = len(x)
    distance = torch.cdist(x, x) / x.shape[1] ** 0.5
    if mask is not None:
        distance[:, mask == 0] = distance.max() + 1 if far is None else far
    density = [float((-(distance[i].sort().values[:k] ** 2).mean()).exp() + noise[i] * 1e-6) for i in range(length)]
    if mask is not None:
        density = [d * float(m > 0) for d, m in zip(density, mask, strict=True)]
    score = []
    for i in range(length):
        above = [float(distance[i, j]) for j in range(length) if density[j] > density[i]]
        score.append(density[i] * (min(above) if above else float(distance.max())))
    chosen = sorted(range(length), key=lambda i: -score[i])[:centres]
    labels = [min(range(centres), key=lambda c: float(distance[chosen[c], i])) for i in range(length)]
    for rank, i in enumerate(chosen):
        labels[i] = rank
    return labels


@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_plain_algorithm(masked: bool) -> None:
    x, noise = torch.randn(2, 20, 4), torch.rand(2, 20)
    mask = (torch.arange(20) % 3 > 0).int().expand(2, -1) if masked else None
    labels = dpc_knn(x, 6, noise, mask)
    for i in range(2):
        assert labels[i].tolist() == plain(x[i], 6, noise[i], None if mask is None else mask[i], 5)


def test_separate_groups_become_separate_clusters() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    x = centres.repeat_interleave(5, dim=0) + 0.1 * torch.randn(15, 2)
    labels = dpc_knn(x[None], 3, torch.rand(1, 15))[0].reshape(3, 5)
    assert (labels == labels[:, :1]).all()
    assert sorted(labels[:, 0].tolist()) == [0, 1, 2]


def test_a_sample_does_not_depend_on_its_batch() -> None:
    x, noise = torch.randn(2, 12, 4), torch.rand(2, 12)
    x[1] *= 50
    mask = torch.zeros(2, 12)
    mask[:, :3] = 1
    together = dpc_knn(x, 4, noise, mask)
    for i in range(2):
        assert torch.equal(together[i : i + 1], dpc_knn(x[i : i + 1], 4, noise[i : i + 1], mask[i : i + 1]))


def test_mask_distance_batch_looks_at_the_whole_batch() -> None:
    """Among few unmasked tokens the masked ones are neighbours, and their distance decides about densities."""
    x, noise = torch.rand(2, 12, 3), torch.rand(2, 12)
    x[1] *= 3
    mask = torch.zeros(2, 12)
    mask[:, ::2] = 1
    far = float((torch.cdist(x, x) / 3**0.5).max()) + 1
    labels = dpc_knn(x, 4, noise, mask, mask_distance="batch")
    for i in range(2):
        assert labels[i].tolist() == plain(x[i], 4, noise[i], mask[i], 2, far)
    assert torch.equal(labels[1:], dpc_knn(x, 4, noise, mask)[1:]), "the sample with the largest distance"


@pytest.mark.parametrize(
    ("clusters", "tokens", "expected"), [(12, 75, 12), (0.25, 24, 6), (0.01, 24, 1), (1, 6, 6), (12, 5, 5), (2.5, 9, 3)]
)
def test_number_of_centres(clusters: float, tokens: int, expected: int) -> None:
    assert num_centres(clusters, tokens) == expected


@pytest.mark.parametrize("length", [1, 2, 5])
def test_fewer_tokens_than_clusters(length: int) -> None:
    labels = dpc_knn(torch.randn(1, length, 4), 12, torch.rand(1, length))
    assert sorted(labels[0].tolist()) == list(range(length))


def test_nothing_unmasked_still_gives_labels() -> None:
    labels = dpc_knn(torch.randn(1, 8, 4), 3, torch.rand(1, 8), torch.zeros(1, 8))
    assert labels.shape == (1, 8)


def test_noise_decides_between_equal_tokens() -> None:
    x, noise = torch.zeros(1, 6, 2), torch.zeros(1, 6)
    noise[0, 4] = 0.9
    assert dpc_knn(x, 2, noise)[0, 4] in (0, 1)
    assert torch.equal(dpc_knn(x, 2, noise), dpc_knn(x, 2, noise))


def test_wrong_arguments_are_refused() -> None:
    x = torch.zeros(1, 4, 2)
    with pytest.raises(ValueError, match="noise must be"):
        dpc_knn(x, 2, torch.zeros(1, 5))
    with pytest.raises(ValueError, match="mask_distance"):
        dpc_knn(x, 2, torch.zeros(1, 4), mask_distance="video")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="positive"):
        dpc_knn(x, 0, torch.zeros(1, 4))
