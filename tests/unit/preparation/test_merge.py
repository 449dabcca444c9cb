"""Stage-1 predictions merged into annotations."""

from __future__ import annotations

import importlib.util
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lavis.preparation.merge import MergeJob, jobs, merge
from lavis.structures import Moment, Prediction


def annotation(i: int) -> dict[str, Any]:
    return {"video": "v", "qid": f"Q_{i}", "query": f"query {i}", "duration": 20, "relevant_windows": [[1, 4]]}


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def write_lines(path: Path, predictions: list[Prediction]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(p.to_json()) + "\n" for p in predictions))
    return path


@pytest.fixture(scope="module")
def main(root: Path) -> Callable[[list[str]], int]:
    spec = importlib.util.spec_from_file_location("merge_script", root / "process_data" / "merge_stage1_result.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entry: Callable[[list[str]], int] = module.main
    return entry


def test_our_predictions(tmp_path: Path) -> None:
    before = write(tmp_path / "val.json", [annotation(0), annotation(1), {**annotation(2), "stage1_result": [[9, 9]]}])
    predictions = [
        Prediction("Q_2", []),
        Prediction("Q_1", [Moment(0, 20)]),
        Prediction("Q_0", [Moment(3, 7, 0.9), Moment(1, 2, 0.1)]),
        Prediction("Q_9", [Moment(3, 7)]),
    ]
    result = merge(
        MergeJob(before, write_lines(tmp_path / "p.jsonl", predictions), tmp_path / "out" / "val_stage2.json")
    )
    rows = json.loads(result.job.out.read_text())
    assert [row["stage1_result"] for row in rows] == [[[3, 7], [1, 2]], [[0, 20]], []]
    assert [list(row)[-1] for row in rows] == ["stage1_result"] * 3
    assert (result.rows, result.unused, result.whole_video, result.empty) == (3, 1, 1, 1)
    assert "3 rows" in str(result)
    assert "1 have no window" in str(result)


def test_nothing_is_written_if_ids_are_missing(tmp_path: Path) -> None:
    before = write(tmp_path / "val.json", [annotation(0), annotation(1)])
    predictions = write(tmp_path / "p.json", [{"qid": "Q_0", "pred_windows": [[1, 2]]}])
    with pytest.raises(ValueError, match=r"p.json: no prediction for 1 of 2 samples, such as Q_1"):
        merge(MergeJob(before, predictions, tmp_path / "out.json"))
    assert not (tmp_path / "out.json").exists()


def test_predictions_for_other_queries_are_refused(tmp_path: Path) -> None:
    before = write(tmp_path / "val.json", [annotation(0)])
    predictions = write(tmp_path / "p.json", [{"qid": "Q_0", "pred_windows": [[1, 2]], "query": "another"}])
    with pytest.raises(ValueError, match=r"prediction for Q_0 was made for 'another', but .* asks 'query 0'"):
        merge(MergeJob(before, predictions, tmp_path / "out.json"))


def test_published_stage2_annotations_come_back(data_dir: Path, tmp_path: Path) -> None:
    published = (data_dir / "qvhighlights" / "calce_val_stage2.json").read_text()
    rows = json.loads(published)
    before = write(tmp_path / "val.json", [{k: v for k, v in row.items() if k != "stage1_result"} for row in rows])
    results = [
        {
            "duration": row["duration"],
            "raw_pred_windows": str(row["stage1_result"]),
            "pred_windows": row["stage1_result"],
            "gt_windows": str(row["relevant_windows"]),
            "qid": row["qid"],
            "query": row["query"],
        }
        for row in rows
    ]
    results += results[:2]  # as padding for several processes leaves them
    random.Random(0).shuffle(results)
    result = merge(MergeJob(before, write(tmp_path / "val_epochbest.json", results), tmp_path / "val_stage2.json"))
    assert result.job.out.read_text() == published
    assert (result.rows, result.whole_video, result.empty, result.unused) == (1550, 106, 0, 0)


def fill(root: Path, folder: str, names: list[str]) -> None:
    for name in names:
        write(root / folder / f"{name}.json", [annotation(0)])


def test_files_of_our_layout(tmp_path: Path) -> None:
    data, results = tmp_path / "data", tmp_path / "results"
    fill(data, "qvhighlights/annotations", ["train", "val", "test_dummy"])
    fill(data, "charades/annotations", ["train", "test"])
    for run, splits in {"qvh_stage1": ["train", "val", "test"], "charades_stage1": ["train", "test"]}.items():
        for split in splits:
            write_lines(results / run / "predictions" / f"x_{split}.jsonl", [Prediction("Q_0", [])])
    found = list(jobs(results=results, annotations=data))
    assert [str(job.out.relative_to(data)) for job in found] == [
        "qvhighlights/annotations/train_stage2.json",
        "qvhighlights/annotations/val_stage2.json",
        "qvhighlights/annotations/test_dummy_stage2.json",
        "charades/annotations/train_stage2.json",
        "charades/annotations/test_stage2.json",
    ]
    assert [job.predictions.name for job in found[:3]] == ["x_train.jsonl", "x_val.jsonl", "x_test.jsonl"]
    evaluation = list(jobs(["charades"], results=results, annotations=data, out=tmp_path / "o", eval_only=True))
    assert [job.out for job in evaluation] == [tmp_path / "o" / "test_stage2.json"]
    both = list(jobs(results=results, annotations=data, out=tmp_path / "o", eval_only=True))
    assert [str(job.out.relative_to(tmp_path / "o")) for job in both] == [
        "qvh/val_stage2.json",
        "qvh/test_dummy_stage2.json",
        "charades/test_stage2.json",
    ]


def test_files_of_the_original_layout_and_of_plain_folders(tmp_path: Path) -> None:
    fill(tmp_path, "annotations/qvh", ["train", "val", "test_dummy"])
    for split in ("train", "val", "test"):
        write(tmp_path / f"results/qvh/CALCE_QVH_75_stage1-1/result/{split}_epochbest.json", [])
    found = list(jobs(["qvh"], results=tmp_path / "results", annotations=tmp_path / "annotations"))
    assert [job.predictions.name for job in found] == [f"{s}_epochbest.json" for s in ("train", "val", "test")]
    fill(tmp_path, "plain", ["val", "test"])
    for split in ("val", "test"):
        write_lines(tmp_path / "predictions" / f"sample_{split}.jsonl", [Prediction("Q_0", [])])
    plain = list(jobs(["qvh"], results=tmp_path / "predictions", annotations=tmp_path / "plain", eval_only=True))
    assert [job.out.name for job in plain] == ["val_stage2.json", "test_stage2.json"]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no annotations: looked for .*Say where they are with --annotations"):
        list(jobs(["qvh"], results=tmp_path, annotations=tmp_path))
    fill(tmp_path, "qvh", ["train"])
    with pytest.raises(ValueError, match=r"no stage-1 predictions: looked for .*--results"):
        list(jobs(["qvh"], results=tmp_path, annotations=tmp_path))
    for name in ("a", "b"):
        write_lines(tmp_path / f"{name}_train.jsonl", [])
    with pytest.raises(ValueError, match=r"several files of stage-1 predictions: a_train.jsonl, b_train.jsonl"):
        list(jobs(["qvh"], results=tmp_path, annotations=tmp_path))
    with pytest.raises(ValueError, match=r"unknown data set 'anet'; known: qvh, charades"):
        list(jobs(["anet"]))


def test_script(main: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, "charades", ["test"])
    write_lines(tmp_path / "stage1" / "charades_test.jsonl", [Prediction("Q_0", [Moment(1, 2)])])
    arguments = ["--eval", "--annotations", str(tmp_path), "--results", str(tmp_path / "stage1")]
    assert main([*arguments, "--dataset", "charades"]) == 0
    assert json.loads((tmp_path / "charades" / "test_stage2.json").read_text())[0]["stage1_result"] == [[1, 2]]
    assert "1 rows from" in capsys.readouterr().out
    assert main(arguments) == 1
    assert "no annotations: looked for" in capsys.readouterr().err


def test_script_help(main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert "--eval --dataset qvh" in shown
    assert "Examples:" in shown
