"""Files of answers, one for each task of E.T. Bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lavis.cli import main
from lavis.scoring.base import ScoringError
from lavis.scoring.etbench.files import write_task_files
from lavis.scoring.scorer import score

ROW = {"version": 1.0, "source": "s", "video": "s/v.mp4", "duration": 50.0, "q": "q"}


def row(task: str, idx: int, a: str, **more: Any) -> dict[str, Any]:
    return {**ROW, "task": task, "idx": idx, "a": a, **more}


ROWS = [
    row("vhd", 0, "12 seconds", tgt=[[[10, 20]]]),
    row("tvg", 0, "10 - 20 seconds", tgt=[10, 20]),
    row("tvg", 1, "no", tgt=[10, 20], ent_inds=[1], tst_inds=[], vl_sims=[[0.1, 0.9, 0.2]], scale=10.0),
]


def test_a_file_for_each_task(tmp_path: Path) -> None:
    written = write_task_files(tmp_path / "preds", ROWS)
    assert [path.name for path in written] == ["tvg_etbench_0.json", "vhd_etbench_0.json"]
    assert json.loads(written[0].read_text()) == ROWS[1:]
    assert write_task_files(tmp_path / "preds", ROWS[1:]) == written[:1], "files are replaced"


def test_the_folder_is_scored_as_the_rows_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "rows.json"
    source.write_text(json.dumps(ROWS))
    out = tmp_path / "preds"
    assert main(["submit", "--benchmark", "etbench", "--test", str(source), "--out", str(out)]) == 0
    assert str(out / "tvg_etbench_0.json") in capsys.readouterr().out
    report = score("etbench", out)
    assert report.headline == score("etbench", ROWS).headline
    assert report.files["predictions"] == str(out)
    assert main(["score", "etbench", "--predictions", str(out)]) == 0


def test_rows_that_cannot_be_filed(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="answered twice"):
        write_task_files(tmp_path, [ROWS[0], ROWS[0]])
    with pytest.raises(ScoringError, match=r"'a'.*result rows of a run"):
        write_task_files(tmp_path, [{"task": "tvg", "source": "s", "idx": 0}])
    with pytest.raises(ScoringError, match="unknown task"):
        write_task_files(tmp_path, [row("tvq", 0, "")])
    (tmp_path / "tvg_etbench_1.json").write_text("[]")
    with pytest.raises(ScoringError, match="take another folder"):
        write_task_files(tmp_path, ROWS)


def test_folders_without_answers(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="holds no .json or .jsonl files"):
        score("etbench", tmp_path)
    (tmp_path / "a.jsonl").write_text('{"task": "tvg",\n' * 2)
    with pytest.raises(ScoringError, match="line 1: not JSON"):
        score("etbench", tmp_path)
