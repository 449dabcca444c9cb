"""``${data:path}``: ours where it is there, otherwise the one that a recognised layout has, and never a guess."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from lavis.common.config import load_config
from lavis.common.layouts import LAYOUTS, data_path, looking_in, recognised
from lavis.common.yaml_tree import ConfigError


def put(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("LAVIS_DATA", str(folder))
    monkeypatch.delenv("LAVIS_LAYOUT", raising=False)
    return folder


def test_ours_unless_only_another_is_there(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours = str(data / "charades" / "videos")
    assert data_path("charades/videos") == ours
    put(data, "test-anno/a.json", "videos/charades/v.mp4")
    with caplog.at_level(logging.WARNING):
        assert data_path("charades/videos") == str(data / "videos" / "charades")
        assert data_path("hawkeye/a.json") == str(data / "test-anno" / "a.json")
    (said,) = caplog.records
    assert "has the layout of HawkEye" in said.message
    assert str(data / "videos" / "charades") in said.message
    put(data, "charades/videos/v.mp4")
    assert data_path("charades/videos") == ours
    assert data_path("charades/annotations/train.json") == str(data / "charades" / "annotations" / "train.json")


def test_a_layout_must_be_recognised(data: Path) -> None:
    put(data, "videos/charades/v.mp4")  # alone, it may be anybody's
    assert recognised(str(data)) == []
    assert data_path("charades/videos") == str(data / "charades" / "videos")
    assert data_path("grounded_videollm") == str(data / "grounded_videollm")


def test_two_layouts_are_no_choice(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(data, "test-anno/a.json", "videos/charades/v.mp4", "ETBench/x", "Charades/videos/v.mp4")
    with pytest.raises(ConfigError, match=r"charades/videos may be .*\(meco\), .*\(hawkeye\): set LAVIS_LAYOUT"):
        data_path("charades/videos")
    monkeypatch.setenv("LAVIS_LAYOUT", "hawkeye")
    assert data_path("charades/videos") == str(data / "videos" / "charades")
    monkeypatch.setenv("LAVIS_LAYOUT", "ours")
    assert data_path("charades/videos") == str(data / "charades" / "videos")
    (data / "Charades" / "videos" / "v.mp4").unlink()
    (data / "Charades" / "videos").rmdir()
    (data / "Charades" / "videos").symlink_to(data / "videos" / "charades")
    monkeypatch.delenv("LAVIS_LAYOUT")
    assert os.path.realpath(data_path("charades/videos")) == str(data / "videos" / "charades")  # the same folder


def test_a_named_layout_takes_its_own_paths_only(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(data, "charades/videos/v.mp4", "test-anno/a.json")
    monkeypatch.setenv("LAVIS_LAYOUT", "hawkeye")
    assert data_path("charades/videos") == str(data / "videos" / "charades")
    monkeypatch.setenv("LAVIS_LAYOUT", "hawkeey")
    with pytest.raises(ConfigError, match=r"there is no layout 'hawkeey'; there are auto, ours, calce"):
        data_path("charades/videos")
    with pytest.raises(ConfigError, match=r"charades_sta.yaml:\d+: datasets.charades_sta.*no layout 'hawkeey'"):
        load_config("datasets/charades_sta")


def test_the_longest_path_counts_and_the_folder_is_named(data: Path) -> None:
    assert LAYOUTS["mmduet"].places("qvhighlights/annotations_mmduet/a.json", str(data)) == ["qvh/annotations/a.json"]
    assert LAYOUTS["mmduet"].places("qvhighlights/videos", str(data)) == ["qvh/videos"]
    assert LAYOUTS["mmduet"].places("qvhighlights2/videos", str(data)) == ["qvhighlights2/videos"]
    assert LAYOUTS["grounded_videollm"].places("grounded_videollm", str(data)) == ["."]
    notes = LAYOUTS["grounded_videollm"].places("grounded_videollm_metadata.json", str(data))
    assert notes[0] == "../data_metadata.json"


def test_looking_in_a_folder_for_a_while(data: Path, tmp_path: Path) -> None:
    with looking_in(str(tmp_path / "other"), "mmduet"):
        assert data_path("qvhighlights/videos") == str(tmp_path / "other" / "qvh" / "videos")
        assert data_path(".") == str(tmp_path / "other")
    assert data_path(".") == str(data)


def test_every_data_set_of_a_layout_is_configured_and_every_move_is_used(root: Path) -> None:
    texts = {path: path.read_text() for path in (root / "configs" / "datasets").rglob("*.yaml")}
    everything = "\n".join(texts.values())
    for layout in LAYOUTS.values():
        for name in layout.sets:
            assert root / "configs" / "datasets" / f"{name}.yaml" in texts
        for ours in layout.moves:
            assert f"${{data:{ours}" in everything, ours
