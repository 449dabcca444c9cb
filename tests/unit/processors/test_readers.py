"""Every reader against numbered clips, and against the odd files that data sets hold."""

from __future__ import annotations

import importlib.util
import json
import pickle
from pathlib import Path

import pytest
import torch

from lavis.common.registry import registry
from lavis.processors.readers.base import VideoDecodeError, VideoInfo, VideoReader
from lavis.processors.readers.frame_folder import FrameFolderReader
from lavis.processors.readers.pyav import PyAVReader
from tests.video_factory import damage, number_of, trim, truncate, write_audio, write_images, write_video

PACKAGE = {"pyav": "av", "decord": "decord", "torchcodec": "torchcodec", "opencv": "cv2"}


@pytest.fixture(params=sorted(PACKAGE))
def reader(request: pytest.FixtureRequest) -> VideoReader:
    if importlib.util.find_spec(PACKAGE[request.param]) is None:
        pytest.skip(f"{PACKAGE[request.param]} is not installed")
    try:
        importlib.import_module(PACKAGE[request.param])
    except (ImportError, RuntimeError, OSError) as error:
        pytest.skip(f"{PACKAGE[request.param]} cannot be imported: {str(error).strip().splitlines()[0]}")
    return registry.readers.get(request.param)()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 numbered frames in 3 seconds, in several forms."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "plain.mp4")
    write_video(folder / "sound.mp4", audio=True)
    write_video(folder / "plain.mkv")
    write_video(folder / "vp9.webm", codec="libvpx-vp9")
    write_video(folder / "turned_90.mp4", rotation=90)
    write_video(folder / "turned_180.mp4", rotation=180)
    write_video(folder / "turned_270.mp4", rotation=270)
    write_video(folder / "late_start.mp4", times=[3 + i / 8 for i in range(24)])
    write_video(folder / "single.mp4", num_frames=1)
    write_video(folder / "varying.mp4", times=[i * i / 40 for i in range(24)])
    write_video(folder / "stream.ts", num_frames=64)
    write_video(folder / "fast_start.mp4", num_frames=200, options={"movflags": "faststart"})
    (folder / "plain.mp4.avi").write_bytes((folder / "plain.mp4").read_bytes())
    return folder


FORMS = ["plain.mp4", "sound.mp4", "plain.mkv", "vp9.webm", "turned_90.mp4", "turned_180.mp4", "turned_270.mp4"]
FORMS += ["late_start.mp4", "plain.mp4.avi"]


@pytest.mark.parametrize("name", FORMS)
def test_frames_are_the_ones_asked_for(reader: VideoReader, clips: Path, name: str) -> None:
    path = clips / name
    info = reader.probe(path)
    assert (info.num_frames, info.fps, info.height, info.width) == (24, 8.0, 64, 96)
    assert list(info.times) == pytest.approx([i / 8 for i in range(24)], abs=1e-6)
    assert info.duration_s == pytest.approx(3.0, abs=1e-3)
    asked = [17, 3, 3, 0, 23, 9, 10]
    frames, times = reader.read(path, asked)
    assert frames.shape == (7, 3, 64, 96)
    assert frames.dtype == torch.uint8
    assert [number_of(frame) for frame in frames] == asked
    assert times == [info.times[i] for i in asked]


def test_resizing_keeps_no_aspect_ratio(reader: VideoReader, clips: Path) -> None:
    for name in ("plain.mp4", "turned_90.mp4"):
        frames, _ = reader.read(clips / name, range(24), size=(40, 50))
        assert frames.shape == (24, 3, 40, 50)
        assert [number_of(frame) for frame in frames] == list(range(24))


def test_single_frame(reader: VideoReader, clips: Path) -> None:
    info = reader.probe(clips / "single.mp4")
    assert (info.num_frames, list(info.times), info.fps) == (1, [0.0], 8.0)
    assert reader.read(clips / "single.mp4", [0])[0].shape == (1, 3, 64, 96)


def test_varying_rate_gives_true_times(reader: VideoReader, clips: Path) -> None:
    info = reader.probe(clips / "varying.mp4")
    assert list(info.times) == pytest.approx([i * i / 40 for i in range(24)], abs=1e-4)
    frames, times = reader.read(clips / "varying.mp4", times=[0.0, 0.1, 0.95, 10.0])
    assert [number_of(frame) for frame in frames] == [0, 2, 6, 20]
    assert times == pytest.approx([0, 0.1, 0.9, 10.0], abs=1e-4)


def test_reading_nothing(reader: VideoReader, clips: Path) -> None:
    frames, times = reader.read(clips / "plain.mp4", [])
    assert frames.shape == (0, 3, 64, 96)
    assert times == []


@pytest.mark.parametrize("index", [-1, 24])
def test_frames_that_do_not_exist(reader: VideoReader, clips: Path, index: int) -> None:
    with pytest.raises(ValueError, match="frames 0 to 23"):
        reader.read(clips / "plain.mp4", [0, index])


def test_indices_or_times(clips: Path) -> None:
    with pytest.raises(ValueError, match="either"):
        PyAVReader().read(clips / "plain.mp4")
    with pytest.raises(ValueError, match="either"):
        PyAVReader().read(clips / "plain.mp4", [0], times=[0.0])
    with pytest.raises(ValueError, match="outside the video"):
        PyAVReader().read(clips / "plain.mp4", times=[3.2])


def bad_file(kind: str, clips: Path, folder: Path) -> Path:
    path = folder / f"{kind}.mp4"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "garbage":
        path.write_bytes(bytes(i * 37 % 256 for i in range(5000)))
    elif kind == "text":
        path.write_text("not a video at all\n" * 50)
    elif kind == "audio_only":
        write_audio(path)
    elif kind == "no_frames":
        write_video(path, num_frames=0, audio=True)
    elif kind == "no_index":
        truncate(clips / "plain.mp4", path)
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    "kind", ["missing", "empty", "garbage", "text", "audio_only", "no_frames", "no_index", "folder"]
)
def test_no_video(reader: VideoReader, clips: Path, tmp_path: Path, kind: str) -> None:
    path = bad_file(kind, clips, tmp_path)
    with pytest.raises(VideoDecodeError) as caught:
        reader.read(path, [0])
    assert caught.value.path == str(path)
    assert caught.value.cause
    assert caught.value.cure


def test_truncated_file(reader: VideoReader, clips: Path, tmp_path: Path) -> None:
    path = truncate(clips / "fast_start.mp4", tmp_path / "cut.mp4")
    with pytest.raises(VideoDecodeError):
        reader.read(path, range(199))


def test_truncated_file_as_far_as_it_goes(clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = truncate(clips / "fast_start.mp4", tmp_path / "cut.mp4")
    with pytest.raises(VideoDecodeError, match=r"ends after \d+ of 200 frames.*on_truncated"):
        PyAVReader().probe(path)
    lenient = PyAVReader(on_truncated="warn")
    info = lenient.probe(path)
    assert 90 < info.num_frames < 150
    assert "of 200 frames" in caplog.text
    frames, _ = lenient.read(path, range(info.num_frames), info=info)
    assert [number_of(frame) for frame in frames] == list(range(info.num_frames))


def test_truncated_matroska(clips: Path, tmp_path: Path) -> None:
    path = truncate(write_video(tmp_path / "whole.mkv", num_frames=100), tmp_path / "cut.mkv")
    with pytest.raises(VideoDecodeError, match="the file ends after"):
        PyAVReader().probe(path)
    assert PyAVReader(on_truncated="warn").probe(path).num_frames < 100


def test_damaged_frames(clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = damage(clips / "fast_start.mp4", tmp_path / "damaged.mp4")
    with pytest.raises(VideoDecodeError, match="cannot be decoded"):
        PyAVReader().read(path, range(200))
    frames, times = PyAVReader(on_truncated="warn").read(path, range(200))
    assert "neighbours stand in" in caplog.text
    assert len(frames) == 200
    assert times == sorted(times)
    assert len(set(times)) < 200
    sound = range(50)
    assert [number_of(frames[i]) for i in sound] == list(sound)


def test_nothing_left_of_the_frames_asked_for(clips: Path, tmp_path: Path) -> None:
    path = damage(clips / "fast_start.mp4", tmp_path / "damaged.mp4")
    lenient = PyAVReader(on_truncated="warn")
    lost = next(i for i in range(80, 120) if lenient.read(path, [i - 70, i])[1][1] != i / 8)
    with pytest.raises(VideoDecodeError, match="1 of 1 frames"):
        lenient.read(path, [lost])


@pytest.mark.parametrize("extension", ["ts", "avi", "h264"])
def test_containers_without_good_seeking(tmp_path: Path, extension: str) -> None:
    codec = "mpeg4" if extension == "avi" else "libx264"
    path = write_video(tmp_path / f"a.{extension}", num_frames=64, codec=codec, b_frames=0 if codec == "mpeg4" else 2)
    info = PyAVReader().probe(path)
    assert info.num_frames == 64
    if extension != "h264":  # a bare stream has no times; FFmpeg assumes 25 frames a second
        assert list(info.times) == pytest.approx([i / 8 for i in range(64)], abs=1e-3)
        assert info.fps == pytest.approx(8.0)
    for asked in ([5, 40, 63], [60], [8, 16, 24], [63, 0]):
        frames, _ = PyAVReader().read(path, asked, info=info)
        assert [number_of(frame) for frame in frames] == asked


def test_stream_cut_out_of_a_longer_one(clips: Path, tmp_path: Path) -> None:
    """Recordings start anywhere: what comes before the first keyframe is not counted."""
    data = (clips / "stream.ts").read_bytes()
    start = len(data) // 4 // 188 * 188
    path = tmp_path / "cut.ts"
    path.write_bytes(data[:376] + data[start:])
    reader = PyAVReader()
    info = reader.probe(path)
    frames, times = reader.read(path, range(info.num_frames), info=info)
    numbers = [number_of(frame) for frame in frames]
    assert times[0] == 0.0
    assert 30 < info.num_frames < 64
    assert numbers == list(range(64 - info.num_frames, 64))


@pytest.mark.parametrize("hidden", [4, 8, 13])
def test_trimmed_by_an_edit_list(clips: Path, tmp_path: Path, hidden: int) -> None:
    path = trim(clips / "plain.mp4", tmp_path / "trimmed.mp4", hidden / 8)
    info = PyAVReader().probe(path)
    assert list(info.times) == pytest.approx([i / 8 for i in range(24 - hidden)])
    for asked in (list(range(24 - hidden)), [0], [23 - hidden, 1]):
        frames, _ = PyAVReader().read(path, asked, info=info)
        assert [number_of(frame) for frame in frames] == [hidden + i for i in asked]


def test_decord_refuses_transport_streams(clips: Path) -> None:
    pytest.importorskip("decord")
    with pytest.raises(VideoDecodeError, match="transport streams"):
        registry.readers.get("decord")().probe(clips / "stream.ts")


def test_choosing_a_stream(clips: Path) -> None:
    assert PyAVReader(stream=0).probe(clips / "sound.mp4").num_frames == 24
    for wrong in (1, 7):
        with pytest.raises(VideoDecodeError, match=f"stream {wrong} is no video stream"):
            PyAVReader(stream=wrong).probe(clips / "sound.mp4")


def test_published_times_of_a_real_clip(data_dir: Path) -> None:
    published = json.loads((data_dir / "video" / "nasa_13013.stream0.frames.json").read_text())
    info = PyAVReader(stream=0).probe(data_dir / "video" / "nasa_13013.mp4")
    assert list(info.times) == [float(frame["pts_time"]) for frame in published]
    assert info.duration_s == pytest.approx(sum(float(frame["duration_time"]) for frame in published))


@pytest.mark.parametrize(
    ("name", "num_frames", "fps", "duration"),
    [("charades_sample", 460, 15000 / 1001, 30.697), ("yoga", 300, 30.0, 10.0), ("nasa_13013", 390, 29.97, 13.013)],
)
def test_real_clips(data_dir: Path, name: str, num_frames: int, fps: float, duration: float) -> None:
    path = data_dir / "video" / f"{name}.mp4"
    info = PyAVReader().probe(path)
    assert info.num_frames == num_frames
    assert info.fps == pytest.approx(fps, rel=1e-5)
    assert info.duration_s == pytest.approx(duration, abs=1e-3)


def test_same_frames_as_decord(data_dir: Path) -> None:
    """Published weights saw decord's frames: the default reader must find the same ones and resize them alike."""
    pytest.importorskip("decord")
    path = data_dir / "video" / "yoga.mp4"
    indices = list(range(0, 300, 43))
    ours, theirs = PyAVReader(), registry.readers.get("decord")()
    ours_info, theirs_info = ours.probe(path), theirs.probe(path)
    assert ours_info.fps == theirs_info.fps
    assert list(ours_info.times) == pytest.approx(list(theirs_info.times), abs=1e-5)
    mine, _ = ours.read(path, indices, size=(224, 224), info=ours_info)
    other, _ = theirs.read(path, indices, size=(224, 224), info=theirs_info)
    assert (mine.float() - other.float()).abs().mean() < 0.5


def test_sparse_reading_equals_sequential_decoding(data_dir: Path) -> None:
    import av

    path = str(data_dir / "video" / "yoga.mp4")
    asked = [0, 1, 120, 299]
    with av.open(path) as container:
        all_frames = [frame for i, frame in enumerate(container.decode(video=0)) if i in asked]
        expected = [torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1) for frame in all_frames]
    frames, _ = PyAVReader().read(path, asked)
    assert torch.equal(frames, torch.stack(expected))


def test_frame_folder(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "frames", num_frames=12)
    (folder / ".hidden.jpg").write_text("x")
    (folder / "notes.txt").write_text("x")
    reader = FrameFolderReader(fps=2)
    info = reader.probe(folder)
    assert (info.num_frames, info.fps, info.duration_s) == (12, 2, 6.0)
    frames, times = reader.read(folder, [11, 0, 9], size=(32, 48))
    assert [number_of(frame) for frame in frames] == [11, 0, 9]
    assert times == [5.5, 0.0, 4.5]


def test_bad_frame_folders(tmp_path: Path) -> None:
    reader = FrameFolderReader()
    (tmp_path / "empty").mkdir()
    file = tmp_path / "file.mp4"
    file.write_bytes(b"x")
    for path, words in ((tmp_path / "none", "No such"), (tmp_path / "empty", "no images"), (file, "not a folder")):
        with pytest.raises(VideoDecodeError, match=words):
            reader.probe(path)
    folder = write_images(tmp_path / "frames", num_frames=3)
    (folder / "2.jpg").write_bytes(b"no jpeg")
    with pytest.raises(VideoDecodeError, match=r"2\.jpg"):
        reader.read(folder, [1])
    write_images(folder, num_frames=2, size=(32, 32))
    with pytest.raises(VideoDecodeError, match="differs in size"):
        reader.read(folder, [0, 2])
    assert reader.read(folder, [0, 2], size=(20, 20))[0].shape == (2, 3, 20, 20)
    with pytest.raises(ValueError, match="above 0"):
        FrameFolderReader(fps=0)


def test_fingerprint_follows_the_content(clips: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes((clips / "plain.mp4").read_bytes())
    before = PyAVReader().fingerprint(path)
    assert PyAVReader().fingerprint(path) == before
    path.write_bytes((clips / "sound.mp4").read_bytes())
    assert PyAVReader().fingerprint(path) != before
    folder = write_images(tmp_path / "frames", num_frames=3)
    first = FrameFolderReader().fingerprint(folder)
    write_images(folder, num_frames=4)
    assert FrameFolderReader().fingerprint(folder) != first
    with pytest.raises(VideoDecodeError):
        PyAVReader().fingerprint(tmp_path / "none")


def test_errors_survive_process_borders() -> None:
    error = VideoDecodeError("a.mp4", "broken", "mend it").of_sample("q7")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "sample q7: a.mp4: broken; mend it"
    assert (again.path, again.cause, again.cure, again.sample_id) == ("a.mp4", "broken", "mend it", "q7")
    assert str(VideoDecodeError("a whole message")) == "a whole message"


class Broken(torch.utils.data.Dataset):
    def __getitem__(self, index: int) -> None:
        PyAVReader().probe("nowhere.mp4")

    def __len__(self) -> int:
        return 1


def test_errors_keep_their_type_in_loader_workers() -> None:
    loader = torch.utils.data.DataLoader(Broken(), num_workers=1)
    with pytest.raises(VideoDecodeError, match=r"nowhere\.mp4"):
        next(iter(loader))


def test_info_finds_frames_by_time() -> None:
    info = VideoInfo.regular(10, 4.0)
    assert [info.index_at(t) for t in (0, 0.24, 0.25, 2.25, 2.5)] == [0, 0, 1, 9, 9]
    with pytest.raises(ValueError, match="outside"):
        info.index_at(-0.1)


def test_missing_packages_are_named(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name, module in PACKAGE.items():
        if name == "pyav":
            continue
        for loaded in [known for known in sys.modules if known.partition(".")[0] == module] or [module]:
            monkeypatch.setitem(sys.modules, loaded, None)
        with pytest.raises(ImportError, match=name):
            registry.readers.get(name)().read(clips / "plain.mp4", [0])
