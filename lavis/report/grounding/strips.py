"""Frames of a video at a window, with the times that the file gives them, as a row of a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lavis.common.io import PathLike
from lavis.common.registry import registry
from lavis.datasets.formats._record import leads_outside
from lavis.report.grounding.cases import Case, Span
from lavis.report.grounding.style import EARLIER, FAINT, INK, PREDICTED, TRUTH, clock

_WIDE = 0.96
"""Width of a frame of which columns are 1 apart."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Frames of one window.

    Args:
        name: of the row.
        colour: around the frames.
        images: ``[H, W, 3]`` uint8 each.
        times: true seconds of each.
        problem: why there are none.
    """

    name: str
    colour: str
    images: Sequence[Any]
    times: Sequence[float]
    problem: str = ""

    @property
    def shape(self) -> float:
        """Height of the row where a frame is 0.96 wide."""
        if not self.images:
            return 0.2
        height, width = self.images[0].shape[:2]
        return _WIDE * float(height) / float(width)


def file_of(case: Case, folder: PathLike, suffix: str) -> Path:
    """The file of a query's video below a folder, or another file of the same name.

    Args:
        case: the query.
        folder: of the files.
        suffix: such as ``.mp4`` or ``.srt``; one that the video's name has already is not added again.

    Raises:
        ValueError: if the name leads outside the folder.
    """
    if leads_outside(case.video):
        raise ValueError(
            f"query {case.id}: the video name {case.video!r:.80} leads outside the folder of the videos; correct it in "
            "the annotations"
        )
    name = case.video
    return Path(folder) / (name if suffix and name.lower().endswith(suffix.lower()) else f"{name}{suffix}")


def strip_of(
    path: PathLike,
    window: Span | None,
    name: str,
    colour: str = PREDICTED,
    count: int = 6,
    height: int = 160,
    reader: str = "auto",
) -> Strip:
    """Frames in the middle of equal parts of a window.

    Args:
        path: video file; a folder of frames with reader ``frame_folder``.
        window: seconds; what lies outside the video is cut off, a reversed one is turned. ``None`` gives no frame.
        name: of the row.
        colour: around the frames.
        count: frames to ask for, at least 1; one that fills several parts is shown once.
        height: of a frame in pixels.
        reader: registered name of the reader.

    Raises:
        VideoDecodeError: if the video cannot be read.
        ValueError: if ``count`` or ``height`` is below 1.
    """
    if count < 1 or height < 1:
        raise ValueError(f"count and height of frames must be at least 1, got {count} and {height}")
    if window is None:
        return Strip(name, colour, [], [], "no window")
    using = registry.readers.get(reader)()
    info = using.probe(path)
    if max(window) < 0 or min(window) > info.duration_s:
        return Strip(name, colour, [], [], f"outside the video, which has {clock(info.duration_s)}")
    start, end = (min(max(bound, 0.0), info.duration_s) for bound in sorted(window))
    asked = [start + (number + 0.5) * (end - start) / count for number in range(count)]
    indices = sorted({info.index_at(seconds) for seconds in asked})
    size = (height, max(1, round(height * info.width / info.height)))
    pixels, times = using.read(path, indices, size=size, info=info)  # [T, 3, H, W]
    return Strip(name, colour, list(pixels.permute(0, 2, 3, 1).numpy()), times)


def strips_of(
    path: PathLike,
    case: Case,
    other: Case | None = None,
    names: tuple[str, str] = ("predicted", "before"),
    **options: Any,
) -> list[Strip]:
    """Frames at the truth and at each prediction.

    Args:
        path: of the video.
        case: the query.
        other: the query with other predictions.
        names: of the predictions and of the others.
        options: ``count``, ``height`` and ``reader`` of ``strip_of``.
    """
    rows: list[tuple[str, str, Span | None]] = [("truth", TRUTH, case.nearest)]
    if other is not None:
        rows.append((names[1], EARLIER, other.first))
    rows.append((names[0], PREDICTED, case.first))
    return [strip_of(path, window, name, colour, **options) for name, colour, window in rows]


def draw_strip(axes: Any, strip: Strip, columns: int) -> None:
    """Frames from the left; with as many columns in all rows they are equally large.

    Args:
        axes: of a figure.
        strip: the row.
        columns: frames that would fit, at least as many as there are.
    """
    from matplotlib.patches import Rectangle

    height = strip.shape
    for number, (image, seconds) in enumerate(zip(strip.images, strip.times, strict=True)):
        axes.imshow(image, extent=(number, number + _WIDE, height, 0), interpolation="lanczos")
        frame = Rectangle((number, 0), _WIDE, height, fill=False, edgecolor=strip.colour, linewidth=2.4)
        axes.add_patch(frame)
        told = {"ha": "center", "va": "top", "fontsize": 8.5, "color": FAINT}
        axes.annotate(clock(seconds), (number + _WIDE / 2, height), (0, -3), textcoords="offset points", **told)
    if not strip.images:
        axes.text(0, 0.5, strip.problem, va="center", fontsize=9, color=FAINT, transform=axes.transAxes)
    axes.set_xlim(-0.02, columns)
    axes.set_ylim(height + 0.02, -0.02)
    axes.set_aspect("equal" if strip.images else "auto", anchor="W")
    axes.set_axis_off()
    place = {"xycoords": "axes fraction", "textcoords": "offset points"}
    axes.annotate(strip.name, (0, 0.5), (-7, 0), ha="right", va="center", fontsize=10, color=INK, **place)
