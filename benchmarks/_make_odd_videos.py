"""Writes files of the catalogue in a process of its own.

Encoders are native code: the libraries that decord and OpenCV bring along put their own libvpx in the place of PyAV's
where they are loaded first, and its encoders then fail. In a fresh process nothing but PyAV is loaded.

    python -m benchmarks._make_odd_videos FOLDER SEED [PER_KIND]
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks._odd_videos import OddVideo, catalogue, excerpt

LACKING = "lacking.json"


def chosen(seed: int = 0, per_kind: int | None = None) -> list[OddVideo]:
    """The whole catalogue, or some files of each kind."""
    videos = catalogue(seed)
    return excerpt(videos, per_kind) if per_kind else videos


def make(folder: Path, seed: int = 0, per_kind: int | None = None) -> tuple[list[tuple[OddVideo, Path]], list[str]]:
    """Writes the chosen files.

    Returns:
        The videos with their paths, and what FFmpeg's build here cannot encode, in words.

    Raises:
        subprocess.CalledProcessError: if the process that writes them dies.
    """
    command = [sys.executable, "-m", "benchmarks._make_odd_videos", str(folder), str(seed)]
    root = Path(__file__).resolve().parents[1]
    subprocess.run([*command, *([str(per_kind)] if per_kind else [])], check=True, cwd=root)
    videos = chosen(seed, per_kind)
    paths = [
        folder / (_name(number) + (f".{video.extension}" if video.extension else ""))
        for number, video in enumerate(videos)
    ]
    lacking: dict[str, str] = json.loads((folder / LACKING).read_text(encoding="utf-8"))
    made = [
        (video, path)
        for number, (video, path) in enumerate(zip(videos, paths, strict=True))
        if _name(number) not in lacking
    ]
    return made, [f"{count} files, {reason}" for reason, count in Counter(lacking.values()).items()]


def main(arguments: Sequence[str] | None = None) -> None:
    import av

    folder, seed, *rest = sys.argv[1:] if arguments is None else arguments
    lacking = {}
    for number, video in enumerate(chosen(int(seed), int(rest[0]) if rest else None)):
        try:
            video.write(Path(folder), _name(number))
        except (av.FFmpegError, av.codec.codec.UnknownCodecError) as error:
            lacking[_name(number)] = (
                f"{video.kind}: {video.codec} cannot encode {video.pix_fmt} here ({type(error).__name__})"
            )
    Path(folder, LACKING).write_text(json.dumps(lacking), encoding="utf-8")


def _name(number: int) -> str:
    return f"{number:03d}"


if __name__ == "__main__":
    main()
