"""Crops and normalisation; the originals' own pixels are compared in tests/parity_cases/*_processors.py."""

from __future__ import annotations

import pytest
import torch

from lavis.processors.transforms import (
    CLIP_MEAN,
    CLIP_STD,
    ClipEval,
    ClipTrain,
    LetterboxEval,
    ShortSideEval,
    ShortSideTrain,
    draw_crop,
)


def levels(normalised: torch.Tensor) -> torch.Tensor:
    """Grey levels 0 to 255 of normalised pixels."""
    return (normalised * torch.tensor(CLIP_STD).view(3, 1, 1) + torch.tensor(CLIP_MEAN).view(3, 1, 1)) * 255


def test_evaluation_only_normalises() -> None:
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    out = ClipEval(16)(pixels)
    assert out.dtype == torch.float32
    assert out.is_contiguous()
    assert torch.allclose(levels(out), pixels.float(), atol=1e-3)
    assert torch.equal(ClipEval(16)(pixels.float()), out)


def test_evaluation_resizes_what_has_another_size() -> None:
    out = ClipEval(8)(torch.full((2, 3, 30, 20), 77, dtype=torch.uint8))
    assert out.shape == (2, 3, 8, 8)
    assert torch.allclose(levels(out), torch.tensor(77.0), atol=1e-2)


def test_input_is_left_alone() -> None:
    pixels = torch.rand(1, 3, 8, 8) * 255
    before = pixels.clone()
    ClipEval(8)(pixels)
    ClipTrain(8)(pixels, torch.Generator().manual_seed(0))
    assert torch.equal(pixels, before)


def test_one_crop_for_all_frames() -> None:
    pixels = torch.randint(0, 256, (1, 3, 40, 40), dtype=torch.uint8).expand(5, -1, -1, -1)
    out = ClipTrain(24)(pixels, torch.Generator().manual_seed(1))
    assert out.shape == (5, 3, 24, 24)
    assert all(torch.equal(frame, out[0]) for frame in out)


def test_same_seed_same_crop() -> None:
    pixels = torch.randint(0, 256, (1, 3, 40, 40), dtype=torch.uint8)
    first, again, other = (ClipTrain(24)(pixels, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_overflow() -> None:
    """The bicubic filter leaves 0 to 255 at a sharp edge: cut off it stays white, wrapped it turns black."""
    pixels = torch.zeros(1, 3, 20, 20)
    pixels[..., 10:] = 255
    whole = {"min_scale": 1.0, "max_scale": 1.0, "min_ratio": 1.0, "max_ratio": 1.0}
    clamped = levels(ClipTrain(30, overflow="clamp", **whole)(pixels)).round()
    wrapped = levels(ClipTrain(30, overflow="wrap", **whole)(pixels)).round()
    assert clamped.diff(dim=-1).min() >= -1  # the filter makes 254.9999 of 255, which is rounded down
    assert wrapped.diff(dim=-1).min() < -150
    same = clamped == wrapped
    assert set(clamped[~same].tolist()) == {0.0, 255.0}
    assert ClipTrain().overflow == "clamp"


@pytest.mark.parametrize("seed", range(20))
def test_crops_lie_in_the_picture(seed: int) -> None:
    top, left, height, width = draw_crop(30, 50, (0.5, 1.0), (3 / 4, 4 / 3), torch.Generator().manual_seed(seed))
    assert 0 <= top <= top + height <= 30
    assert 0 <= left <= left + width <= 50
    assert 0.45 <= height * width / 1500 <= 1.0
    assert 0.7 <= width / height <= 1.4


@pytest.mark.parametrize(("height", "width", "expected"), [(10, 100, (0, 43, 10, 13)), (100, 10, (43, 0, 13, 10))])
def test_where_no_draw_fits_the_middle_is_taken(height: int, width: int, expected: tuple[int, ...]) -> None:
    assert draw_crop(height, width, (1.0, 1.0), (3 / 4, 4 / 3)) == expected


def test_draw_equals_torchvision() -> None:
    transforms = pytest.importorskip("torchvision.transforms", exc_type=ImportError)
    for seed in range(50):
        torch.manual_seed(seed)
        theirs = transforms.RandomResizedCrop.get_params(torch.zeros(3, 48, 64), [0.5, 1.0], [3 / 4, 4 / 3])
        assert draw_crop(48, 64, (0.5, 1.0), (3 / 4, 4 / 3), torch.Generator().manual_seed(seed)) == theirs


@pytest.mark.parametrize(
    "build",
    [
        lambda: ClipEval(0),
        lambda: ClipEval(8, mean=(0.5, 0.5)),
        lambda: ClipEval(8, std=(0.5, 0.5, 0)),
        lambda: ClipTrain(8, min_scale=0),
        lambda: ClipTrain(8, min_scale=0.9, max_scale=0.8),
        lambda: ClipTrain(8, min_ratio=2.0),
        lambda: ClipTrain(8, overflow="ignore"),
        lambda: ClipTrain(8, levels="up"),
        lambda: ClipTrain(8, flip=1.5),
        lambda: ShortSideEval(0),
        lambda: ShortSideEval(8, filter="nearest"),
        lambda: ShortSideEval(8, resizer="opencv"),
        lambda: ShortSideEval(8, centre="up"),
        lambda: ShortSideTrain(8, min_scale=0),
        lambda: ShortSideTrain(8, crops=0),
        lambda: LetterboxEval(0),
        lambda: LetterboxEval(8, fill=256),
    ],
)
def test_refused_settings(build: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        build()


def test_settings_from_lists_name_the_same_transform() -> None:
    assert repr(ClipEval(8, mean=list(CLIP_MEAN))) == repr(ClipEval(8))
    assert hash(ClipEval(8, mean=list(CLIP_MEAN))) == hash(ClipEval(8))


def test_fixed_crops_are_counted() -> None:
    assert ClipEval(8).outcomes == 1
    assert ClipTrain(8).outcomes is None
    assert ClipTrain(8, crops=4).outcomes == 4
    with pytest.raises(ValueError, match="crops must be at least 1"):
        ClipTrain(8, crops=0)


def test_mirror_images() -> None:
    assert ClipTrain().flip == 0.0
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    whole = {"min_scale": 1.0, "min_ratio": 1.0, "max_ratio": 1.0}
    plain = ClipTrain(8, **whole)(pixels, torch.Generator().manual_seed(0))
    turned = ClipTrain(8, flip=1.0, **whole)(pixels, torch.Generator().manual_seed(0))
    assert torch.equal(turned, plain.flip(-1))
    halves = [ClipTrain(8, flip=0.5, **whole)(pixels, torch.Generator().manual_seed(seed)) for seed in range(20)]
    assert {bool(torch.equal(out, plain)) for out in halves} == {True, False}


def test_whole_grey_levels_of_a_crop() -> None:
    pixels = torch.randint(0, 256, (1, 3, 9, 9), dtype=torch.uint8)
    whole = {"min_scale": 1.0, "min_ratio": 1.0, "max_ratio": 1.0}
    assert ClipTrain().levels == "down"
    down, nearest = (levels(ClipTrain(16, levels=way, **whole)(pixels)).round() for way in ("down", "nearest"))
    assert set((nearest - down).unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("size", [(30, 20), (20, 30), (20, 20), (7, 90)])
@pytest.mark.parametrize("settings", [{}, {"filter": "bilinear"}, {"resizer": "pillow"}])
def test_the_middle_of_the_resized_picture(size: tuple[int, int], settings: dict[str, str]) -> None:
    """A gradient along the longer side is in the result only around its middle."""
    height, width = size
    ramp = torch.linspace(0, 250, max(size)).round()
    frame = (ramp[:, None] if height > width else ramp[None, :]).expand(3, height, width).to(torch.uint8)
    out = levels(ShortSideEval(20, **settings)(frame[None]))
    assert out.shape == (1, 3, 20, 20)
    assert abs(float(out.mean()) - 125) < 4
    kept = min(size) / max(size) * 250
    assert abs(float(out.max() - out.min()) - kept) < 0.1 * kept + 14


def test_ways_to_resize_differ_by_rounding() -> None:
    pixels = torch.randint(0, 256, (2, 3, 60, 45), dtype=torch.uint8)
    assert (ShortSideEval().resizer, ShortSideEval().filter, ShortSideEval().centre) == ("torch", "bicubic", "down")
    ours, theirs = (levels(ShortSideEval(20, resizer=way)(pixels)) for way in ("torch", "pillow"))
    assert (theirs - theirs.round()).abs().max() < 1e-3
    assert 0 < (ours - theirs).abs().max() < 2.5  # both passes of the filter round
    assert torch.equal(ShortSideEval(20, resizer="pillow")(pixels.float()), ShortSideEval(20, resizer="pillow")(pixels))


def test_what_is_cut_off_where_the_rest_is_odd() -> None:
    pixels = torch.arange(11, dtype=torch.uint8).expand(1, 3, 8, 11)
    assert levels(ShortSideEval(8)(pixels))[0, 0, 0, 0].round() == 1
    assert levels(ShortSideEval(8, centre="nearest")(pixels))[0, 0, 0, 0].round() == 2


def test_random_squares() -> None:
    pixels = torch.randint(0, 256, (1, 3, 24, 40), dtype=torch.uint8).expand(3, -1, -1, -1)
    first, again, other = (ShortSideTrain(16)(pixels, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == (3, 3, 16, 16)
    assert torch.equal(first, again)
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first, other)
    assert (ShortSideTrain(8).min_scale, ShortSideTrain(8).max_scale) == (0.8, 1.0)
    assert (ShortSideTrain(8).outcomes, ShortSideTrain(8, crops=2).outcomes) == (None, 2)


@pytest.mark.parametrize(
    ("size", "box"), [((30, 60), (5, 15)), ((60, 31), (0, 20)), ((20, 20), (0, 20)), ((1, 90), (9, 10))]
)
def test_bars(size: tuple[int, int], box: tuple[int, int]) -> None:
    out = LetterboxEval(20, fill=0)(torch.full((2, 3, *size), 200, dtype=torch.uint8))
    grey = (out * 0.5 + 0.5) * 255
    assert out.shape == (2, 3, 20, 20)
    rows = [i for i in range(20) if grey[0, 0, i].max() > 100]
    assert (rows[0], rows[-1] + 1) == box
    assert set(grey.round().unique().tolist()) <= {0.0, 200.0}
    columns = (grey[0, 0].amax(0) > 100).nonzero().flatten().tolist()
    assert (columns[0], 20 - 1 - columns[-1]) == ((5, 5) if size == (60, 31) else (0, 0))


def test_smoothing_before_pixels_are_left_out() -> None:
    stripes = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    stripes[..., ::4] = 255
    assert LetterboxEval().antialias
    smooth, rough = (LetterboxEval(16, antialias=way).boxed(stripes) for way in (True, False))
    assert abs(float(smooth.mean()) - 64) < 4
    assert abs(float(rough.mean()) - 64) > 30
