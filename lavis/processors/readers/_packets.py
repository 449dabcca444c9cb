"""The times of all frames of a file, from its packets: nothing but the first frame is decoded.

Shared by the readers whose library tells frame times only after decoding, or wrongly. What odd files do was established
by trying them: see the tests of the readers.
"""

from __future__ import annotations

import logging
import math
import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

from lavis.processors.readers._unstamped import counted_times, guess_holds, has_chunks, rising
from lavis.processors.readers.base import Damage, VideoDecodeError, VideoInfo, check_file, whole_path

_STATED_TOLERANCE_S = 0.5
FILES_ALONE = {"protocol_whitelist": "file"}
"""A file may be a playlist, whatever its name: it is not to have this machine ask another."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PacketIndex:
    """Where the frames of a stream are.

    Args:
        stream: number of the stream in the file.
        pts: presentation time stamps, rising; empty where the file has none that can be trusted, then frames are
            counted while decoding from the start.
        keyframes: the stamps decoding can start at, rising.
        rotation: degrees to turn frames counter-clockwise for display: 0, 90, 180 or 270.
        open_groups: whether frames that are shown before a keyframe come after it in the file.
        start_s: seconds of the first frame on the clock of the file, which sound goes by, too; ``None`` if unknown.
        container: FFmpeg's name of the format.
        videos: streams of moving pictures in the file.
        interlaced: whether pictures are made of two fields.
        stated_frames: as the head of the file says, 0 where it does not.
    """

    stream: int
    pts: list[int]
    keyframes: list[int]
    rotation: int
    open_groups: bool = False
    start_s: float | None = None
    container: str = ""
    videos: int = 1
    interlaced: bool = False
    stated_frames: int = 0

    def keyframe_before(self, pts: int) -> int:
        """Position in ``keyframes`` of the last one at or before ``pts``."""
        return max(0, bisect_right(self.keyframes, pts) - 1)


@contextmanager
def open_video(path: str, stream: int | None) -> Iterator[tuple[Any, Any]]:
    """The container and its video stream, set to one thread; FFmpeg's errors become ``VideoDecodeError``."""
    import av

    try:
        with av.open(whole_path(path), options=FILES_ALONE) as container:
            chosen = _choose_stream(container, stream, path)
            chosen.codec_context.thread_count = 1  # loader workers run side by side; more threads would only wait
            yield container, chosen
    except av.FFmpegError as error:
        raise VideoDecodeError(path, f"not a readable video ({error.strerror})", "fetch or re-encode it") from error


def decoded_frames(container: Any, stream: Any, lost: list[Any] | None = None) -> Iterator[Any]:
    """Frames from where the container stands, in presentation order.

    Packets that cannot be decoded are passed over, and put into ``lost``.
    """
    import av

    for packet in packets_of(container, stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            if lost is not None:
                lost.append(packet.dts)
            continue
        except av.error.EOFError:
            return
        yield from frames


def probe_packets(path: str, stream: int | None, on_truncated: Damage) -> VideoInfo:
    """Read all packets of a video, without decoding them.

    Args:
        path: the file.
        stream: number of the stream; ``None`` takes the one that players show.
        on_truncated: what to do with a file that ends too early.

    Raises:
        VideoDecodeError: if there is no video in it, or it is truncated and ``on_truncated`` is ``raise``.
    """
    check_file(path)
    with open_video(path, stream) as (container, video):
        scan = _scan(container, video)
        if scan.first is None:
            raise VideoDecodeError(path, "not one frame can be decoded", "fetch or re-encode it")
        rotation = round((scan.first.rotation or 0) / 90) * 90 % 360
        cut_off = _samples_cut_off(video, os.path.getsize(path))
        stated_end = _stated_end(video)
        time_base, number = video.time_base, video.index
        rate = float(video.average_rate or video.codec_context.framerate or 0)
        facts = container.format.name, _moving(container), _interlaced(video, scan.first), video.frames
    pts = scan.pts if _hold(path, number, scan) else []
    start_s = float((scan.chunks or scan.pts)[0] * time_base) if scan.pts else None
    if pts:
        times = [float((stamp - pts[0]) * time_base) for stamp in pts]
    else:
        times = _counted(path, number, rate, scan.chunks, on_truncated)
    rate = _average_rate(rate, times, path)
    end = times[-1] + (float(scan.last_length * time_base) or 1 / rate)
    missing_s = stated_end - max(end, (start_s or 0.0) + end)  # some programs state the end, others the length
    if cut_off or missing_s > _STATED_TOLERANCE_S:
        _truncated(path, len(times), end, max(cut_off, round(missing_s * rate)), on_truncated)
    width, height = scan.first.width, scan.first.height
    if rotation % 180:
        width, height = height, width
    index = PacketIndex(number, pts, scan.keyframes, rotation, scan.open_groups, start_s, *facts)
    return VideoInfo(len(times), rate, end, width, height, times, index)


def _choose_stream(container: Any, stream: int | None, path: str) -> Any:
    import av

    if stream is not None:
        if stream >= len(container.streams) or container.streams[stream].type != "video":
            raise VideoDecodeError(path, f"stream {stream} is no video stream", "correct the reader's stream")
        return container.streams[stream]
    best = container.streams.best("video")
    if best is None or best.disposition & av.stream.Disposition.attached_pic:
        raise VideoDecodeError(path, "there is no video in it, only other streams", "fetch the file with its video")
    return best


def _moving(container: Any) -> int:
    """Streams of video other than pictures of a cover."""
    import av

    return sum(not each.disposition & av.stream.Disposition.attached_pic for each in container.streams.video)


def _interlaced(stream: Any, first: Any) -> bool:
    return bool(first.interlaced_frame) or stream.codec_context.field_order not in (0, 1)  # unknown, progressive


@dataclass(frozen=True)
class _Scan:
    """What one pass over the packets tells: the first frame, stamps in presentation order, length of the last frame.

    ``chunks`` are the stamps of decoding of an AVI file, in order; that format has no others, and what FFmpeg says of
    presentation is guessed. ``turned_at`` is the first packet that is not in the order of presentation.
    """

    first: Any
    pts: list[int]
    keyframes: list[int]
    last_length: int
    open_groups: bool
    chunks: list[int] = field(default_factory=list)
    turned_at: int | None = None


def _scan(container: Any, stream: Any) -> _Scan:
    first = None
    stamped, open_groups = True, False
    keyframes: list[int] = []
    shown: list[tuple[int, int]] = []
    chunks: list[int] = []
    turned_at = None
    for packet in packets_of(container, stream):
        first = first or _first_frame(packet)
        if packet.size == 0 or packet.is_corrupt:
            continue  # the end marker, and a packet that the end of the file cuts in two
        if packet.pts is None:
            stamped = False
            continue
        if packet.is_keyframe:
            keyframes.append(packet.pts)
        elif keyframes and packet.pts < keyframes[-1]:
            open_groups = True
        if not packet.is_discard:  # what an edit list cuts off is decoded, since others refer to it, but not shown
            if turned_at is None and shown and packet.pts < shown[-1][0]:
                turned_at = len(shown)
            shown.append((packet.pts, packet.duration or 0))
            chunks.append(packet.pts if packet.dts is None else packet.dts)
    # A stream cut out of a longer one may begin with frames that refer to what is gone: they cannot be decoded.
    start = min(keyframes, default=-math.inf)
    kept = sorted((pts, length) for pts, length in shown if pts >= start)
    pts = [stamp for stamp, _ in kept]
    if not stamped or not pts or any(a == b for a, b in pairwise(pts)):
        return _Scan(first, [], [], 0, open_groups)
    # The n-th picture that is left out goes with the n-th chunk.
    chunks = chunks[len(shown) - len(kept) :] if has_chunks(container) else []
    return _Scan(first, pts, sorted(keyframes) or pts[:1], kept[-1][1], open_groups, chunks, turned_at)


def packets_of(container: Any, streams: Any) -> Iterator[Any]:
    """Packets of a stream or several in the order of the file, damaged ones passed over; empty at the end."""
    import av

    packets = container.demux(streams)
    while True:
        try:
            packet = next(packets, None)
        except av.error.EOFError:
            return
        except av.error.InvalidDataError:
            continue
        if packet is None:
            return
        yield packet


def _first_frame(packet: Any) -> Any:
    import av

    try:
        return next(iter(packet.decode()), None)
    except (av.error.InvalidDataError, av.error.EOFError):
        return None


def _hold(path: str, stream: int, scan: _Scan) -> bool:
    if not scan.chunks:
        return True
    with open_video(path, stream) as (container, video):
        reorders = bool(video.codec_context.has_b_frames)
        frames = partial(decoded_frames, container, video)
        return guess_holds(scan.pts, scan.chunks, reorders, scan.turned_at, frames)


def _counted(path: str, stream: int, rate: float, chunks: Sequence[int], on_truncated: Damage) -> list[float]:
    """Times of a file whose packets have none that hold; decodes all of it."""
    lost: list[Any] = []
    with open_video(path, stream) as (container, video):
        stamps = [frame.pts for frame in decoded_frames(container, video, lost)]
        time_base = video.time_base
    if lost and (chunks or not rising(stamps)):
        cause = f"{len(lost)} packets cannot be decoded, and the times of the frames after them are not known"
        if on_truncated == "raise":
            raise VideoDecodeError(path, cause, "fetch it again, or take reader pyav with on_truncated: warn")
        _log.warning("%s: %s; they are counted as if nothing were missing", path, cause)
    times = counted_times(stamps, chunks, time_base, rate)
    if times is None:
        raise VideoDecodeError(path, "it has neither frame times nor a frame rate", "re-encode it")
    return times


def _samples_cut_off(stream: Any, file_size: int) -> int:
    """Samples listed in the file's table that lie beyond its end (MP4 and its kin, where the table can come first)."""
    return sum(entry.pos + entry.size > file_size for entry in stream.index_entries)


def _stated_end(stream: Any) -> float:
    """Seconds that the stream should last, where a tag says so (Matroska and WebM), otherwise 0."""
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else 0.0


def _truncated(path: str, present: int, end: float, missing: int, on_truncated: Damage) -> None:
    cause = f"the file ends after {present} of {present + missing} frames, at {end:.2f} s"
    if on_truncated == "raise":
        raise VideoDecodeError(path, cause, "fetch it again, or take reader pyav with on_truncated: warn")
    _log.warning("%s: %s; only these are used", path, cause)


def _average_rate(stated: float, times: list[float], path: str) -> float:
    """Frames a second as the file states them, unless that cannot be true (some AVI files state their clock's rate)."""
    measured = (len(times) - 1) / times[-1] if len(times) > 1 else stated
    if not measured:
        raise VideoDecodeError(path, "a single frame and no frame rate", "re-encode it with a frame rate")
    return stated if stated and 0.5 <= stated / measured <= 2 else measured
