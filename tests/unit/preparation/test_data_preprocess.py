"""The script that makes annotations: where nouns come from, and what it says when they come from nowhere."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from lavis.preparation import noun_phrases

ROW = {"qid": 7, "query": "A dog runs", "duration": 150, "vid": "v1", "relevant_windows": [[2, 8]]}


class SecondWord(noun_phrases.Tagger):
    """Takes the second word of every sentence for its noun."""

    def nouns(self, sentences: Sequence[Sequence[str]]) -> list[list[bool]]:
        return [[index == 1 for index in range(len(sentence))] for sentence in sentences]


@pytest.fixture
def script(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("data_preprocess", root / "process_data" / "data_preprocess.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(noun_phrases.TAGGERS, "hanta", SecondWord)
    return module


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Releases of a row or two, laid out as the script expects."""
    entry = {"duration": 9.5, "timestamps": [[0, 4.5]], "sentences": ["Two men."]}
    frames = {"timestamps": [[10, 47]], "sentences": ["He cuts bread."], "fps": 10.0, "num_frames": 100}
    for name, content in {
        "qvhighlights/release/highlight_val_release.jsonl": ROW,
        "charades/release/charades_test_release.jsonl": ROW,
        "activitynet/release/val_2.json": {"v_a": entry},
        "tacos/release/test.json": {"s1-d1.avi": frames},
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))
    return tmp_path


def run(script: ModuleType, home: Path, *arguments: str) -> int:
    status: int = script.main([*arguments, "--root", str(home)])
    return status


@pytest.mark.parametrize(
    ("dataset", "split", "items"),
    [("qvhighlights", "val", ["dog"]), ("charades", "test", ["dog"]), ("activitynet", "test", ["men"]),
     ("tacos", "test", ["cuts"])],
)  # fmt: skip
def test_extract(script: ModuleType, home: Path, dataset: str, split: str, items: list[str]) -> None:
    assert run(script, home, dataset, "--splits", split, "--items", "extract", "--tagger", "hanta") == 0
    (row,) = json.loads((home / dataset / "annotations" / f"{split}.json").read_text())
    assert row["items"] == items
    assert list(row)[-1 if dataset == "charades" else -2] == "items"


@pytest.mark.parametrize("dataset", ["qvhighlights", "activitynet"])
def test_without_an_items_file_both_ways_are_said(
    script: ModuleType, home: Path, dataset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    split = "val" if dataset == "qvhighlights" else "test"
    assert run(script, home, dataset, "--splits", split) == 1
    said = capsys.readouterr().err
    assert f"there is no items file {home}/{dataset}/annotations/items/{split}.json. CALCE publishes" in said
    assert "--items extract, extra nouns" in said
    assert not (home / dataset / "annotations").exists()


def test_the_published_items_are_taken_where_they_are(script: ModuleType, home: Path) -> None:
    items = home / "qvhighlights" / "annotations" / "items"
    items.mkdir(parents=True)
    (items / "val.json").write_text(json.dumps({"QVHighlight_7": {"query": "A dog runs", "items": ["published"]}}))
    assert run(script, home, "qvhighlights", "--splits", "val") == 0
    (row,) = json.loads((home / "qvhighlights" / "annotations" / "val.json").read_text())
    assert row["items"] == ["published"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("qvhighlights", "--items", "extract", "--tagger", "nltk"), "no noun tagger 'nltk'"),
        (("qvhighlights", "--tagger", "hanta"), "--tagger goes with --form calce --items extract"),
        (("tacos", "--form", "mr_blip", "--tagger", "hanta"), "--tagger goes with --form calce"),
        (("tacos", "--form", "mr_blip", "--items", "extract"), "--items goes with --form calce"),
        (("nextqa",), "CALCE has no annotations of nextqa; use --form mr_blip"),
    ],
)
def test_what_does_not_go_together(
    script: ModuleType, home: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(script, home, *arguments) == 1
    assert message in capsys.readouterr().err


def test_a_missing_tagger_is_an_error_not_a_traceback(
    script: ModuleType, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(model: str = "") -> noun_phrases.Tagger:
        raise ImportError("the noun tagger hanta needs the package HanTa: pip install 'lavis[nouns]'")

    monkeypatch.setitem(noun_phrases.TAGGERS, "hanta", absent)
    assert run(script, home, "qvhighlights", "--splits", "val", "--items", "extract") == 1
    assert "pip install 'lavis[nouns]'" in capsys.readouterr().err
    assert not (home / "qvhighlights" / "annotations").exists()
