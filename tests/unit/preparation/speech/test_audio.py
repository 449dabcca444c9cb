"""Sound is in step with the pictures, whatever clock the file has, and damage is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lavis.preparation.speech.audio import RATE, read_sound
from lavis.processors.readers.base import VideoDecodeError
from lavis.processors.readers.pyav import PyAVReader
from tests.speech_video import bursts, onsets, write_speech_video
from tests.video_factory import truncate, write_audio, write_video

FORMS = [("mp4", "aac"), ("mkv", "libopus"), ("ts", "aac"), ("mov", "pcm_s16le")]


@pytest.mark.parametrize(("ending", "codec"), FORMS)
@pytest.mark.parametrize(("pictures", "sound"), [(0.0, 0.0), (5.0, 5.0), (5.0, 4.5), (5.0, 6.0)])
def test_seconds_count_from_the_first_picture(
    tmp_path: Path, ending: str, codec: str, pictures: float, sound: float
) -> None:
    path = write_speech_video(
        tmp_path / f"a.{ending}", bursts(4, (1, 2.5)), picture_start=pictures, sound_start=sound, seconds=4, sound=codec
    )
    heard = read_sound(path)
    assert heard.samples is not None and heard.samples.dtype == np.float32
    shift = sound - pictures
    assert onsets(heard.samples) == pytest.approx([1 + shift, 2.5 + shift], abs=0.01)
    assert heard.duration_s == pytest.approx(PyAVReader().probe(path).duration_s)
    assert heard.damaged == 0


def test_silence_stands_where_packets_are_missing(tmp_path: Path) -> None:
    import av

    whole = write_speech_video(tmp_path / "a.mkv", bursts(6, (1, 5)), sound="pcm_s16le")
    with av.open(str(whole)) as source, av.open(str(tmp_path / "b.mkv"), "w") as output:
        copies = {stream.index: output.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            second = 0.0 if packet.pts is None else float(packet.pts * packet.time_base)
            if packet.size and not (packet.stream.type == "audio" and 2 < second < 4):
                packet.stream = copies[packet.stream.index]
                output.mux(packet)
    samples = read_sound(tmp_path / "b.mkv").samples
    assert samples is not None and onsets(samples) == pytest.approx([1, 5], abs=0.01)


def test_no_sound_is_none_and_sound_alone_counts_from_itself(tmp_path: Path) -> None:
    mute = read_sound(write_video(tmp_path / "mute.mp4", num_frames=16, fps=8))
    assert mute.samples is None and mute.duration_s == pytest.approx(2.0)
    alone = read_sound(write_audio(tmp_path / "alone.m4a", 1.5))
    assert alone.samples is not None and alone.duration_s == pytest.approx(len(alone.samples) / RATE)
    assert alone.duration_s == pytest.approx(1.5, abs=0.1)


def test_a_truncated_file_is_refused_or_used(tmp_path: Path) -> None:
    import av

    whole = write_speech_video(tmp_path / "a.mp4", bursts(20, (1, 12)))
    with av.open(str(whole)) as source, av.open(str(tmp_path / "f.mp4"), "w", options={"movflags": "faststart"}) as out:
        copies = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    cut = truncate(tmp_path / "f.mp4", tmp_path / "cut.mp4")
    with pytest.raises(VideoDecodeError, match=r"sound ends after \d+\.\d of 20\.\d s; fetch it again, or allow it"):
        read_sound(cut)
    samples = read_sound(cut, on_truncated="warn").samples
    assert samples is not None and RATE < len(samples) < 18 * RATE


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_is_no_video_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoDecodeError, match=r"a\.mp4"):
        read_sound(path)
    with pytest.raises(VideoDecodeError, match="No such file"):
        read_sound(tmp_path / "absent.mp4")
