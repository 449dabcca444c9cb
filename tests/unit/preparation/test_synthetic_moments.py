"""The generated corpus: real files, honest annotations, reproducible and without leakage."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from lavis.common.registry import registry
from lavis.preparation.generators.synthetic_moments import SyntheticMoments
from lavis.preparation.moving_shapes.annotations import calce_rows, to_srt
from lavis.preparation.moving_shapes.scene import SceneRenderer
from lavis.preparation.moving_shapes.script import SPLITS, Script

COUNTS = {"train": 2, "val": 1, "test": 1}


@pytest.fixture(scope="module")
def generator() -> SyntheticMoments:
    return SyntheticMoments(seed=3, min_duration=16, max_duration=20, compact=True)


@pytest.fixture(scope="module")
def corpus(generator: SyntheticMoments, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    summary = generator.generate(root, COUNTS)
    assert summary["made"] == 4
    assert summary["kept"] == 0
    return root


def _load(root: Path, name: str) -> Any:
    return json.loads((root / "annotations" / name).read_text())


def _times_and_pixels(path: Path) -> tuple[list[float], list[np.ndarray]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [f.time for f in frames], [f.to_ndarray(format="rgb24") for f in frames]


def _with_variable_rate(generator: SyntheticMoments) -> Script:
    return next(s for i in range(100) if (s := generator.script("train", i)).rate is None)


def test_is_registered() -> None:
    assert registry.generators.get("synthetic_moments") is SyntheticMoments


def test_videos_decode_to_their_scripts(corpus: Path, generator: SyntheticMoments) -> None:
    for split, count in COUNTS.items():
        for index in range(count):
            script = generator.script(split, index)
            times, pixels = _times_and_pixels(corpus / "videos" / f"{script.video}.mp4")
            assert times == pytest.approx([float(t) for t in script.frame_times()], abs=2e-3)
            assert times[-1] == pytest.approx(script.duration, abs=0.3)
            renderer = SceneRenderer(script)
            for k in (0, len(times) // 2, len(times) - 1):
                error = np.abs(pixels[k].astype(int) - renderer.frame(float(script.frame_times()[k])).astype(int))
                assert error.mean() < 12


def test_variable_rate_has_irregular_timestamps(generator: SyntheticMoments, tmp_path: Path) -> None:
    script = _with_variable_rate(generator)
    generator._write_one((str(_folders(tmp_path)), script.split, script.index))
    times, _ = _times_and_pixels(tmp_path / "videos" / f"{script.video}.mp4")
    assert len(set(np.diff(times).round(3))) > 3
    assert times == pytest.approx([float(t) for t in script.frame_times()], abs=2e-3)


def test_rates_sizes_and_sound_vary() -> None:
    scripts = [SyntheticMoments().script("train", i) for i in range(200)]
    rates = {s.rate for s in scripts}
    assert {None, "25", "24000/1001", "30000/1001"} <= rates
    assert len({s.size for s in scripts}) > 3
    assert {s.audio for s in scripts} == {True, False}


def test_an_audio_track_is_written(generator: SyntheticMoments, tmp_path: Path) -> None:
    script = next(s for i in range(100) if (s := generator.script("val", i)).audio)
    generator._write_one((str(_folders(tmp_path)), script.split, script.index))
    with av.open(str(tmp_path / "videos" / f"{script.video}.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"


def test_windows_are_disjoint_and_inside() -> None:
    generator = SyntheticMoments()
    for index in range(150):
        script = generator.script("train", index)
        assert 20 <= script.duration <= 60
        assert {q.kind for q in script.queries} == {"seen", "said"}
        for query in script.queries:
            assert query.windows[0][0] >= 0
            assert query.windows[-1][1] <= script.duration
            assert all(start < end for start, end in query.windows)
            assert all(a[1] < b[0] for a, b in zip(query.windows, query.windows[1:], strict=False))


def test_some_queries_have_several_windows() -> None:
    queries = [q for i in range(60) for q in SyntheticMoments().script("train", i).queries]
    assert {len(q.windows) for q in queries} >= {1, 2, 3}


def test_said_windows_are_those_of_the_line() -> None:
    for index in range(100):
        script = SyntheticMoments().script("val", index)
        query = next(q for q in script.queries if q.kind == "said")
        sentence = query.text[query.text.index("the ") :] + "."
        spans = [(round(s.start), round(s.end)) for s in script.lines if s.text.lower() == sentence]
        assert tuple(spans) == query.windows
        assert sum(sentence[4:] in line.text for line in script.lines) == len(spans)


def test_seen_windows_are_those_of_the_look() -> None:
    for index in range(100):
        script = SyntheticMoments().script("test", index)
        for query in script.queries:
            if query.kind == "seen":
                looks = [e for e in script.events if f"{e.colour} {e.shape}" == query.items[0]]
                assert tuple((e.start, e.end) for e in looks) == query.windows


def test_scripts_depend_on_seed_split_and_index_alone() -> None:
    again = SyntheticMoments(seed=0).script("train", 7)
    assert SyntheticMoments(seed=0).script("train", 7) == again
    assert SyntheticMoments(seed=1).script("train", 7).content() != again.content()


def test_splits_share_no_script() -> None:
    generator = SyntheticMoments()
    contents = [generator.script(split, i).content() for split in SPLITS for i in range(100)]
    assert len(set(contents)) == len(contents)


def test_files_are_reproduced_with_workers(corpus: Path, generator: SyntheticMoments, tmp_path: Path) -> None:
    generator.generate(tmp_path, {"val": 1, "train": 1}, workers=2)
    for name in ("videos/sample_val_0000.mp4", "srts/sample_train_0000.srt", "annotations/val.json"):
        assert (tmp_path / name).read_bytes() == (corpus / name).read_bytes()


def test_finished_videos_are_kept(corpus: Path, generator: SyntheticMoments) -> None:
    kept, lost = corpus / "videos/sample_train_0000.mp4", corpus / "videos/sample_train_0001.mp4"
    before, content = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    shown: list[tuple[int, int]] = []
    summary = generator.generate(corpus, COUNTS, progress=lambda done, total: shown.append((done, total)))
    assert (summary["made"], summary["kept"]) == (1, 3)
    assert shown == [(3, 4), (4, 4)]
    assert kept.stat().st_mtime_ns == before
    assert lost.read_bytes() == content
    assert not [p for p in corpus.rglob(".*") if p.is_file()]


def test_other_settings_are_refused(corpus: Path) -> None:
    with pytest.raises(ValueError, match="choose another folder"):
        SyntheticMoments(seed=4, compact=True).generate(corpus, COUNTS)


def test_unknown_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown split 'dev'"):
        SyntheticMoments().generate(tmp_path, {"dev": 1})


def test_calce_and_qvhighlights_rows_agree(corpus: Path) -> None:
    numbers = set()
    for split in SPLITS:
        rows = _load(corpus, f"{split}.json")
        release = [
            json.loads(line)
            for line in (corpus / f"annotations/highlight_{split}_release.jsonl").read_text().splitlines()
        ]
        assert len(rows) == len(release) >= 2
        for row, other in zip(rows, release, strict=True):
            assert list(row) == ["video", "qid", "query", "duration", "items", "relevant_windows", "kind"]
            assert re.fullmatch(r"Sample_\d+", row["qid"])
            assert row["qid"] == f"Sample_{other['qid']}"
            assert row["relevant_windows"] == other["relevant_windows"]
            assert len(other["saliency_scores"]) == len(other["relevant_clip_ids"])
            for clip, scores in zip(other["relevant_clip_ids"], other["saliency_scores"], strict=True):
                assert any(start <= 2 * clip + 1 < end for start, end in row["relevant_windows"])
                assert len(scores) == 3
                assert set(scores) <= {0, 1, 2, 3, 4}
            numbers.add(row["qid"])
    assert len(numbers) == sum(len(_load(corpus, f"{split}.json")) for split in SPLITS)


def test_further_annotations(corpus: Path) -> None:
    captions = _load(corpus, "dense_captions_train.json")
    assert set(captions) == {"sample_train_0000", "sample_train_0001"}
    for entry in captions.values():
        assert len(entry["timestamps"]) == len(entry["sentences"]) > 0
    for row in _load(corpus, "questions_train.json"):
        start, end = row["relevant_windows"][0]
        times = captions[row["video"]]["timestamps"]
        caption = captions[row["video"]]["sentences"][times.index([start, end])]
        assert row["options"][row["answer"]] in caption
        assert len(set(row["options"])) == 5
    for row in _load(corpus, "event_order_train.json"):
        starts = [row["relevant_windows"][i][0] for i in row["order"]]
        assert starts == sorted(starts)


def test_subtitles_are_well_formed(generator: SyntheticMoments) -> None:
    script = generator.script("train", 0)
    blocks = to_srt(script.lines).strip().split("\n\n")
    assert len(blocks) == len(script.lines)
    for block, line in zip(blocks, script.lines, strict=True):
        assert re.search(r"^\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}$", block, re.M)
        assert block.endswith(line.text)


def test_rows_name_their_videos(generator: SyntheticMoments) -> None:
    script = generator.script("val", 5)
    assert {row["video"] for row in calce_rows(script)} == {"sample_val_0005"}


def _folders(root: Path) -> Path:
    for name in ("videos", "srts"):
        os.makedirs(root / name)
    return root
