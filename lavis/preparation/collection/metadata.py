"""What each video of a folder is: length, frames, rates, size, codec, and a digest of its content.

MMDuet keeps such a file, ``videos_metadata.json``, and builds its training samples from it. It takes OpenCV's frame
count over its rate for the duration, trusts the file for ever once it exists, and lists every file as a video. Here
times come from the packets, a file whose content changed is read again, and one that cannot be read is in quarantine
instead of in the list with 0 seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavis.common.io import FileFormatError, read_json, read_jsonl, write_json, write_jsonl
from lavis.preparation.collection.items import Item, Shard, content_key, find_videos, options_digest
from lavis.preparation.collection.run import Running, run_collection
from lavis.preparation.collection.state import State
from lavis.preparation.collection.summary import Summary
from lavis.processors.readers.base import Damage

if TYPE_CHECKING:
    from typing import Unpack  # since Python 3.11; only type checkers read it

_VERSION = 1
"""Of what is noted: another number reads all files again."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Work for one video: reads its packets, decodes nothing but the first frame.

    Args:
        on_truncated: what to do with a file that ends too early: refuse it, or note what is there.
        known: facts by content (``_content_of``) of files that have since been moved, copied or touched.
    """

    on_truncated: Damage = "raise"
    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __call__(self, item: Item, scratch: Path) -> dict[str, Any]:
        from lavis.common.content import content_digest

        if self.known:
            facts = self.known.get(_content_of(item.name, content_digest(item.path)))
            if facts is not None:
                return dict(facts)
        return video_facts(item.path, self.on_truncated)


def video_facts(path: str | Path, on_truncated: Damage = "raise") -> dict[str, Any]:
    """What a video is.

    Returns:
        ``duration_s`` (from the start of the first frame to the end of the last), ``frames``, ``fps`` (average frames
        a second, as the file states it), ``real_fps`` (FFmpeg's guess at the rate all times are multiples of),
        ``measured_fps`` (of the times themselves), ``constant_rate`` (whether all frames are equally long, to a
        hundredth of one), ``start_s`` (time stamp of the first frame), ``width``, ``height`` (as shown), ``rotation``
        (degrees counter-clockwise that made them so), ``codec``, ``pixel_format``, ``keyframes``, ``audio`` (codec of
        the sound, or ``None``), ``bytes``, ``digest`` (see ``lavis.common.content``).

    Raises:
        VideoDecodeError: if it cannot be read.
    """
    from lavis.common.content import content_digest
    from lavis.processors.readers._packets import open_video
    from lavis.processors.readers.pyav import PyAVReader

    info = PyAVReader(on_truncated=on_truncated).probe(path)
    index = info.index
    with open_video(str(path), index.stream) as (container, stream):
        base_rate, time_base = stream.base_rate, stream.time_base
        codec, pixel_format = stream.codec_context.codec.canonical_name, stream.codec_context.pix_fmt
        sounds = [
            each.codec_context.codec.canonical_name
            for each in container.streams.audio
            if each.codec_context is not None
        ]
    steps = [later - earlier for earlier, later in zip(info.times, info.times[1:], strict=False)]
    return {
        "duration_s": round(info.duration_s, 6),
        "frames": info.num_frames,
        "fps": info.fps,
        "real_fps": float(base_rate) if base_rate else None,
        "measured_fps": round(len(steps) / info.times[-1], 6) if steps else None,
        "constant_rate": not steps or max(steps) - min(steps) <= 0.01 * max(steps) + float(time_base),
        "start_s": round(index.start_s or 0.0, 6),
        "width": info.width,
        "height": info.height,
        "rotation": index.rotation,
        "codec": codec,
        "pixel_format": pixel_format,
        "keyframes": len(index.keyframes),
        "audio": sounds[0] if sounds else None,
        "bytes": Path(path).stat().st_size,
        "digest": content_digest(path),
    }


def videos_metadata(
    videos: str | Path,
    out: str | Path | None = None,
    *,
    on_truncated: Damage = "raise",
    **running: Unpack[Running],
) -> tuple[Summary, list[Path]]:
    """Notes what every video in a folder and the folders in it is.

    Writes ``<name of the folder>_metadata.json``, in MMDuet's form (by path below the folder: ``duration``, ``fps``,
    ``path``, ``frame_count``), and ``.jsonl``, with all of ``video_facts``. Of a shard only its journal is written;
    when all are through, a run without ``shard`` writes the files.

    Args:
        videos: the folder.
        out: folder to write to; by default the one that ``videos`` is in, where MMDuet has it.
        on_truncated: see ``Probe``.
        running: see ``run_collection``.

    Returns:
        what was done, and the files written.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: as ``run_collection``, or if there is no video.
    """
    root = Path(videos).expanduser()
    name, folder = place_of(root, out)
    summary = probe_items(find_videos(root), root, out, on_truncated, **running)
    if Shard.of(running.get("shard")).count > 1:
        return summary, []
    facts = {each.item: each.result or {} for each in summary.done}
    return summary, [
        write_json(folder / f"{name}.json", {video: _mmduet(root, video, row) for video, row in facts.items()}),
        write_jsonl(folder / f"{name}.jsonl", [{"video": video, **row} for video, row in facts.items()]),
    ]


def place_of(videos: Path, out: str | Path | None) -> tuple[str, Path]:
    """What the notes on a folder of videos are called, and the folder they are in."""
    folder = Path(out).expanduser() if out is not None else videos.resolve().parent
    return f"{videos.resolve().name}_metadata", folder


def probe_items(
    items: Sequence[Item],
    videos: Path,
    out: str | Path | None = None,
    on_truncated: Damage = "raise",
    **running: Unpack[Running],
) -> Summary:
    """Facts of some videos of a folder, from the same journal as ``videos_metadata``; writes nothing else."""
    name, folder = place_of(videos, out)
    options = {"version": _VERSION, "on_truncated": on_truncated}
    state = State(folder, name, Shard.of(running.get("shard")))
    known = _displaced(state, items, options_digest(options)) if running.get("resume", True) else {}
    return run_collection(items, Probe(on_truncated, known), folder, name=name, options=options, **running)


def _displaced(state: State, items: Sequence[Item], options: str) -> dict[str, dict[str, Any]]:
    """Facts by content that the journal has under names which are gone, or for files that seem to be others now."""
    paths = {item.name: item.path for item in items}
    known = {}
    for name, (key, outcome) in state.outcomes().items():
        if outcome.result is None or not key.endswith(f"-{options}"):
            continue
        path = paths.get(name)
        if path is None or not path.exists() or content_key(path, options) != key:
            known[_content_of(name, outcome.result["digest"])] = outcome.result
    return known


def _content_of(name: str, digest: str) -> str:
    """Stands for what a file holds, and for its suffix, which a reader may go by."""
    return f"{digest}{Path(name).suffix.lower()}"


def read_metadata(path: str | Path) -> dict[str, dict[str, Any]]:
    """Facts by video from either form that ``videos_metadata`` writes, or from MMDuet's own file.

    Returns:
        by path below the folder of the videos; each has at least ``duration_s``, ``fps`` and ``frames``.

    Raises:
        FileFormatError: if it is neither; names file and video or row.
        FileNotFoundError: if it is absent.
    """
    file = Path(path)
    if file.suffix == ".jsonl":
        rows = read_jsonl(file)
        for number, row in enumerate(rows, start=1):
            _check(file, f"row {number}", row, ("duration_s", "fps", "frames"))
            if not isinstance(row.get("video"), str):
                raise FileFormatError(f"{file}, row {number}: video is {row.get('video')!r}, not a name")
        return {row["video"]: {key: value for key, value in row.items() if key != "video"} for row in rows}
    value = read_json(file)
    if not isinstance(value, Mapping):
        raise FileFormatError(f"{file}: not a mapping from videos to what they are, but {type(value).__name__}")
    found = {}
    for video, row in value.items():
        _check(file, video, row, ("duration", "fps", "frame_count"))
        found[video] = {"duration_s": row["duration"], "fps": row["fps"], "frames": round(row["frame_count"])}
    return found


def _mmduet(root: Path, video: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "duration": facts["duration_s"],
        "fps": facts["fps"],
        "path": (root / video).as_posix(),
        "frame_count": float(facts["frames"]),
    }


def _check(file: Path, where: str, row: Any, names: Sequence[str]) -> None:
    if not isinstance(row, Mapping):
        raise FileFormatError(f"{file}, {where}: not a mapping of facts: {row!r:.60}")
    for name in names:
        value = row.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            raise FileFormatError(f"{file}, {where}: {name} is {value!r:.40}, not a number from 0 on; make it anew")
