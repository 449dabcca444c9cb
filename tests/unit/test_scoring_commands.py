"""``lavis score``: files out, exit codes, speed, and no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lavis import cli

ROOT = Path(__file__).resolve().parents[2]
TRUTH = [
    {"qid": n, "query": "q", "vid": f"v{n // 2}", "duration": 20, "relevant_windows": [[2 * n, 2 * n + 4]],
     "relevant_clip_ids": [n, n + 1], "saliency_scores": [[4, 4, 3], [2, 3, 4]]}
    for n in range(6)
]  # fmt: skip


def answers(shift: float) -> list[dict[str, Any]]:
    return [
        {
            "qid": row["qid"],
            "query": "q",
            "vid": row["vid"],
            "pred_relevant_windows": [[row["relevant_windows"][0][0] + shift * n, row["relevant_windows"][0][1], 0.9]],
            "pred_saliency_scores": [float(clip == n) for clip in range(10)],
        }
        for n, row in enumerate(TRUTH)
    ]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, rows in {"truth": TRUTH, "a": answers(0.2), "b": answers(0.5)}.items():
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def scored(*more: str) -> int:
    return cli.main(["score", "qvhighlights", "--predictions", "a.jsonl", "--annotations", "truth.jsonl", *more])


def test_figures_and_files(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["--output", "m.json", "--compare", "b.jsonl", "--per-query", "q.csv", "--html", "p.html", "--intervals"]
    assert scored(*wanted) == 0
    out = capsys.readouterr().out
    assert "95 % interval" in out
    assert "official figures: m.json\neverything else: m.details.json\neach query: q.csv\npage: p.html\n" in out
    official, details = json.loads(Path("m.json").read_text()), json.loads(Path("m.details.json").read_text())
    assert list(official) == ["brief", *[key for key in official if key != "brief"]]
    assert official["brief"] == details["headline"]
    assert details["forms"]["predictions"].endswith("JSON lines")
    assert details["comparison"]["other"] == "b.jsonl"
    assert Path("q.csv").read_text().startswith("id,video,")
    assert Path("p.html").read_text().startswith("<!DOCTYPE html>")


def test_the_official_sample(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = data_dir / "qvhighlights"
    arguments = ["--predictions", str(folder / "sample_val_preds.jsonl"), "--output", str(tmp_path / "m.json")]
    truth = ["--annotations", str(folder / "highlight_val_release.jsonl"), "--split", "val"]
    assert cli.main(["score", "qvhighlights", *arguments, *truth]) == 0
    assert (tmp_path / "m.json").read_bytes() == (folder / "sample_val_preds_metrics_raw.json").read_bytes()
    capsys.readouterr()


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["score", "qvhighlights", "--list"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("qvhighlights: ")
    for word in ("source", "predictions", "truth", "figures", "options", "by default", "MR-full-mAP"):
        assert word in out
    assert cli.main(["score", "--list"]) == 0
    assert "moment_retrieval: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score"], "score needs a protocol and --predictions, such as: lavis score qvhighlights"),
        (["score", "qvhighlights"], "needs a protocol and --predictions"),
        (["score", "qvhighlight", "--predictions", "a.jsonl"], "Did you mean 'qvhighlights'?"),
        (["score", "qvhighlights", "--predictions", "gone.jsonl"], "there is no file gone.jsonl (predictions)"),
        (["score", "qvhighlights", "--predictions", "."], "is a folder"),
        (["score", "qvhighlights", "--predictions", "a.jsonl"], "give the annotations (--annotations FILE)"),
        (["score", "qvhighlights", "--predictions", "a.jsonl", "--options", "missing=zero"], "no option 'missing'"),
    ],
)
def test_errors_are_one_message(
    arguments: list[str], message: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == cli.USER_ERROR
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_a_torn_line_is_told_with_its_place(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = Path("a.jsonl").read_text()
    Path("a.jsonl").write_text(whole[:-30])
    assert scored() == cli.USER_ERROR
    assert "a.jsonl, line 6: not JSON (the last line was cut short)" in capsys.readouterr().err
    assert scored("--missing", "zero") == 0
    out = capsys.readouterr().out
    assert "(the official script: " in out or "(as the official script)" in out
    assert "a.jsonl, line 6" in out


def test_ids_with_half_characters(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*answers(0.1), {**answers(0.1)[0], "qid": "\ud800"}]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert scored("--extra", "drop", "--html", "p.html", "--per-query", "q.csv", "--output", "m.json") == 0
    assert "\\ud800" in capsys.readouterr().out


def test_quick_and_without_torch(files: Path) -> None:
    """Also with a page: what it imports is light."""
    code = (
        "import sys, time\nfrom lavis.cli import main\n"
        "main(['score', 'qvhighlights', '--predictions', 'a.jsonl', '--annotations', 'truth.jsonl', '--intervals',"
        " '--html', 'p.html'])\nmain(['score', '--list'])\n"
        "print('torch' in sys.modules, time.process_time(), file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=600, check=False
    )
    assert result.returncode == 0, result.stderr
    torch_imported, seconds = result.stderr.split()[-2:]
    assert torch_imported == "False"
    assert float(seconds) < 2.5
