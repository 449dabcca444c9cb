"""Neighbouring scenes that look alike become one, as HawkEye merges them.

Scenes are taken in order. The next one joins those taken if it is alike (similarity strictly above a threshold) to the
last of them, or, with ``alike_to="union"``, to any. The new scene is alike to another as much as the most alike two of
their parts are.

Unlike the original: scenes behind the ``max_scenes`` that were compared are an error, or left out because the option
says so, where the original drops whatever is behind the hundredth without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lavis.common.io import write_jsonl
from lavis.preparation.internvid_g.rows import Matrix, Row, Window, matrix_of, read_scenes, read_similarity

AlikeTo = Literal["last", "union"]
ALIKE_TO: tuple[AlikeTo, ...] = ("last", "union")
MERGE_ABOVE = 0.85


def merge_scenes(
    windows: Sequence[Window], matrix: Matrix, above: float = MERGE_ABOVE, alike_to: AlikeTo = "last"
) -> tuple[list[Window], Matrix]:
    """Merges alike neighbours among the scenes of a video.

    Args:
        windows: ``[start, end]`` of each scene in seconds, in order; those behind the last row of ``matrix`` are left
            out.
        matrix: how alike any two are.
        above: similarity that two scenes must exceed.
        alike_to: what a scene must be alike to: the ``last`` scene taken, or any of the ``union`` of them.

    Returns:
        ``[start, end]`` of the merged scenes, and how alike any two of these are.

    Raises:
        ValueError: for an unknown ``alike_to``, or more rows than scenes.
    """
    if alike_to not in ALIKE_TO:
        raise ValueError(f"alike_to is last or union, got {alike_to!r}")
    if len(matrix) > len(windows):
        raise ValueError(f"{len(matrix)} scenes are compared, but there are {len(windows)}; take files of one run")
    groups: list[list[int]] = []
    for scene in range(len(matrix)):
        near = groups[-1] if groups else []
        near = near[-1:] if alike_to == "last" else near
        if any(matrix[one][scene] > above for one in near):
            groups[-1].append(scene)
        else:
            groups.append([scene])
    merged = [[windows[group[0]][0], windows[group[-1]][1]] for group in groups]
    alike = [[max(matrix[i][j] for i in one for j in other) for other in groups] for one in groups]
    return merged, alike


def merge_files(
    scenes: str | Path,
    similarity: str | Path,
    merged: str | Path,
    merged_similarity: str | Path,
    above: float = MERGE_ABOVE,
    alike_to: AlikeTo = "last",
    max_scenes: int | None = None,
) -> tuple[int, int]:
    """Merges the scenes of all videos of a file.

    Args:
        scenes, similarity: files of the earlier steps.
        merged, merged_similarity: files to write, of the same form.
        above, alike_to: see ``merge_scenes``.
        max_scenes: how many scenes of a video were compared; those behind are left out. ``None``: all were.

    Returns:
        how many scenes there were, and how many there are now.

    Raises:
        AnnotationError: if a row is bad, or the files do not belong together; names file and row.
    """
    alike = read_similarity(similarity)
    before = after = 0
    scene_rows: list[Row] = []
    alike_rows: list[Row] = []
    for video, found in read_scenes(scenes).items():
        windows, matrix = merge_scenes(found.windows, matrix_of(video, found, alike, max_scenes), above, alike_to)
        before, after = before + len(found.windows), after + len(windows)
        length = {} if found.duration is None else {"duration": found.duration}
        scene_rows.append({"video_fname": video, "scenes": windows, **length})
        alike_rows.append({"video_fname": video, "similarity_matrix": matrix})
    write_jsonl(merged, scene_rows)
    write_jsonl(merged_similarity, alike_rows)
    return before, after
