"""What the report reads from run folders, and the figures it makes of it."""

from __future__ import annotations

import base64
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lavis.processors.readers.base import VideoDecodeError
from lavis.report.baselines import mean_training_window, random_window, whole_video
from lavis.report.figures import baseline_answers, learning_curves, recall_curve, table_rows
from lavis.report.film_strip import film_strip
from lavis.report.run_folder import StageRun, logged, predictions_of, validation_split
from lavis.report.run_report import (
    chosen_cases,
    conditions,
    timelines,
    training_seconds,
    write_report,
    write_run_report,
)
from lavis.structures import Moment, Prediction, VideoSample


@pytest.fixture
def stages(run_folders: dict[str, Path]) -> list[StageRun]:
    return [
        StageRun("Stage 1", [run_folders["stage1"]], "quickstart_test"),
        StageRun("Stage 2", [run_folders["stage2"], run_folders["stage1"]], "quickstart_test"),
        StageRun("Stage 1, no captions", [run_folders["stage1"]], "quickstart_test", role="comparison"),
    ]


def test_rows_are_over_the_same_queries(stages: list[StageRun], samples: list[VideoSample]) -> None:
    answers = {s.name: [predictions_of(f, s.predictions, samples) for f in s.folders] for s in stages}
    rows = table_rows(samples, baseline_answers(samples, samples), stages, answers)
    assert list(dict.fromkeys(row.group for row in rows)) == [
        "All queries",
        "Seen: shown in the picture",
        "Said: only in the captions",
    ]
    found = {(row.group, row.name): row for row in rows}
    assert found["All queries", "Stage 1"].values["R1@0.5"] == 75.0  # IoU 1, 1/2, 1/2 and no answer
    assert found["All queries", "Stage 1"].values["mIoU"] == pytest.approx(50.0)
    two_seeds = found["All queries", "Stage 2"]
    assert two_seeds.values["R1@0.7"] == pytest.approx((75.0 + 25.0) / 2)
    assert two_seeds.spread["R1@0.7"] == pytest.approx(2**0.5 * 25)
    assert not found["All queries", "Random window"].spread
    assert found["Seen: shown in the picture", "Stage 1"].num_queries == 2
    assert found["Said: only in the captions", "Stage 1"].values["R1@0.5"] == 50.0


def test_a_skipped_sample_is_a_miss(run_folders: dict[str, Path], samples: list[VideoSample]) -> None:
    extra = [*samples, replace(samples[0], id="Sample_9")]
    assert predictions_of(run_folders["stage1"], "quickstart_test", extra)[-1] == Prediction("Sample_9", [])


def test_missing_predictions_are_named(run_folders: dict[str, Path], samples: list[VideoSample]) -> None:
    with pytest.raises(ValueError, match=r"quickstart_val.*there: quickstart_test"):
        predictions_of(run_folders["stage1"], "quickstart_val", samples)
    with pytest.raises(ValueError, match="no prediction for any of the 1 samples, such as other"):
        predictions_of(run_folders["stage1"], "quickstart_test", [replace(samples[0], id="other")])


def test_curves_show_the_validation_and_not_the_test(stages: list[StageRun]) -> None:
    loss, rate, recall = learning_curves(stages[:1])
    assert len(loss.series[0].points) == 8
    assert rate.series[0].points[0] == (10.0, 1e-4)
    assert recall.series[0].points == [(1.0, 30.0), (2.0, 60.0)]


def test_a_repeated_step_keeps_the_later_value() -> None:
    rows = [{"step": 1, "loss": 3.0}, {"step": 1, "loss": 2.0}, {"step": 2, "loss": None}, {"step": 1, "split": "val"}]
    assert logged(rows, "step", "loss") == [(1.0, 2.0)]
    assert validation_split(rows) == "val"
    assert validation_split([]) is None


def test_recall_falls_with_the_overlap(samples: list[VideoSample]) -> None:
    curve = recall_curve(
        samples, baseline_answers(samples, []), {"Stage 1": [Prediction(s.id, s.moments) for s in samples]}
    )
    whole, perfect = (dict(series.points) for series in curve.series)
    assert set(perfect.values()) == {100.0}
    assert whole[0.5] == 50.0  # moments of 4 of 8 seconds
    assert list(whole.values()) == sorted(whole.values(), reverse=True)


def test_cases_are_worst_best_and_most_changed(samples: list[VideoSample]) -> None:
    many = [replace(samples[0], id=str(n), moments=[Moment(0, 4)]) for n in range(10)]
    first = [Prediction(s.id, [Moment(0, 4)]) for s in many]
    last = [Prediction(s.id, [Moment(0, 4 - 0.3 * n)]) for n, s in enumerate(many)]
    assert chosen_cases(many, [first, last], 20) == list(range(10))
    chosen = chosen_cases(many, [first, last], 3)
    assert len(chosen) == 3
    assert {0, 9} <= set(chosen)


def test_baselines(samples: list[VideoSample]) -> None:
    assert [p.moments for p in whole_video(samples)] == [[Moment(0, 8.0)]] * 4
    train = [
        replace(samples[0], duration=10.0, moments=[Moment(0, 5)]),
        replace(samples[0], duration=20.0, moments=[Moment(10, 20)]),
    ]
    (first, *_) = mean_training_window(train, samples)
    assert first.moments[0].to_list() == pytest.approx([2.0, 6.0])
    with pytest.raises(ValueError, match="training samples"):
        mean_training_window([replace(samples[0], moments=None)], samples)
    assert random_window(samples, 1) == random_window(samples, 1)
    assert random_window(samples, 1) != random_window(samples, 2)
    clip = replace(samples[0], clip=Moment(4, 8))
    assert all(m.start >= 4 for n in range(20) for m in random_window([clip], n)[0].moments)


def test_film_strip(videos: list[Path]) -> None:
    from PIL import Image

    strip = film_strip(str(videos[0]), height=20)
    assert strip.aspect == pytest.approx(64 / 48)
    assert len(strip.times) == 12
    assert list(strip.times) == sorted(strip.times)
    picture = Image.open(io.BytesIO(base64.b64decode(strip.data.partition(",")[2])))
    assert picture.size == (12 * 27, 20)
    assert picture.getpixel((10, 10))[0] < picture.getpixel((300, 10))[0]  # it gets brighter
    assert len(film_strip(str(videos[1])).times) == 21
    with pytest.raises(ValueError, match="shape"):
        film_strip(str(videos[0]), shape=0)


def test_an_unreadable_video_says_so(samples: list[VideoSample], tmp_path: Path) -> None:
    missing = str(tmp_path / "gone.mp4")
    with pytest.raises(VideoDecodeError):
        film_strip(missing)
    (case,) = timelines([replace(samples[0], video=missing)], [0], {}, with_frames=True)
    assert case.strip is None
    assert "gone.mp4 cannot be read" in case.strip_problem


def test_whole_report(stages: list[StageRun], samples: list[VideoSample], tmp_path: Path) -> None:
    path = write_run_report(
        tmp_path / "deep" / "report.html",
        "Quickstart",
        stages,
        samples,
        train_samples=samples,
        facts={"Total seconds": 65},
        max_cases=3,
    )
    page = path.read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 2  # one for each video, shared by its queries
    assert page.count('<li class="case"') == 3
    for expected in ("3 of 4 queries", "first seed", "1 min 5 s", "Mean training window", "name: stage2", "torch"):
        assert expected in page, expected


def test_a_report_needs_a_stage_and_truth(stages: list[StageRun], samples: list[VideoSample], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one stage"):
        write_run_report(tmp_path / "r.html", "t", stages[2:], samples)
    with pytest.raises(ValueError, match="true moments"):
        write_run_report(tmp_path / "r.html", "t", stages, [replace(samples[0], moments=None)])
    with pytest.raises(ValueError, match="at least one run folder"):
        StageRun("Stage 1", [], "x")


def test_times_are_those_of_training(
    run_folders: dict[str, Path], stages: list[StageRun], samples: list[VideoSample]
) -> None:
    folder = run_folders["stage1"]
    rows = [{"step": 10, "epoch": 0, "seconds": 0.5}, {"step": 30, "epoch": 0, "seconds": 0.1}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert training_seconds(folder) == pytest.approx(7.0)
    facts = conditions(stages[:1], samples)
    assert facts["Training, in seconds"] == {"Stage 1": pytest.approx(7.0)}
    assert facts["Data"] == "4 queries on 2 videos"
    assert conditions(stages[1:2], samples)["Skipped queries"] == {"Stage 2": 1}


@pytest.fixture
def finished(run_folders: dict[str, Path], samples: list[VideoSample], tmp_path: Path) -> list[Path]:
    """Run folders with the configuration that the runner saves; the second stage twice, with another seed."""
    rows = [
        {
            "video": Path(s.video).stem,
            "qid": s.id,
            "query": s.query,
            "duration": 8,
            "items": ["x"],
            "relevant_windows": [m.to_list() for m in s.moments or []],
            "kind": s.kind,
        }
        for s in samples
    ]
    (tmp_path / "test.json").write_text(json.dumps(rows))
    dataset = {
        "name": "grounding",
        "format": {"name": "calce"},
        "annotations": {"test": str(tmp_path / "test.json"), "train": str(tmp_path / "absent.json")},
        "videos": str(Path(samples[0].video).parent),
    }
    second = run_folders["stage2"].with_name("stage2_seed43")
    shutil.copytree(run_folders["stage2"], second)
    for seed, folder in zip((42, 42, 43), (run_folders["stage1"], run_folders["stage2"], second), strict=True):
        stage = folder.name[:6]
        config = {
            "name": f"calce/{folder.name}",
            "model": {"processor": {"views": {"frames": {"sampler": {"num_frames": int(stage[-1]) * 4}}}}},
            "datasets": {"quickstart": {**dataset, "prior": str(folder)}},
            "run": {"seed": seed, "test_splits": ["test"]},
        }
        (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    return [run_folders["stage1"], run_folders["stage2"], second]


def test_report_from_folders_alone(finished: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    page = write_report(finished, tmp_path / "out").read_text(encoding="utf-8")
    assert "<h1>stage1 to stage2</h1>" in page
    assert "± 0.00" in page  # two seeds with the same answers
    assert "42, 43" in page
    assert "quickstart, test" in page
    assert "no baseline from the training split" in caplog.text
    assert "Mean training window" not in page


def test_report_from_folders_needs_runs(finished: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no config\.yaml"):
        write_report([tmp_path], tmp_path / "out")
    (finished[1] / "predictions" / "quickstart_test.jsonl").unlink()
    with pytest.raises(ValueError, match="predicted by all of"):
        write_report(finished, tmp_path / "out")
