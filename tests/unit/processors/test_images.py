"""Pictures as videos of one frame: what is seen, and what becomes of broken ones."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lavis.processors.readers.base import VideoDecodeError
from lavis.processors.readers.guarded import GuardedReader
from lavis.processors.readers.image import PAD_COLOUR, ImageReader, is_image
from lavis.processors.video_processor import build_processor
from lavis.structures import VideoSample

WIDTH, HEIGHT = 24, 16


def corners(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Red, green, blue and white quarters: top left, top right, bottom left, bottom right."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2, 0] = 255
    pixels[: height // 2, width // 2 :, 1] = 255
    pixels[height // 2 :, : width // 2, 2] = 255
    pixels[height // 2 :, width // 2 :] = 255
    return Image.fromarray(pixels)


def read(path: Path, **options: Any) -> torch.Tensor:
    reader = ImageReader(**options)
    info = reader.probe(path)
    pixels, times = reader.read(path, [0], info=info)
    assert times == [0.0]
    assert pixels.shape == (1, 3, info.height, info.width)
    return pixels[0]


def colour(pixels: torch.Tensor, row: int, column: int) -> tuple[int, ...]:
    return tuple(pixels[:, row, column].tolist())


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff"])
def test_common_forms(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    corners().save(path, quality=95)
    pixels = read(path)
    assert pixels.shape == (3, HEIGHT, WIDTH)
    expected = torch.from_numpy(np.array(corners())).permute(2, 0, 1)
    assert (pixels.float() - expected.float()).abs().mean() < 12  # colours have half the resolution in some
    info = ImageReader().probe(path)
    assert (info.num_frames, info.duration_s, list(info.times)) == (1, 1.0, [0.0])


# Of a stored picture red, green / blue, white: what stands at top left and top right once it is turned.
TURNED = {1: "RG", 2: "GR", 3: "WB", 4: "BW", 5: "RB", 6: "BR", 7: "WG", 8: "GW"}
NAMES = {"R": (255, 0, 0), "G": (0, 255, 0), "B": (0, 0, 255), "W": (255, 255, 255)}


@pytest.mark.parametrize("orientation", TURNED)
def test_stands_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    corners().save(tmp_path / "a.png", exif=exif)
    pixels = read(tmp_path / "a.png")
    assert pixels.shape[1:] == ((HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT))
    left, right = TURNED[orientation]
    assert (colour(pixels, 0, 0), colour(pixels, 0, -1)) == (NAMES[left], NAMES[right])


def test_notes_that_cannot_be_read_turn_nothing(tmp_path: Path) -> None:
    corners().save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    assert read(tmp_path / "a.jpg").shape == (3, HEIGHT, WIDTH)


@pytest.mark.parametrize("size", [(24, 16), (16, 24), (25, 16), (16, 16)])
def test_padded_to_a_square(tmp_path: Path, size: tuple[int, int]) -> None:
    corners(*size).save(tmp_path / "a.png")
    pixels = read(tmp_path / "a.png", pad_to_square=True)
    side, (width, height) = max(size), size
    assert PAD_COLOUR == (122, 116, 104)
    expected = np.full((side, side, 3), PAD_COLOUR, dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    expected[top : top + height, left : left + width] = np.array(corners(*size))
    assert pixels.permute(1, 2, 0).tolist() == expected.tolist()


def test_resized_while_it_is_read(tmp_path: Path) -> None:
    corners().save(tmp_path / "a.png")
    pixels, _ = ImageReader(pad_to_square=True).read(tmp_path / "a.png", [0], size=(12, 12))
    assert pixels.shape == (1, 3, 12, 12)
    assert all(abs(a - b) < 4 for a, b in zip(colour(pixels[0], 0, 0), PAD_COLOUR, strict=True))
    assert colour(pixels[0], 3, 1)[0] > 240


def test_other_modes_become_rgb(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 0x8034, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert colour(read(tmp_path / "deep.png"), 0, 0) == (128, 128, 128)
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    assert colour(read(tmp_path / "clear.png"), 0, 0) == (10, 20, 30)
    for mode in ("L", "P", "1", "LA"):
        Image.new(mode, (4, 4)).save(tmp_path / f"{mode}.png")
        assert read(tmp_path / f"{mode}.png").shape == (3, 4, 4)
    Image.new("CMYK", (4, 4), (0, 0, 0, 0)).save(tmp_path / "print.jpg")
    assert colour(read(tmp_path / "print.jpg"), 0, 0) == (255, 255, 255)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_first_picture_of_an_animation(tmp_path: Path, suffix: str) -> None:
    first, second = (Image.new("RGB", (8, 8), shown) for shown in ((250, 0, 0), (0, 0, 250)))
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[second], duration=100, lossless=True)
    assert colour(read(tmp_path / f"a.{suffix}"), 0, 0) == (250, 0, 0)


def huge_png(path: Path, width: int, height: int) -> Path:
    """A file of a few bytes whose header tells of a very large picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")))
    return path


@pytest.mark.parametrize(
    ("width", "height", "pad"), [(60_000, 60_000, False), (10_000, 10_000, False), (40_000, 10, True)]
)
def test_pictures_of_absurd_size_are_refused(tmp_path: Path, width: int, height: int, pad: bool) -> None:
    path = huge_png(tmp_path / "bomb.png", width, height)
    with pytest.raises(VideoDecodeError, match=r"bomb.png: (not a readable image|has .* 89 million are allowed)"):
        ImageReader(pad_to_square=pad).probe(path)
    with pytest.raises(ValueError, match="max_megapixels"):
        ImageReader(max_megapixels=1000)


def test_broken_files_are_one_kind_of_error(tmp_path: Path) -> None:
    """Cut anywhere, or with any byte changed, a file is read or refused, and never anything else."""
    for suffix in ("png", "jpg", "webp", "gif", "bmp", "tiff"):
        whole = tmp_path / f"whole.{suffix}"
        corners(64, 64).save(whole)
        data = whole.read_bytes()
        path = tmp_path / f"broken.{suffix}"
        for end in range(1, len(data) - 1, max(1, len(data) // 40)):
            path.write_bytes(data[:end])
            _read_or_refuse(path)
        for place in range(0, len(data), max(1, len(data) // 60)):
            path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
            _read_or_refuse(path)


def _read_or_refuse(path: Path) -> None:
    try:
        read(path)
    except VideoDecodeError as error:
        assert str(path) in str(error)


def test_a_cut_picture_is_an_error(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "webp"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(VideoDecodeError, match="not a readable image"):
            read(path)


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not found")
    (tmp_path / "empty.jpg").touch()
    for name, message in (("text", "cannot identify"), ("empty", "empty"), ("gone", "No such file")):
        with pytest.raises(VideoDecodeError, match=message):
            ImageReader().probe(tmp_path / f"{name}.jpg")
    assert is_image("a/B.JPG") and is_image(Path("a.webp")) and not is_image("a.gif") and not is_image("a.mp4")


def node(**settings: Any) -> dict[str, Any]:
    phase = {"name": "clip_eval", "image_size": 8}
    view = {"sampler": {"name": "random", "num_frames": 4}, "transform": {"train": phase, "eval": phase}, **settings}
    return {"views": {"frames": view}}


def test_a_processor_gives_one_frame_whatever_the_sampler_takes(tmp_path: Path) -> None:
    corners().save(tmp_path / "a.png")
    sample = VideoSample("s", str(tmp_path / "a.png"), "q", 1)
    plain = build_processor(node())(sample, train=True)["frames"]
    padded = build_processor(node(image_pad_to_square=True))(sample, train=False)["frames"]
    assert plain.times == padded.times == [0.0]
    assert plain.pixels.shape == (1, 3, 8, 8)
    assert plain.key is not None and padded.key is not None, "no chance is in it, so features may be kept"
    assert plain.key != padded.key
    assert build_processor(node()).duration(tmp_path / "a.png") == 1.0


def test_media_of_the_annotation_come_first(tmp_path: Path) -> None:
    first, second = (Image.new("RGB", (16, 16), shown) for shown in ((250, 0, 0), (0, 0, 250)))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second] * 3, duration=100)
    pictures = build_processor(node())(
        VideoSample("s", str(tmp_path / "a.gif"), "q", 1, extra={"media": "image"}), False
    )
    assert len(pictures["frames"]) == 1
    moving = build_processor(node())(VideoSample("s", str(tmp_path / "a.gif"), "q", 1), False)
    assert len(moving["frames"]) > 1


@pytest.mark.parametrize("count", [0, 1])
def test_text_alone_has_no_frames_or_a_black_one(count: int) -> None:
    processor = build_processor(node(text_frames=count))
    frames = processor(VideoSample("s", "", "q", 1), train=True)["frames"]
    assert frames.pixels.shape == (count, 3, 8, 8)
    assert frames.pixels.sum() == 0
    assert frames.times == [0.0] * count
    assert frames.key is None


@pytest.mark.parametrize("settings", [{"text_frames": 2}, {"image_pad_to_square": 1}, {"image_max_megapixels": 0}])
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings)).removeprefix("image_")):
        build_processor(node(**settings))


def test_limits_of_decoding_are_those_of_pictures_too(tmp_path: Path) -> None:
    corners().save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    processor = build_processor(node())
    view = processor.views["frames"]
    plain = processor(VideoSample("s", str(tmp_path / "a.png"), "q", 1), False)["frames"].pixels
    view.reader = GuardedReader(view.reader, seconds=50.0, memory_mb=1024)
    reader = view.reader_of("image")
    assert isinstance(reader, GuardedReader) and (reader.seconds, reader.memory_mb) == (50.0, 1024)
    assert processor(VideoSample("s", str(tmp_path / "a.png"), "q", 1), False)["frames"].pixels.equal(plain)
    with pytest.raises(VideoDecodeError, match=r"sample s7: .*b.png: not a readable image"):
        processor(VideoSample("s7", str(tmp_path / "b.png"), "q", 1), False)
