"""E.T. Bench's annotations: every task's row, the parts of the benchmark, and bad rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lavis.common.registry import registry
from lavis.datasets.formats._record import AnnotationError
from lavis.datasets.formats.base import Annotations
from lavis.metrics.etbench import ETBenchMetric
from lavis.scoring.etbench.records import TASKS
from lavis.structures import Prediction

Read = Callable[..., Annotations]

COMMON = {"version": 1.0, "idx": 0, "video": "qvhighlights/a.mp4", "duration": 35.0, "q": "Where?"}
TVG = {**COMMON, "task": "tvg", "source": "qvhighlights", "tgt": [15.0, 31.0]}
CHOICE = {**COMMON, "task": "rar", "source": "perception_test", "o": ["a cup", "a dog"], "p": 1}
TIMES = {**COMMON, "task": "eca", "source": "perception_test", "o": [[1.5, 2], [3, 4]], "p": 0}
CAPTIONS = {**COMMON, "task": "dvc", "source": "hirest", "tgt": [[1, 2], [3, 4]], "g": ["cut it", "eat it"]}
HIGHLIGHTS = {**COMMON, "task": "vhd", "source": "qvhighlights", "tgt": [[[1, 2], [3, 4]], [[5, 6]]]}
GROUNDED = {**COMMON, "task": "gvq", "source": "qa_ego4d", "tgt": [[1, 2]], "o": ["a", "b", "c"], "p": 2}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_as(rows: Any, **options: Any) -> Annotations:
        file = tmp_path / "etbench.json"
        file.write_text(json.dumps(rows))
        return registry.formats.get("et_bench")(**options).read(file)

    return read_as


def windows(sample: Any) -> Any:
    return sample.moments and [m.to_list() for m in sample.moments]


def test_rows_of_the_tasks(read: Read) -> None:
    rows = [TVG, CHOICE, TIMES, CAPTIONS, HIGHLIGHTS, GROUNDED]
    samples = {s.kind: s for s in read(rows).samples}
    assert [s.id for s in samples.values()] == [f"{r['task']}/{r['source']}/0" for r in rows]
    assert {k: windows(s) for k, s in samples.items()} == {
        "tvg": [[15.0, 31.0]],
        "rar": None,
        "eca": None,
        "dvc": [[1, 2], [3, 4]],
        "vhd": [[1, 2], [3, 4], [5, 6]],
        "gvq": [[1, 2]],
    }
    assert (samples["rar"].options, samples["rar"].answer) == (["a cup", "a dog"], "a dog")
    assert (samples["eca"].options, samples["eca"].extra["answer_index"]) == (["1.5 - 2", "3 - 4"], 0)
    assert samples["dvc"].extra["captions"] == ["cut it", "eat it"]
    assert (samples["gvq"].answer, samples["tvg"].query) == ("c", "Where?")
    assert [s.extra["etbench"] for s in samples.values()] == rows


def test_the_metric_reads_the_samples(read: Read) -> None:
    metric = ETBenchMetric(tasks=["tvg", "rar"])
    tvg, rar = read([TVG, CHOICE]).samples
    metric.update([tvg, rar], [Prediction(tvg.id, [], text="15.0 - 31.0"), Prediction(rar.id, [], text="(B)")])
    figures = metric.compute()
    assert figures["total"] == 2
    assert {figures[name] for name in figures if "tvg" in name.lower() or "rar" in name.lower()} == {100.0}, figures


def test_parts_of_the_benchmark(read: Read, tmp_path: Path) -> None:
    rows = [TVG, {**TVG, "idx": 1}, CHOICE]
    subset = tmp_path / "subset.json"
    subset.write_text(json.dumps({"tvg": {"qvhighlights": [1]}, "rar": {"perception_test": [0]}}))
    result = read(rows, subset_file=str(subset))
    assert [s.id for s in result.samples] == ["tvg/qvhighlights/1", "rar/perception_test/0"]
    assert result.counts == {"rows": 3, "filtered_rows": 1}
    assert [s.id for s in read(rows, tasks=["rar"]).samples] == ["rar/perception_test/0"]
    with pytest.raises(AnnotationError, match=r"leave none of 3 rows"):
        read(rows, tasks=["dvc"])
    with pytest.raises(ValueError, match=r"format.tasks must be one of 'rar'"):
        read(rows, tasks=["TVG"])
    for content, message in [
        ("[]", r"must be {task: {source: \[idx\]}}"),
        ('{"tvg": {"a": 3}}', r"task 'tvg', source 'a': must be a list"),
    ]:
        subset.write_text(content)
        with pytest.raises(AnnotationError, match=message):
            read(rows, subset_file=str(subset))
    with pytest.raises(AnnotationError, match=r"there is no file .*none.json. Correct format.subset_file"):
        read(rows, subset_file=str(tmp_path / "none.json"))


def test_times_in_questions(read: Read) -> None:
    row = {**TVG, "q": "What is at <vid>?", "src": [1.2]}
    assert read([row], style="vid").samples[0].query == "What is at <vid>?"
    with pytest.raises(AnnotationError, match=r"'q': holds <vid>.*style to 'vid'"):
        read([row])
    with pytest.raises(AnnotationError, match=r"'src': must have one time for each <vid> of q, got 2 for 1"):
        read([{**row, "src": [1.2, 3]}], style="vid")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({k: v for k, v in TVG.items() if k != "duration"}, r"'duration': is missing"),
        ({k: v for k, v in TVG.items() if k != "tgt"}, r"'tgt': is missing"),
        ({**TVG, "anwser": "x"}, r"'anwser': is not a field"),
        ({**TVG, "tgts": []}, r"'tgts': is not a field.*Did you mean 'tgt'"),
        ({**TVG, "task": "TVG"}, r"'task': 'TVG' is none of rar, "),
        ({**TVG, "tgt": [31.0, 15.0]}, r"'tgt': the window \[31.0, 15.0\] ends before it starts"),
        ({**TVG, "tgt": [[1, 2, 3]]}, r"is not \[start, end\]"),
        ({**TVG, "tgt": "1 - 2"}, r"'tgt': must be a list of"),
        ({**TVG, "src": [True]}, r"'src': must be a finite number"),
        ({**TVG, "video": "/etc/passwd"}, r"leads outside the folder of the videos"),
        ({**CHOICE, "o": ["a"]}, r"'o': must be a list of 2 to 26 options"),
        ({**CHOICE, "o": ["a", 3]}, r"'o': must be a list of texts"),
        ({**CHOICE, "p": 2}, r"'p': must be the index of one of 2 options, got 2"),
        ({**CHOICE, "p": "1"}, r"'p': must be a whole number"),
        ({**CAPTIONS, "g": ["cut it"]}, r"'g': must have one caption for each of tgt, got 1 for 2"),
        ({**CAPTIONS, "tgt": 3}, r"'g': must have one caption for each of tgt, got 2 for 0"),
    ],
)
def test_bad_rows(read: Read, row: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=rf"etbench.json, row 2 \(id .*/0\).*{message}"):
        read([{**TVG, "idx": 7}, row])


def test_bad_identity(read: Read) -> None:
    with pytest.raises(AnnotationError, match=r"row 1, field 'idx': must be a whole number"):
        read([{**TVG, "idx": "0"}])
    with pytest.raises(AnnotationError, match=r"row 2 .*this id was used before, in row 1"):
        read([TVG, TVG])


def test_skipping_keeps_windows_and_captions_in_step(read: Read) -> None:
    row = {**CAPTIONS, "tgt": [[2, 1], [3, 4]]}
    result = read([row, {**CAPTIONS, "idx": 1, "tgt": [[2, 1], [4, 3]]}], on_bad_window="skip")
    (sample,) = result.samples
    assert (windows(sample), sample.extra["captions"]) == ([[3, 4]], ["eat it"])
    assert result.counts == {"rows": 2, "skipped_windows": 3, "skipped_rows": 1}


def test_records_that_the_benchmarks_script_was_run_on(golden_dir: Path) -> None:
    file = golden_dir / "meco" / "metrics" / "etbench_txt_preds.json"
    result = registry.formats.get("et_bench")(on_unknown_field="ignore").read(file)
    assert result.counts == {"rows": 244}
    assert {s.kind for s in result.samples} == set(TASKS)
    for sample, row in zip(result.samples, json.loads(file.read_text()), strict=True):
        assert sample.extra["etbench"] == row
        assert (sample.moments is None) == ("tgt" not in row)
