"""Folders as the original projects lay them out are recognised and read as they are, each data set by its config."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from lavis.common.config import load_config
from lavis.common.layouts import LAYOUTS
from lavis.datasets.build import build_dataset, splits_of
from lavis.preparation.data_folders import survey
from tests.layout_folders import MAKERS, Folder

UNWRITTEN = {  # what a project's README and scripts do not speak of: parts of R2-Tuning; MR.BLIP tests on validation
    "meco": {
        "charades_sta": ["annotations.train", "format.durations"],
        "qvhighlights": ["annotations.train", "annotations.test"],
    },
    "mr_blip": {"mr_blip/nextqa": ["annotations.test"]},
}
SETS = [(layout, name) for layout in LAYOUTS for name in LAYOUTS[layout].sets]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each layout."""
    made = {}
    for name, make in MAKERS.items():
        made[name] = tmp_path_factory.mktemp("layouts") / name
        made[name].mkdir()
        make(Folder(made[name]))
    return made


def test_every_layout_has_a_folder() -> None:
    assert list(MAKERS) == list(LAYOUTS)


@pytest.mark.parametrize(("layout", "name"), SETS, ids=[f"{layout}:{name}" for layout, name in SETS])
@pytest.mark.parametrize("chosen", ["auto", "named"])
def test_each_data_set_is_loaded_through_its_config(
    folders: dict[str, Path], layout: str, name: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAVIS_DATA", str(folders[layout]))
    monkeypatch.setenv("LAVIS_LAYOUT", layout if chosen == "named" else "auto")
    left_out = {key.removeprefix("annotations.") for key in UNWRITTEN.get(layout, {}).get(name, [])}
    for label, node in load_config(f"datasets/{name}")["datasets"].items():
        splits = [split for split in splits_of(node) if split not in left_out]
        assert splits
        for split in splits:
            dataset = build_dataset(label, node, split, lambda sample, train: {}, train=False)
            assert len(dataset) >= 1
            assert not dataset.left_out
            for sample in dataset.samples:
                assert Path(sample.video).resolve().is_relative_to(folders[layout].resolve())
                assert Path(sample.video).exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_survey_finds_everything(folders: dict[str, Path], layout: str) -> None:
    found = {each.layout: each for each in survey(folders[layout])}
    missing = {each.name: [part.key for part in each.missing] for each in found[layout].sets if each.missing}
    assert missing == UNWRITTEN.get(layout, {})
    text = found[layout].to_text()
    assert f"export LAVIS_DATA={folders[layout]} LAVIS_LAYOUT={layout}" in text
    assert all(f"check_data.py {name}" in text for name in LAYOUTS[layout].sets)


def test_what_is_missing_is_named_with_its_cure(tmp_path: Path) -> None:
    Folder(tmp_path).rows("test-anno/charades_sta-recursive_grounding.json", {})
    (found,) = survey(tmp_path)
    text = found.to_text()
    assert "hawkeye/charades_sta: 1 of 3 there" in text
    assert f"NOT THERE videos: {tmp_path / 'videos' / 'charades'}" in text
    assert f"charades_metadata.json (python process_data/videos_metadata.py {tmp_path / 'videos' / 'charades'})" in text


def test_our_own_layout_is_found_too(tmp_path: Path) -> None:
    Folder(tmp_path).rows("qvhighlights/release/highlight_val_release.jsonl", {})
    (found,) = survey(tmp_path)
    assert (found.layout, [each.name for each in found.sets]) == ("ours", ["qvhighlights"])
    assert "qvhighlights: 1 of 4 there" in found.to_text()


def test_a_folder_of_no_layout(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no layout that is known.*HawkEye-IT"):
        survey(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        survey(tmp_path / "none")


def test_script(root: Path, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main: Any = runpy.run_path(str(root / "process_data" / "check_data.py"))["main"]
    assert main(["--layout", str(folders["mmduet"]), "--output", str(tmp_path / "layout.json"), "--strict"]) == 0
    assert "layout mmduet, MMDuet (yellow-binary-tree/MMDuet)" in capsys.readouterr().out
    assert {each["layout"] for each in json.loads((tmp_path / "layout.json").read_text())} >= {"mmduet"}
    assert main(["--layout", str(folders["meco"]), "--strict"]) == 1
    assert main(["--layout", str(tmp_path)]) == 1
    assert "no layout that is known" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([])
    with pytest.raises(SystemExit):
        main(["qvhighlights", "--layout", str(tmp_path)])
