"""Heads that compare words with frames: losses, what is seen while decoding, batches, and empty batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lavis.models.heads._frames import FrameHead
from lavis.models.heads.frame_match import FrameMatch
from lavis.models.heads.structure_contrast import StructureContrast
from lavis.models.language_models.base import LanguageOutput
from lavis.structures import FrameRef, Packed

WIDTH = 8
HEADS = [StructureContrast, FrameMatch]


def batch(refs: list[list[tuple[int, FrameRef]]], frames: list[int]) -> tuple[LanguageOutput, Packed]:
    """Rows of 12 positions, frames from position 2 on."""
    generator = torch.Generator().manual_seed(0)
    states = {name: torch.randn(len(refs), 12, WIDTH, generator=generator) for name in ("last", "below_last")}
    units = [torch.tensor([(p, p + 1) for p in range(2, 2 + count)]).reshape(-1, 2) for count in frames]
    mask = torch.ones(len(refs), 12, dtype=torch.long)
    packed = Packed(torch.zeros(len(refs), 12, WIDTH), mask, mask, None, None, [12], units, refs)
    return LanguageOutput(None, torch.zeros(1), states), packed


def event(start: float, end: float, token: str = "<ent>") -> FrameRef:
    return FrameRef(token, learned=True, target=(start, end))


def test_a_segment_is_learned_over_its_frames_alone() -> None:
    head = StructureContrast(WIDTH)
    output, packed = batch([[(9, event(1.9, 3.2))]], [6])
    loss = head.losses(output, packed)["structure"]
    words = torch.nn.functional.normalize(head.text_head(output.states["below_last"][0, 8]), dim=-1)
    frames = torch.nn.functional.normalize(head.frame_head(output.states["last"][0, 2:8]), dim=-1)
    shares = torch.log_softmax(head.logit_scale.exp() * frames @ words, dim=0)
    torch.testing.assert_close(loss, -shares[1:4].mean())  # frames 1, 2 and 3


def test_events_and_transitions_count_alike_however_many_there_are() -> None:
    head = StructureContrast(WIDTH)
    together = [(8, event(0, 1)), (9, event(2, 3)), (10, event(4, 5, "<tst>"))]
    output, packed = batch([together], [6])
    loss = head.losses(output, packed)["structure"]
    parts = []
    for chosen in (together[:2], together[2:]):
        packed.refs = [chosen]
        parts.append(head.losses(output, packed)["structure"])
    torch.testing.assert_close(loss, torch.stack(parts).mean())


def test_an_instant_is_learned_with_weights_that_fall_off() -> None:
    head = FrameMatch(WIDTH, alpha=3.0)
    output, packed = batch([[(9, event(50.0, 50.0, "<vid>"))]], [4])
    loss = head.losses(output, packed)["match"]
    frames = head.frame_head(output.states["last"][0, 2:6])
    scores = frames @ head.text_head(output.states["below_last"][0, 8]) / WIDTH**0.5
    weights = torch.tensor([3.0**-3, 3.0**-2, 3.0**-1, 1.0])  # beyond the end is the last frame
    torch.testing.assert_close(loss, -(weights * torch.log_softmax(scores, dim=0)).sum())


@pytest.mark.parametrize("kind", HEADS)
def test_without_anything_to_learn_all_weights_stay_in_the_graph(kind: type[FrameHead]) -> None:
    head = kind(WIDTH)
    output, packed = batch([[], [(3, FrameRef("<vid>", frame=0))]], [4, 0])
    (loss,) = head.losses(output, packed).values()
    assert float(loss.detach()) == 0
    loss.backward()
    assert all(p.grad is not None for p in head.parameters())


@pytest.mark.parametrize("kind", HEADS)
def test_what_is_seen_does_not_depend_on_the_batch(kind: type[FrameHead]) -> None:
    head = kind(WIDTH).eval()
    output, packed = batch([[], []], [6, 3])

    def seen(rows: list[int]) -> list[dict[str, Tensor]]:
        own = {name: states[rows] for name, states in output.states.items()}
        units = [packed.frame_positions[row] for row in rows]
        embeds, mask = packed.embeds[rows], packed.mask[rows]
        part = Packed(embeds, mask, mask, None, None, [12], units, [[] for _ in rows])
        watcher = head.watch({"<vid>": 7})
        with torch.no_grad():
            watcher.begin(part, own)
            watcher.step({"below_last": own["below_last"][:, 4:5]})
        return watcher.results([1] * len(rows))

    for together, alone in zip(seen([0, 1]), [seen([0])[0], seen([1])[0]], strict=True):
        torch.testing.assert_close(together["similarities"], alone["similarities"])
        assert together["frames"].tolist() == alone["frames"].tolist()
    assert [own["similarities"].shape for own in seen([0, 1])] == [(2, 6), (2, 3)]


def test_a_matched_frame_is_added_to_what_is_fed() -> None:
    head = FrameMatch(WIDTH).eval()
    output, packed = batch([[], []], [6, 3])
    packed.embeds = torch.randn(2, 12, WIDTH)
    watcher = head.watch({"<vid>": 7})
    with torch.no_grad():
        watcher.begin(packed, output.states)
        fed = watcher.fed(torch.tensor([7, 3]), torch.zeros(2, 1, WIDTH))
    frame = int(watcher.results([0, 0])[0]["frames"][0])
    torch.testing.assert_close(fed[0, 0], packed.embeds[0, 2 + frame])
    assert not fed[1].any()


@pytest.mark.parametrize("prefill", ["last", "first"])
def test_where_the_first_similarity_is_taken(prefill: str) -> None:
    head = StructureContrast(WIDTH, prefill=prefill).eval()  # type: ignore[arg-type]
    output, packed = batch([[]], [6])
    packed.mask[0, :2] = 0  # padding
    with torch.no_grad():
        watcher = head.watch({})
        watcher.begin(packed, output.states)
        place = 11 if prefill == "last" else 2
        words = torch.nn.functional.normalize(head.text_head(output.states["below_last"][0, place]), dim=-1)
        frames = torch.nn.functional.normalize(head.frame_head(output.states["last"][0, 2:8]), dim=-1)
    torch.testing.assert_close(watcher.results([0])[0]["similarities"][0], frames @ words)
    assert StructureContrast(WIDTH).prefill == "last"


@pytest.mark.parametrize("fields", [{"frame_head": "none"}, {"prefill": "middle"}, {"temperature": 0}, {"weight": -1}])
def test_settings_out_of_range_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="head"):
        StructureContrast(WIDTH, **fields)  # type: ignore[arg-type]


def test_alpha_must_fall_off() -> None:
    with pytest.raises(ValueError, match="alpha"):
        FrameMatch(WIDTH, alpha=1.0)
