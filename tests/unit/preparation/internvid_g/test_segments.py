"""Scenes merged, captions chosen, surroundings found; and what is said of files that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lavis.common.io import write_jsonl
from lavis.datasets.formats._record import AnnotationError
from lavis.preparation.internvid_g.merging import merge_files, merge_scenes
from lavis.preparation.internvid_g.negatives import ORIGINAL, NegativeSpans, negative_files
from lavis.preparation.internvid_g.rows import read_captions, read_scenes, read_scored, read_similarity
from lavis.preparation.internvid_g.selection import select_captions, select_file

WINDOWS: list[list[float]] = [[0, 2], [2, 4], [4, 6], [6, 8], [8, 10]]


def alike(*pairs: tuple[int, int], size: int = 5, value: float = 0.9) -> list[list[float]]:
    return [
        [1.0 if i == j else value if {(i, j), (j, i)} & set(pairs) else 0.1 for j in range(size)] for i in range(size)
    ]


def test_a_scene_joins_the_last_or_any() -> None:
    matrix = alike((0, 1), (0, 2), (3, 4))
    merged, alike_to_each = merge_scenes(WINDOWS, matrix)
    assert merged == [[0, 4], [4, 6], [6, 10]]
    assert alike_to_each == [[1.0, 0.9, 0.1], [0.9, 1.0, 0.1], [0.1, 0.1, 1.0]]
    assert merge_scenes(WINDOWS, matrix, alike_to="union")[0] == [[0, 6], [6, 10]]
    assert merge_scenes(WINDOWS, matrix, above=0.9)[0] == WINDOWS  # strictly above
    assert merge_scenes([], []) == ([], [])
    with pytest.raises(ValueError, match=r"alike_to is last or union, got 'first'"):
        merge_scenes(WINDOWS, matrix, alike_to="first")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"5 scenes are compared, but there are 2"):
        merge_scenes(WINDOWS[:2], matrix)


def test_scenes_behind_those_compared(tmp_path: Path) -> None:
    scenes = write_jsonl(tmp_path / "scenes.jsonl", [{"video_fname": "a.mp4", "scenes": WINDOWS}])
    matrix = [{"video_fname": "a.mp4", "similarity_matrix": alike(size=3)}]
    similarity = write_jsonl(tmp_path / "similarity.jsonl", matrix)
    outputs = tmp_path / "merged.jsonl", tmp_path / "alike.jsonl"
    with pytest.raises(
        AnnotationError, match=r"similarity.jsonl, line 1, field 'similarity_matrix': is for 3 scenes, 5"
    ):
        merge_files(scenes, similarity, *outputs)
    assert not outputs[0].exists()
    assert merge_files(scenes, similarity, *outputs, max_scenes=3) == (5, 3)
    assert json.loads(outputs[0].read_text())["scenes"] == WINDOWS[:3]


def test_surroundings_reach_to_what_is_alike() -> None:
    spans = NegativeSpans()
    far = spans.around(4, 6, WINDOWS, alike((2, 0), (2, 4)), 12.0)
    assert far == {
        "start_sec": 4, "end_sec": 6, "neg_start_sec": 2, "neg_end_sec": 8,
        "start_scene": 2, "end_scene": 2, "neg_start_scene": 0, "neg_end_scene": 4,
    }  # fmt: skip
    free = spans.around(4.2, 6, WINDOWS, alike(), 12.0)
    assert isinstance(free, dict) and (free["neg_start_sec"], free["neg_end_sec"]) == (0, 12.0)
    assert (free["start_sec"], free["neg_start_scene"], free["neg_end_scene"]) == (4.2, None, None)
    grown = spans.around(4.2, 6.1, WINDOWS, alike((2, 3), (3, 0)), 12.0)
    assert isinstance(grown, dict) and (grown["start_sec"], grown["end_sec"], grown["end_scene"]) == (4.2, 8, 3)
    assert grown["neg_start_sec"] == 2  # scene 0 is like the one taken in
    assert spans.around(0, 10.5, WINDOWS, alike(), 12.0) == "length"
    assert spans.around(4, 4.4, WINDOWS, alike(), 12.0) == "length"
    assert replace(spans, max_s=3.0).around(4, 6, WINDOWS, alike((2, 3)), 12.0) == "length once grown"
    assert spans.around(4.3, 5.0, WINDOWS, alike(), 12.0) == "no scene"


def test_a_segment_of_no_scene() -> None:
    """Behind the start of the last scene no scene begins: the original takes the first."""
    assert NegativeSpans().around(8.5, 10, WINDOWS, alike(), 12.0) == "no scene"
    taken = ORIGINAL.around(8.5, 10, WINDOWS, alike(), 12.0)
    assert isinstance(taken, dict) and (taken["start_scene"], taken["end_scene"]) == (0, 4)
    assert NegativeSpans().around(0, 1.0, WINDOWS, alike(), 12.0) == "no scene"
    last = ORIGINAL.around(0, 1.0, WINDOWS, alike(), 12.0)
    assert isinstance(last, dict) and last["end_scene"] == 4
    assert ORIGINAL.around(0, 1.0, [], [], 12.0) == "no scene"


def test_a_segment_without_surroundings() -> None:
    everywhere = [(2, other) for other in (0, 1, 3, 4)]
    matrix = alike(*everywhere, value=0.8)  # like, and not enough to grow
    assert NegativeSpans().around(4, 6, WINDOWS, matrix, 12.0) == "no surroundings"
    kept = ORIGINAL.around(4, 6, WINDOWS, matrix, 12.0)
    assert isinstance(kept, dict) and (kept["neg_start_sec"], kept["neg_end_sec"]) == (4, 6)


def test_options_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="segments from 3 to 1 s: the limits must rise"):
        NegativeSpans(min_s=3, max_s=1)
    with pytest.raises(ValueError, match="on_no_scene is drop or outermost"):
        NegativeSpans(on_no_scene="first")  # type: ignore[arg-type]


def test_files(tmp_path: Path) -> None:
    rows = {"scenes": WINDOWS, "duration": 12.5}
    scenes = write_jsonl(tmp_path / "scenes.jsonl", [{"video_fname": "a.mp4", **rows}])
    matrix = [{"video_fname": "a.mp4", "similarity_matrix": alike()}]
    similarity = write_jsonl(tmp_path / "similarity.jsonl", matrix)
    segment = {"video_fname": "a.mp4", "start_sec": 4, "end_sec": 6}
    captions = write_jsonl(tmp_path / "captions.jsonl", [{**segment, "captions": ["a dog", "a cat"]}])
    made = tmp_path / "made.jsonl"
    assert negative_files(captions, scenes, similarity, made) == (2, {})
    first, second = (json.loads(line) for line in made.read_text().splitlines())
    assert list(first) == [
        "video", "duration", "start_sec", "end_sec", "neg_start_sec", "neg_end_sec", "caption",
        "start_scene", "end_scene", "neg_start_scene", "neg_end_scene",
    ]  # fmt: skip
    assert (first["caption"], second["caption"], first["duration"], first["neg_end_sec"]) == (
        "a dog",
        "a cat",
        12.5,
        12.5,
    )
    negative_files(captions, scenes, similarity, made, {"a.mp4": 11.0})
    assert json.loads(made.read_text().splitlines()[0])["neg_end_sec"] == 11.0
    write_jsonl(captions, [{**segment, "video_fname": "b.mp4", "captions": ["a dog"]}])
    with pytest.raises(AnnotationError, match=r"captions.jsonl, line 1, field 'video_fname': no scenes of 'b.mp4'"):
        negative_files(captions, scenes, similarity, made)
    write_jsonl(captions, [{**segment, "captions": ["a dog"]}])
    write_jsonl(scenes, [{"video_fname": "a.mp4", "scenes": WINDOWS}])
    with pytest.raises(AnnotationError, match=r"captions.jsonl, line 1, field 'video_fname': 'a.mp4' has no duration"):
        negative_files(captions, scenes, similarity, made)
    write_jsonl(similarity, [])
    with pytest.raises(AnnotationError, match=r"scenes.jsonl, line 1, .*nothing says how alike the scenes of 'a.mp4'"):
        negative_files(captions, scenes, similarity, made, {"a.mp4": 11.0})


def test_the_better_half(tmp_path: Path) -> None:
    segment = {"video_fname": "a.mp4", "start_sec": 0, "end_sec": 2}
    rows = [
        {**segment, "caption": text, "clip_sim": score}
        for text, score in (("b", 0.4), ("a", 0.3), ("b", 0.35), ("c", 0.1), ("d", 0.05))
    ]
    scores = write_jsonl(tmp_path / "scores.jsonl", rows)
    assert select_file(scores, tmp_path / "selected.jsonl") == (5, 2)
    assert json.loads((tmp_path / "selected.jsonl").read_text()) == {**segment, "captions": ["b", "a"]}
    assert select_captions(read_scored(scores), at_least=0.5) == []
    scores.write_text("")
    with pytest.raises(ValueError, match=r"scores.jsonl: there are no captions to choose from"):
        select_file(scores, tmp_path / "selected.jsonl")


BAD: list[tuple[Callable[[Path], Any], dict[str, Any], str]] = [
    (read_scenes, {"scenes": [[0, 2], [1, 3]]}, r"field 'scenes': scene 2 must be \[start, end\] behind 2 s"),
    (read_scenes, {"scenes": [[2, 2]]}, "scene 1 must be"),
    (read_scenes, {"scenes": "0-2"}, "must be a list of"),
    (read_scenes, {"scenes": [[0, None]]}, "scene 1 must be"),
    (read_scenes, {"scenes": [], "duration": -1}, "field 'duration': must be above 0"),
    (read_scenes, {"scenes": [], "video_fname": "../../etc/passwd"}, "leads outside the folder of the videos"),
    (read_similarity, {"similarity_matrix": [[1, 0.5]]}, "must be a square of finite numbers"),
    (read_similarity, {"similarity_matrix": [[float("nan")]]}, "must be a square of finite numbers"),
    (read_captions, {"start_sec": 2, "end_sec": 1, "captions": ["a"]}, "the segment goes from 2 to 1 s"),
    (read_captions, {"start_sec": 0, "end_sec": 1, "captions": "a"}, "field 'captions': must be a list of texts"),
    (read_captions, {"start_sec": 0, "end_sec": 1, "captions": [" "]}, "holds a blank text"),
    (
        read_scored,
        {"start_sec": 0, "end_sec": 1, "caption": "a", "clip_sim": "high"},
        "field 'clip_sim': must be a fin",
    ),
]


@pytest.mark.parametrize(("read", "row", "message"), BAD)
def test_bad_rows_are_named(tmp_path: Path, read: Callable[[Path], Any], row: dict[str, Any], message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"\n{json.dumps({'video_fname': 'a.mp4', **row})}\n")
    with pytest.raises(AnnotationError, match=f"rows.jsonl, line 2.*{message}"):
        read(path)


def test_a_video_twice(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "scenes.jsonl", [{"video_fname": "a.mp4", "scenes": []}] * 2)
    with pytest.raises(AnnotationError, match="line 2, field 'video_fname': 'a.mp4' comes twice"):
        read_scenes(path)
