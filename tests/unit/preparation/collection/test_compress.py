"""Smaller copies: right frames at right times, right sizes, by both encoders; and nothing unverified under its name."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from lavis.preparation.collection import compress
from lavis.preparation.collection.compress import compress_videos
from lavis.preparation.collection.copy_plan import Target
from lavis.preparation.collection.encoders import chosen_encoder
from lavis.preparation.collection.metadata import video_facts
from lavis.preparation.collection.outcome import UnwritableError
from lavis.processors.readers.pyav import PyAVReader
from tests.video_factory import damage, number_of, trim, truncate, write_video

ENCODERS = pytest.mark.parametrize(
    "encoder",
    [
        pytest.param("ffmpeg", marks=pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no program ffmpeg")),
        "pyav",
    ],
)


def copies(folder: Path, encoder: Any, **target: Any) -> Path:
    target = {"size": 64, "fps": 4, **target}
    compress_videos(folder / "in", folder / "out", Target(**target), encoder=encoder, executor="serial", budget=0)
    return folder / "out"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path


@ENCODERS
@pytest.mark.parametrize("fps", [4, 2.5, 16])
@pytest.mark.parametrize("kind", ["constant", "variable", "late", "rotated", "edited", "odd", "nine"])
def test_every_frame_is_the_one_shown_then(kind: str, fps: float, encoder: str, folder: Path) -> None:
    path = folder / "in" / "a.mp4"
    times: list[float] | None = None
    size = (96, 160)
    if kind == "variable":
        times = [0, 0.1, 0.3, 0.35, 0.9, 1.0, 2.2, 2.3, 2.4, 3.0]
    elif kind == "late":
        times = [1.5 + i / 8 for i in range(20)]
    elif kind == "odd":
        size = (97, 161)
    if kind == "edited":
        trim(write_video(folder / "whole.mp4", 40, 8, size=size, gop=16), path, 0.5)
    elif kind == "nine":
        path = write_video(folder / "in" / "a.webm", 20, 8, size=size, codec="libvpx-vp9", b_frames=0)
    else:
        write_video(
            path, len(times) if times else 20, 8, times=times, size=size, rotation=90 if kind == "rotated" else 0,
            pix_fmt="yuv444p" if kind == "odd" else "yuv420p",
        )  # fmt: skip
    reader = PyAVReader()
    before = reader.probe(path)
    after = reader.probe(copies(folder, encoder, fps=fps) / "a.mp4")
    wanted = [i / fps for i in range(after.num_frames)]
    assert after.times == pytest.approx(wanted, abs=1e-4)
    assert abs(after.num_frames - before.duration_s * fps) <= 1
    shown = [number_of(frame) for frame in reader.read(folder / "out" / "a.mp4", range(after.num_frames))[0]]
    inside = [min(seconds, before.times[-1]) for seconds in wanted]
    assert shown == [number_of(frame) for frame in reader.read(path, times=inside)[0]]
    assert (after.width, after.height) == (106, 64)


@ENCODERS
@pytest.mark.parametrize(
    ("size", "shape", "wanted"),
    [
        ((96, 160), "short_side", (80, 48)),
        ((160, 96), "short_side", (48, 80)),
        ((32, 40), "short_side", (40, 32)),  # never larger
        ((96, 160), "square", (48, 48)),
        ((160, 90), "square", (48, 48)),
        ((32, 40), "square", (48, 48)),
        ((90, 160), "meco", (84, 48)),
        ((160, 90), "meco", (48, 26)),  # squashed, as theirs are
        ((96, 96), "meco", (48, 48)),
    ],
)
def test_sizes(size: tuple[int, int], shape: str, wanted: tuple[int, int], encoder: str, folder: Path) -> None:
    write_video(folder / "in" / "a.mp4", 8, 8, size=size)
    facts = video_facts(copies(folder, encoder, size=48, shape=shape) / "a.mp4")
    assert (facts["width"], facts["height"], facts["rotation"]) == (*wanted, 0)
    assert (facts["codec"], facts["pixel_format"], facts["audio"]) == ("h264", "yuv420p", None)


@ENCODERS
@pytest.mark.parametrize("start_s", [0.0, 1.0])
def test_sound_is_kept_and_stays_with_the_picture(start_s: float, encoder: str, folder: Path) -> None:
    """Sound begins at 0; a picture that begins later begins the copy."""
    times = [start_s + i / 8 for i in range(24)]
    write_video(folder / "in" / "a.mp4", 24, 8, times=times, audio=True)
    path = copies(folder, encoder, audio=True) / "a.mp4"
    facts = video_facts(path)
    assert (facts["audio"], facts["frames"], facts["start_s"]) == ("aac", 12, 0)
    assert sound_s(path) == pytest.approx(3 - start_s, abs=0.13)
    assert video_facts(copies(folder, encoder, audio=False) / "a.mp4")["audio"] is None


def sound_s(path: Path) -> float:
    import av

    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    return float(frames[-1].time + frames[-1].samples / frames[-1].sample_rate - min(frames[0].time, 0))


@ENCODERS
def test_damaged_and_cut_videos(encoder: str, folder: Path) -> None:
    whole = write_video(folder / "whole.mp4", 64, 8, gop=64, options={"movflags": "faststart"})
    damage(whole, folder / "in" / "damaged.mp4")
    truncate(whole, folder / "in" / "cut.mp4")
    write_video(folder / "in" / "good.mp4", 8, 8)
    options: dict[str, Any] = {"encoder": encoder, "executor": "serial", "budget": 2}
    summary = compress_videos(folder / "in", folder / "out", Target(size=64), **options)
    assert [each.item for each in summary.failed] == ["cut.mp4", "damaged.mp4"]
    assert [path.name for path in folder.glob("out/*.mp4")] == ["good.mp4"]
    allowed = compress_videos(folder / "in", folder / "out", Target(size=64), on_damage="warn", **options)
    assert not [each for each in allowed.failed if each.item == "cut.mp4"]


@ENCODERS
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, the disk that is always full")
def test_a_full_disk_is_no_fault_of_the_video(encoder: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(folder / "in" / "a.mp4", 16, 8)
    name = f"encode_with_{encoder}"
    encode = getattr(compress, name)
    monkeypatch.setattr(compress, name, lambda source, copy, *rest: encode(source, Path("/dev/full"), *rest))
    with pytest.raises(UnwritableError, match=r"a.mp4: cannot write .*a.mp4: No space left on device"):
        copies(folder, encoder)
    monkeypatch.undo()
    assert [path.name for path in copies(folder, encoder).glob("*.mp4")] == ["a.mp4"]


def test_only_what_is_missing_or_changed(folder: Path) -> None:
    (folder / "in" / "deep").mkdir()
    for name in ("a.mp4", "deep/b.avi", "c.d.mkv"):
        write_video(folder / "in" / name, 16, 8, b_frames=0)

    def run(**options: Any) -> int:
        return compress_videos(folder / "in", folder / "out", executor="serial", encoder="pyav", **options).new

    assert run() == 3
    out = sorted(path.relative_to(folder / "out").as_posix() for path in (folder / "out").rglob("*.mp4"))
    assert out == ["a.mp4", "c.d.mp4", "deep/b.mp4"]
    assert run() == 0
    (folder / "out" / "a.mp4").unlink()
    (folder / "out" / "deep" / "b.mp4").write_bytes(b"cut off")
    assert run() == 2
    write_video(folder / "in" / "a.mp4", 24, 8)
    assert run() == 1
    assert run(target=Target(fps=2)) == 3


def test_a_copy_that_is_wrong_never_gets_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(folder / "in" / "a.mp4", 16, 8)

    def short(source: Path, copy: Path, *_: Any) -> None:
        write_video(copy, 4, 3, size=(64, 96))

    monkeypatch.setattr(compress, "encode_with_pyav", short)
    options: dict[str, Any] = {"encoder": "pyav", "executor": "serial", "budget": 1}
    summary = compress_videos(folder / "in", folder / "out", **options)
    assert "its copy has 4 frames in 1.333 s instead of 6 in 2.000 s" in summary.failed[0].error
    monkeypatch.setattr(compress, "encode_with_pyav", lambda source, copy, *_: write_video(copy, 6, 3, size=(32, 48)))
    summary = compress_videos(folder / "in", folder / "out", retry=True, **options)
    assert "48x32 pixels instead of 96x64" in summary.failed[0].error
    assert not list((folder / "out").rglob("*.mp4"))


def test_what_is_refused_before_anything_is_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(folder / "in" / "a.mp4", 8, 8)
    with pytest.raises(ValueError, match="cannot go into the folder of the originals"):
        compress_videos(folder / "in", folder / "in" / "out")
    shutil.copy(folder / "in" / "a.mp4", folder / "in" / "a.mkv")
    with pytest.raises(ValueError, match=r"a.mkv and a.mp4 would both become a.mp4"):
        compress_videos(folder / "in", folder / "out")
    monkeypatch.setenv("PATH", "")
    assert chosen_encoder("auto") == "pyav"
    with pytest.raises(ValueError, match="there is no program ffmpeg"):
        chosen_encoder("ffmpeg")
    for options, message in (
        ({"fps": 0}, "fps"), ({"fps": float("inf")}, "fps"), ({"size": 7}, "even"), ({"shape": "round"}, "no shape"),
        ({"crf": 52}, "crf"), ({"gop": 0}, "gop"), ({"preset": "fastest"}, "no preset 'fastest'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Target(**options)


def test_real_clips(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("charades_sample.mp4", "yoga.mp4"):
        shutil.copy(data_dir / "video" / name, tmp_path / "in" / name)
    summary = compress_videos(tmp_path / "in", tmp_path / "out", executor="serial", budget=0)
    facts = {each.item: each.result or {} for each in summary.done}
    assert (facts["yoga.mp4"]["frames"], facts["yoga.mp4"]["width"], facts["yoga.mp4"]["height"]) == (30, 398, 224)
    assert facts["charades_sample.mp4"]["frames"] in (92, 93)


def test_script(root: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(root / "process_data" / "compress_videos.py"))["main"]
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert "Examples:" in shown and "--shape square" in shown
    write_video(folder / "in" / "a.mp4", 16, 8)
    folders = [str(folder / "in"), str(folder / "out")]
    assert main([*folders, "--fps", "2", "--size", "32", "--workers", "1"]) == 0
    shown = capsys.readouterr().out
    assert "1 of 1 done" in shown and "10,000 h would take" in shown and "GiB became" in shown
    assert video_facts(folder / "out" / "a.mp4")["frames"] == 4
    assert main([*folders, "--size", "31"]) == 1
    assert "the size must be an even number" in capsys.readouterr().err
