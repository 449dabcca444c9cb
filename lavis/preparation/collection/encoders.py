"""Two ways to write a smaller copy: the ``ffmpeg`` program, and PyAV where there is none. Both run the same filters."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from lavis.preparation.collection.copy_plan import Target, audio_filters
from lavis.processors.readers._packets import open_video
from lavis.processors.readers.base import Damage, VideoDecodeError, VideoInfo

Encoder = Literal["auto", "ffmpeg", "pyav"]
ENCODERS: tuple[Encoder, ...] = ("auto", "ffmpeg", "pyav")
_AUDIO_BITS = 96_000
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def chosen_encoder(asked: Encoder) -> Literal["ffmpeg", "pyav"]:
    """``ffmpeg`` if there is such a program, and ``pyav`` otherwise, unless one is asked for.

    Raises:
        ValueError: if the program is asked for and is not there, or for an unknown name.
    """
    if asked not in ENCODERS:
        raise ValueError(f"there is no encoder {asked!r}; there are {', '.join(ENCODERS)}")
    there = shutil.which("ffmpeg") is not None
    if asked == "ffmpeg" and not there:
        raise ValueError("there is no program ffmpeg; install it, or take --encoder pyav, which needs none")
    return "ffmpeg" if there and asked != "pyav" else "pyav"


def encode_with_ffmpeg(source: Path, copy: Path, info: VideoInfo, target: Target, on_damage: Damage) -> None:
    """Writes a copy with the program.

    Args:
        source: the video.
        copy: where to.
        info: what PyAV's reader says of the source.
        target: what the copy is to be.
        on_damage: refuse packets that cannot be decoded, or pass over them.

    Raises:
        VideoDecodeError: with the program's last words, if it fails.
        OSError: if the copy cannot be written.
    """
    import av

    with open_video(str(source), info.index.stream) as (container, stream):
        sound = _sound(container) if target.audio else None
        zero_s = (container.start_time or 0) / av.time_base  # the program starts its clock with the file
        if sound is not None:  # read here: after the container is closed a stream's facts are whatever lies there
            heard = _chain(_audio_filters(stream, sound, info, zero_s))
            kept = ["-map", f"0:{sound.index}", "-af", heard, "-c:a", "aac", "-b:a", str(_AUDIO_BITS)]
        else:
            kept = []
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error"]
    command += [*(["-xerror"] if on_damage == "raise" else []), "-threads", "1"]
    command += ["-i", f"file:{source}", "-map", f"0:{info.index.stream}"]
    command += ["-vf", _chain(target.video_filters(info.width, info.height))]
    command += kept
    command += ["-c:v", "libx264", "-preset", target.preset, "-crf", str(target.crf), "-g", str(target.gop)]
    command += ["-threads", "1", "-map_metadata", "-1", "-map_chapters", "-1", "-movflags", "+faststart"]
    command += ["-f", "mp4", "-y", f"file:{copy}"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        _check_disk(done.stderr)
        words = " ".join(done.stderr.split())[-300:] or f"exit status {done.returncode}"
        raise VideoDecodeError(source, f"ffmpeg cannot make a copy: {words}", "fetch the file again, or re-encode it")


def _check_disk(said: str) -> None:
    """That the program did not fail for the disk it wrote to, which it says in words alone."""
    for code in _NO_ROOM:
        if os.strerror(code) in said:
            raise OSError(code, os.strerror(code))


def encode_with_pyav(source: Path, copy: Path, info: VideoInfo, target: Target, on_damage: Damage) -> None:
    """Writes a copy with PyAV; for the arguments see ``encode_with_ffmpeg``.

    Raises:
        VideoDecodeError: if the source is damaged and ``on_damage`` is ``raise``.
        OSError: if the copy cannot be written.
    """
    try:
        lost = _encode_with_pyav(source, copy, info, target)
    except VideoDecodeError as error:  # as which any error comes out of an opened video
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_ROOM:
            raise OSError(error.__cause__.errno, error.__cause__.strerror) from error
        raise
    if lost and on_damage == "raise":
        cure = "fetch it again, or allow it (--damaged warn)"
        raise VideoDecodeError(source, f"{lost} packets cannot be decoded", cure)


def _encode_with_pyav(source: Path, copy: Path, info: VideoInfo, target: Target) -> int:
    """The number of packets of the source that cannot be decoded."""
    import av

    width, height = target.final(info.width, info.height)
    options = {"movflags": "faststart"}
    with (
        open_video(str(source), info.index.stream) as (container, stream),
        av.open(str(copy), "w", format="mp4", options=options) as output,
    ):
        sound = _sound(container) if target.audio else None
        picture: Any = output.add_stream("libx264", rate=target.rate)
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        picture.codec_context.thread_count = 1
        picture.codec_context.gop_size = target.gop
        picture.options = {"preset": target.preset, "crf": str(target.crf)}
        turns = {90: [("transpose", "2")], 180: [("hflip", ""), ("vflip", "")], 270: [("transpose", "1")]}
        filters = [*turns.get(info.index.rotation, []), *target.video_filters(info.width, info.height)]
        tracks = {stream.index: _Track(_graph("add_buffer", stream, filters), picture, output)}
        if sound is not None:
            heard: Any = output.add_stream("aac", rate=sound.rate, layout="mono" if sound.channels == 1 else "stereo")
            heard.bit_rate = _AUDIO_BITS
            graph = _graph("add_abuffer", sound, _audio_filters(stream, sound, info))
            tracks[sound.index] = _Track(graph, heard, output)
        return _through(container, [stream, *([sound] if sound is not None else [])], tracks, info)


class _Track:
    """Frames through filters and an encoder into the file."""

    def __init__(self, graph: Any, stream: Any, output: Any) -> None:
        self.graph, self.stream, self.output = graph, stream, output

    def add(self, frame: Any) -> None:
        self.graph.push(frame)
        for filtered in self._filtered():
            if self.stream.type == "video":
                filtered.pict_type = 0  # the encoder chooses its own keyframes, and not those of the original
            self.output.mux(self.stream.encode(filtered))

    def finish(self) -> None:
        self.add(None)
        self.output.mux(self.stream.encode(None))

    def _filtered(self) -> Iterator[Any]:
        import av

        while True:
            try:
                yield self.graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return


def _through(container: Any, streams: list[Any], tracks: dict[int, _Track], info: VideoInfo) -> int:
    """Decodes everything; the number of packets that cannot be decoded."""
    import av

    lost = shown = 0
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            frames = packet.decode()
        except av.error.EOFError:
            continue
        except av.error.InvalidDataError:
            lost += 1
            continue
        for frame in frames:
            if packet.stream is streams[0]:
                if not info.index.pts and shown < info.num_frames:  # no stamps of its own: those the reader counted
                    frame.pts = round(info.times[shown] / packet.stream.time_base)
                shown += 1
            tracks[packet.stream.index].add(frame)
    for track in tracks.values():
        track.finish()
    return lost


def _graph(add_source: str, stream: Any, filters: Iterable[tuple[str, str]]) -> Any:
    import av

    graph: Any = av.filter.Graph()
    nodes = [getattr(graph, add_source)(template=stream)]
    nodes += [graph.add(name, arguments) if arguments else graph.add(name) for name, arguments in filters]
    nodes.append(graph.add("buffersink" if add_source == "add_buffer" else "abuffersink"))
    graph.link_nodes(*nodes).configure()
    return graph


def _chain(filters: Iterable[tuple[str, str]]) -> str:
    return ",".join(f"{name}={arguments}" if arguments else name for name, arguments in filters)


def _sound(container: Any) -> Any:
    """The sound that players choose; ``None`` for a video without."""
    return container.streams.best("audio")


def _audio_filters(stream: Any, sound: Any, info: VideoInfo, zero_s: float = 0.0) -> list[tuple[str, str]]:
    """``zero_s`` is what the clock of the decoded sound calls 0."""
    start_s = zero_s if info.index.start_s is None else info.index.start_s
    return audio_filters(start_s - zero_s, sound.channels, sound.rate)
