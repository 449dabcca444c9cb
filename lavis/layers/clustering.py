"""DPC-KNN: density peaks clustering with densities from nearest neighbours, for whole batches.

Source: Du et al., 2016 (density peaks with k nearest neighbours) in the form of Token Clustering Transformer
(Zeng et al., 2022) that CALCE (tjhd1475/CALCE) clusters frames with. Unlike theirs, the tie-breaking noise is an
argument, the distance given to masked tokens depends on their own sample alone (``mask_distance``), and no merged
features are computed, since only the labels are used.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

MaskDistance = Literal["sample", "batch"]

_NOISE = 1e-6
"""Scale of the noise that separates equal densities."""


def num_centres(clusters: float, num_tokens: int) -> int:
    """How many clusters ``clusters`` asks for.

    Args:
        clusters: a count if above 1, else a fraction of the tokens (1 is every token its own cluster).
        num_tokens: N.

    Returns:
        At least 1 and at most ``num_tokens``.

    Raises:
        ValueError: unless ``clusters`` is positive.
    """
    if clusters <= 0:
        raise ValueError(f"the number of clusters must be positive, got {clusters}")
    wanted = math.ceil(clusters) if clusters > 1 else math.ceil(num_tokens * clusters)
    return min(max(wanted, 1), num_tokens)


@torch.no_grad()
def dpc_knn(
    tokens: Tensor,
    clusters: float,
    noise: Tensor,
    mask: Tensor | None = None,
    neighbours: int = 5,
    mask_distance: MaskDistance = "sample",
) -> Tensor:
    """Cluster label of each token; a cluster is named by the rank of its centre.

    Args:
        tokens: ``[B, N, C]`` features.
        clusters: number of clusters, or fraction of N if at most 1 (see ``num_centres``).
        noise: ``[B, N]`` uniform in [0, 1); breaks ties between equal densities.
        mask: ``[B, N]``, nonzero on tokens that count; the others are far from everything and have no density, but
            get a label too. ``None`` if all count.
        neighbours: size of a neighbourhood; smaller if there are fewer clusters than that.
        mask_distance: what "far" is: the largest distance plus 1, taken over the ``sample`` or over the ``batch``.

    Returns:
        ``[B, N]`` labels, 0 to the number of clusters - 1.

    Raises:
        ValueError: for sizes that disagree or an unknown ``mask_distance``.
    """
    batch, length, width = tokens.shape
    if noise.shape != (batch, length):
        raise ValueError(f"noise must be [B, N] = {[batch, length]} but is {list(noise.shape)}")
    if mask_distance not in ("sample", "batch"):
        raise ValueError(f"mask_distance must be 'sample' or 'batch', got {mask_distance!r}")
    centres = num_centres(clusters, length)
    if neighbours > centres:
        neighbours = min(3, max(centres // 2, 1))
    distance = torch.cdist(tokens.float(), tokens.float()) / width**0.5
    if mask is not None:
        largest = distance.amax(dim=(1, 2), keepdim=True) if mask_distance == "sample" else distance.max()
        distance = torch.where(mask[:, None, :] > 0, distance, largest + 1)

    nearest = distance.topk(neighbours, dim=-1, largest=False).values
    density = (-nearest.square().mean(dim=-1)).exp() + noise.to(distance) * _NOISE
    if mask is not None:
        density = density * (mask > 0)

    # A centre is dense and far from anything denser; the densest token of all is as far as can be.
    denser = density[:, None, :] > density[:, :, None]
    farthest = distance.amax(dim=(1, 2), keepdim=True)
    isolation = torch.where(denser, distance, farthest).amin(dim=-1)
    # topk and not a stable sort: masked tokens tie at zero, and published results rest on the order topk gives them.
    centre = (isolation * density).topk(centres, dim=-1).indices

    to_centres = distance.gather(1, centre[..., None].expand(-1, -1, length))
    labels: Tensor = to_centres.argmin(dim=1)
    ranks = torch.arange(centres, device=labels.device).expand(batch, -1)
    labels.scatter_(1, centre, ranks)
    return labels
