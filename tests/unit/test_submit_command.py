"""``lavis submit``."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lavis.cli import main


def files(folder: Path, windows: list[list[float]]) -> list[str]:
    arguments = ["submit", "--out", str(folder / "out")]
    rows: dict[str, list[dict[str, Any]]] = {}
    for number, split in enumerate(("val", "test")):
        rows[f"--{split}"] = [{"id": f"QVHighlight_{number}", "moments": windows, "text": ""}]
        rows[f"--annotations-{split}"] = [{"qid": number, "query": "q", "vid": "a_0.0_150.0", "duration": 150}]
    for option, content in rows.items():
        path = folder / f"{option.strip('-')}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
        arguments += [option, str(path)]
    return arguments


def test_submit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(files(tmp_path, [[0, 10]])) == 0
    assert "submission.zip" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "out" / "submission.zip") as archive:
        rows = [json.loads(archive.read(name)) for name in archive.namelist()]
    assert [row["qid"] for row in rows] == [0, 1]


def test_submit_refuses_in_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(files(tmp_path, [])) == 2
    assert "without a window" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
