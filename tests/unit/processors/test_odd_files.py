"""Files whose packets do not tell when frames are shown, and files that are no videos at all."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lavis.common.registry import registry
from lavis.preparation.speech.audio import read_sound
from lavis.processors.readers._unstamped import counted_times, guess_holds
from lavis.processors.readers.base import VideoDecodeError
from lavis.processors.readers.pyav import PyAVReader
from tests.video_factory import number_of, numbered_frame, write_video

FPS = 25


def packets_of_mpeg4(b_frames: int, num_frames: int = 30) -> list[tuple[bytes, int, bool]]:
    """Data, place in the order of presentation, and whether it is a keyframe, in the order of decoding."""
    import av

    context = av.CodecContext.create("mpeg4", "w")
    context.width, context.height, context.pix_fmt = 96, 64, "yuv420p"
    context.time_base, context.framerate = Fraction(1, FPS), Fraction(FPS)
    context.max_b_frames, context.gop_size, context.bit_rate, context.thread_count = b_frames, 10, 2_000_000, 1
    packets = []
    for number in [*range(num_frames), None]:
        frame = None
        if number is not None:
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, 96, 64), format="rgb24")
            frame.pts = number
        packets += [(bytes(packet), packet.pts, packet.is_keyframe) for packet in context.encode(frame)]
    return packets


def write_avi(path: Path, chunks: Sequence[tuple[int, bytes, bool]]) -> Path:
    """Chunks of MPEG-4, each with the number of frames that it is due after."""
    import av

    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height = 96, 64
        for due, data, keyframe in chunks:
            packet = av.Packet(data)
            packet.pts = packet.dts = due
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, FPS), stream, keyframe
            output.mux(packet)
    return path


def check_all(path: Path, times: Sequence[float], reader: str = "pyav") -> None:
    """Every frame in one pass, and some for themselves, which is where readers jump."""
    video = registry.readers.get(reader)()
    info = video.probe(path)
    assert info.times == pytest.approx(times, abs=1e-6)
    frames, _ = video.read(path, range(len(times)), info=info)
    assert [number_of(frame) for frame in frames] == list(range(len(times)))
    for number in (len(times) - 1, len(times) // 2, 3, 0):
        assert number_of(video.read(path, [number], info=info)[0][0]) == number


@pytest.mark.parametrize("b_frames", [1, 3])
def test_h264_with_b_frames_in_avi(tmp_path: Path, b_frames: int) -> None:
    """What FFmpeg guesses of presentation is wrong there, and single frames were those of other numbers."""
    encoding = {"x264-params": "b-adapt=0"}
    path = write_video(
        tmp_path / "a.avi", 30, FPS, b_frames=b_frames, time_base=Fraction(1, FPS), encoding=encoding, gop=10
    )
    check_all(path, [i / FPS for i in range(30)])


def test_two_pictures_in_one_chunk(tmp_path: Path) -> None:
    """XviD's packed bitstream: a picture and the B-frame that follows it, later an empty one in its place."""
    packets, chunks = packets_of_mpeg4(2), []
    places = [place for _, place, _ in packets]
    early = [place < max(places[: i + 1]) for i, place in enumerate(places)]
    for i, (data, _, keyframe) in enumerate(packets):
        follows = i + 1 < len(packets) and early[i + 1]
        if not early[i]:
            chunks.append((data + (packets[i + 1][0] if follows else b""), keyframe))
        elif early[i - 1]:
            chunks.append((data, False))
        if early[i] and not follows:
            chunks.append((b"\x00\x00\x01\xb6\x5f\xff", False))
    head = chunks[0][0]
    at = head.find(b"\x00\x00\x01\xb6")
    chunks[0] = (head[:at] + b"\x00\x00\x01\xb2DivX503b1393p" + head[at:], True)
    path = write_avi(tmp_path / "a.avi", [(due, *chunk) for due, chunk in enumerate(chunks)])
    check_all(path, [i / FPS for i in range(len(packets))])


def test_chunks_left_out_of_avi(tmp_path: Path) -> None:
    """A recording that skips: the frame before the gap stays until the next one is due."""
    packets = packets_of_mpeg4(0)
    due = [i + (20 if i >= 12 else 0) for i in range(len(packets))]
    path = write_avi(tmp_path / "a.avi", [(at, data, key) for at, (data, _, key) in zip(due, packets, strict=True)])
    check_all(path, [at / FPS for at in due])
    h264 = write_video(
        tmp_path / "b.avi", 30, FPS, b_frames=0, time_base=Fraction(1, FPS), times=[at / FPS for at in due], gop=10
    )
    check_all(h264, [at / FPS for at in due])


def test_avi_that_begins_between_keyframes(tmp_path: Path) -> None:
    """Cut out of a longer file: what comes before the first keyframe refers to frames that are gone."""
    rest = packets_of_mpeg4(2)[4:]
    path = write_avi(tmp_path / "a.avi", [(due, data, key) for due, (data, _, key) in enumerate(rest)])
    times = PyAVReader().probe(path).times
    assert times == pytest.approx([i / FPS for i in range(18)], abs=1e-6)
    frames, _ = PyAVReader().read(path, range(len(times)))
    assert [number_of(frame) for frame in frames] == list(range(12, 30))


def test_frames_faster_than_the_clock(tmp_path: Path) -> None:
    """Matroska counts milliseconds: at 2,000 frames a second two frames share one."""
    path = write_video(tmp_path / "a.mkv", 40, 2000, time_base=Fraction(1, 2000), b_frames=0)
    video = PyAVReader()
    info = video.probe(path)
    assert np.diff(info.times).min() > 0
    assert np.abs(np.array(info.times) - np.arange(40) / 2000).max() <= 0.001
    frames, _ = video.read(path, [39, 4, 5], info=info)
    assert [number_of(frame) for frame in frames] == [39, 4, 5]


def test_one_repeated_stamp_does_not_make_the_rate_constant() -> None:
    stamps = [0, 40, 40, 1000, 5000]
    times = counted_times(stamps, [], Fraction(1, 1000), 25.0)
    assert times == pytest.approx([0, 0.04, 0.0405, 1, 5])
    assert counted_times([0, 40, None], [], Fraction(1, 1000), 25.0) == [0, 0.04, 0.08]
    assert counted_times([40, 0], [], Fraction(1, 1000), 0) is None


def test_guesses_are_tried_where_frames_are_reordered() -> None:
    def decoded(*pts: int) -> Callable[[], Iterator[Any]]:
        return lambda: iter([SimpleNamespace(pts=stamp) for stamp in pts])

    assert guess_holds([1, 2, 3], [0, 1, 2], False, None, decoded())
    assert not guess_holds([1, 2, 3], [0, 2, 3], False, None, decoded())
    assert not guess_holds([1, 2, 3], [0, 1, 2], True, None, decoded())
    assert guess_holds([1, 2, 3], [0, 1, 2], True, 1, decoded(1, 2, 3))
    assert not guess_holds([1, 2, 3], [0, 1, 2], True, 1, decoded(1, 3, 2))


def test_sound_in_avi_counts_from_the_first_chunk(tmp_path: Path) -> None:
    """FFmpeg guesses a frame or more too late for the first picture, so captions came as much too early."""
    import av

    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as output:
        video, sound = output.add_stream("libx264", rate=8), output.add_stream("pcm_s16le", rate=16000, layout="mono")
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.max_b_frames, video.codec_context.thread_count = 0, 1
        tone = np.zeros((1, 32 * 2000), np.int16)
        tone[:, 32000:36000] = (8000 * np.sin(np.arange(4000) / 3)).astype(np.int16)
        for number in range(32):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, 96, 64), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 8)
            output.mux(video.encode(frame))
            heard = av.AudioFrame.from_ndarray(tone[:, number * 2000 :][:, :2000].copy(), "s16", "mono")
            heard.sample_rate, heard.pts, heard.time_base = 16000, number * 2000, Fraction(1, 16000)
            output.mux(sound.encode(heard))
        output.mux([*video.encode(), *sound.encode()])
    info = PyAVReader().probe(path)
    assert info.index.pts[0] > 0 and info.index.start_s == 0
    samples = read_sound(path).samples
    assert samples is not None
    assert np.argmax(np.abs(samples) > 0.05) / 16000 == pytest.approx(2.0, abs=0.01)


def test_single_frame_of_a_stream_without_durations(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", 1, FPS, b_frames=0, time_base=Fraction(1, FPS))
    info = PyAVReader().probe(path)
    assert (info.num_frames, info.fps, info.duration_s) == (1, FPS, 1 / FPS)


def test_pictures_that_are_renewed_in_stripes(tmp_path: Path) -> None:
    """Such a stream has one real keyframe, and decoders give nothing until a picture is whole."""
    encoding = {"x264-params": "intra-refresh=1:keyint=20:bframes=2", "preset": "veryfast"}
    path = write_video(tmp_path / "a.ts", 75, FPS, gop=20, encoding=encoding)
    video = PyAVReader()
    info = video.probe(path)
    assert [number_of(video.read(path, [i], info=info)[0][0]) for i in range(75)] == list(range(75))


@pytest.mark.parametrize("reader", ["opencv", "decord"])
def test_two_videos_in_one_file(tmp_path: Path, reader: str) -> None:
    import av

    pytest.importorskip({"opencv": "cv2"}.get(reader, reader))
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("mpeg4", rate=8) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(8):
            for k, stream in enumerate(streams):
                frame = av.VideoFrame.from_ndarray(numbered_frame(number + 100 * k, 96, 64), format="rgb24")
                frame.pts = number
                output.mux(stream.encode(frame))
        for stream in streams:
            output.mux(stream.encode())
    assert number_of(PyAVReader(stream=1).read(path, [3])[0][0]) == 103
    with pytest.raises(VideoDecodeError, match=r"2 streams of video, .* use reader pyav"):
        registry.readers.get(reader)().probe(path)


def test_opencv_refuses_interlaced_video(tmp_path: Path) -> None:
    """OpenCV 5.0 says it has read such a frame and hands out whatever was in that memory."""
    pytest.importorskip("cv2")
    path = write_video(tmp_path / "a.mp4", encoding={"x264-params": "interlaced=1:tff=1", "flags": "+ilme+ildct"})
    assert number_of(PyAVReader().read(path, [11])[0][0]) == 11
    with pytest.raises(VideoDecodeError, match="random pixels of interlaced video"):
        registry.readers.get("opencv")().probe(path)


def test_torchcodec_refuses_what_it_cannot_be_checked_with(tmp_path: Path) -> None:
    pytest.importorskip("torchcodec")
    path = write_video(tmp_path / "a.mkv", 40, 2000, time_base=Fraction(1, 2000), b_frames=0)
    with pytest.raises(VideoDecodeError, match="no frame times that hold"):
        registry.readers.get("torchcodec")().read(path, [3])


def test_decord_is_not_given_a_head_that_lies(tmp_path: Path) -> None:
    """It wants memory for as many frames, and its error ends the process."""
    pytest.importorskip("decord")
    path = write_video(tmp_path / "a.avi", 24, 8, codec="mpeg4", b_frames=0, time_base=Fraction(1, 8))
    data = bytearray(path.read_bytes())
    length_of_stream = data.index(b"strh") + 8 + 32
    data[length_of_stream : length_of_stream + 4] = struct.pack("<I", 2**30)
    path.write_bytes(data)
    with pytest.raises(VideoDecodeError, match="its head speaks of 1073741824 frames"):
        registry.readers.get("decord")().probe(path)


@pytest.mark.parametrize("reader", ["pyav", "decord", "torchcodec", "opencv"])
def test_names_that_look_like_protocols(tmp_path: Path, reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip({"pyav": "av", "opencv": "cv2"}.get(reader, reader))
    monkeypatch.chdir(tmp_path)
    for name in ("10:30 clip.mp4", "http:clip.mp4", "-clip.mp4", "clip%03d.mp4"):
        write_video(tmp_path / "clip.mp4").rename(tmp_path / name)
        assert number_of(registry.readers.get(reader)().read(name, [11])[0][0]) == 11


@pytest.mark.parametrize("reader", ["pyav", "decord", "torchcodec", "opencv", "guarded"])
def test_folder_above_what_a_link_leads_to(tmp_path: Path, reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip({"pyav": "av", "opencv": "cv2", "guarded": "av"}.get(reader, reader))
    (tmp_path / "disk" / "split").mkdir(parents=True)
    write_video(tmp_path / "disk" / "clip.mp4")
    (tmp_path / "split").symlink_to(tmp_path / "disk" / "split")
    monkeypatch.chdir(tmp_path)
    assert number_of(registry.readers.get(reader)().read("split/../clip.mp4", [11])[0][0]) == 11


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:3,\nother.ts\n", "is a playlist"),
        ("ffconcat version 1.0\nfile other.ts\n", "is a playlist"),
        ("<!DOCTYPE html><html><body>404 Not Found</body></html>", "not a readable video"),
    ],
)
def test_text_under_the_name_of_a_video(tmp_path: Path, text: str, cause: str) -> None:
    """A live playlist kept FFmpeg waiting for ever."""
    path = tmp_path / "clip.m3u8"
    path.write_text(text)
    with pytest.raises(VideoDecodeError, match=cause):
        PyAVReader().probe(path)


def test_pipe_under_the_name_of_a_video(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / "clip.mp4")
    for ask in (PyAVReader().probe, PyAVReader().fingerprint):
        with pytest.raises(VideoDecodeError, match="no file but a pipe"):
            ask(tmp_path / "clip.mp4")
