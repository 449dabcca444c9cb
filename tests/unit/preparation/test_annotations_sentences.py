"""CALCE's form of ActivityNet Captions and TACoS, nouns extracted or given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from lavis.common.registry import registry
from lavis.datasets.formats._record import AnnotationError
from lavis.preparation.annotations_sentences import prepare_activitynet, prepare_tacos

ENTRY = {"duration": 55.15, "timestamps": [[0, 4.5], [4.14, 55.15]], "sentences": ["Two men.", " One man."]}


def last_word(queries: Sequence[str]) -> list[list[str]]:
    return [[query.rstrip(".").split()[-1]] for query in queries]


def write(folder: Path, **files: object) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_activitynet(tmp_path: Path) -> None:
    release = write(tmp_path / "release", train={"v_a": ENTRY}, val_1={"v_b": ENTRY}, val_2={"v_c": ENTRY})
    done = prepare_activitynet(release, last_word, tmp_path / "out")
    assert [(p.path.name, p.rows) for p in done] == [("train.json", 2), ("val.json", 2), ("test.json", 2)]
    train, val, test = (json.loads(p.path.read_text()) for p in done)
    assert list(train[0].items()) == [
        ("video", "v_a"),
        ("qid", "ActivityNet_v_a_0"),
        ("query", "Two men."),
        ("duration", 55.15),
        ("items", ["men"]),
        ("relevant_windows", [[0, 4]]),
    ]
    assert (val[1]["qid"], val[1]["relevant_windows"]) == ("ActivityNet_v_b_1", [[4.14, 55.15]])
    assert test[0]["video"] == "v_c"
    for prepared in done:
        samples = registry.formats.get("calce")().read(prepared.path).samples
        assert [sample.items for sample in samples] == [["men"], ["man"]]


def test_tacos(tmp_path: Path) -> None:
    entry = {"timestamps": [[10, 47]], "sentences": ["He cuts bread."], "fps": 10.0, "num_frames": 100}
    release = write(tmp_path / "release", train={"s1-d1.avi": entry}, test={"s1-d2.avi": entry})
    train, test = prepare_tacos(release, last_word, tmp_path / "out", ["train", "test"])
    (row,) = json.loads(train.path.read_text())
    assert (row["video"], row["qid"], row["items"], row["relevant_windows"]) == (
        "s1-d1", "TACoS_s1-d1_0", ["bread"], [[1, 5]],
    )  # fmt: skip
    assert json.loads(test.path.read_text())[0]["relevant_windows"] == [[1.0, 4.7]]


def test_nouns_from_a_folder(tmp_path: Path) -> None:
    release = write(tmp_path / "release", train={"v_a": ENTRY})
    entries = {f"ActivityNet_v_a_{k}": {"query": "", "items": [str(k)]} for k in range(2)}
    (done,) = prepare_activitynet(release, write(tmp_path / "items", train=entries), tmp_path / "out", ["train"])
    assert [row["items"] for row in json.loads(done.path.read_text())] == [["0"], ["1"]]
    del entries["ActivityNet_v_a_1"]
    items = write(tmp_path / "items", train=entries)
    with pytest.raises(AnnotationError, match=r"train.json: has no entry 'ActivityNet_v_a_1'"):
        prepare_activitynet(release, items, tmp_path / "out", ["train"])
    with pytest.raises(AnnotationError, match=r"there is no items file .*--items extract"):
        prepare_activitynet(release, tmp_path / "none", tmp_path / "out", ["train"])


def test_the_release_is_not_written_over(tmp_path: Path) -> None:
    release = write(tmp_path / "release", train={"v_a": ENTRY})
    before = (release / "train.json").read_bytes()
    with pytest.raises(AnnotationError, match="holds the release"):
        prepare_activitynet(release, last_word, tmp_path / "out" / ".." / "release", ["train"])
    assert (release / "train.json").read_bytes() == before
