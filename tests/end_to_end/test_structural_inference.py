"""MeCo asked for whole benchmarks: all tasks of E.T. Bench, Charades-STA and QVHighlights, by command and by script."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from lavis.api import load_model
from lavis.cli import main
from lavis.models.video_llm import VideoLLM
from lavis.scoring.captions.tools import captions_available
from lavis.scoring.etbench.records import TASKS
from lavis.scoring.scorer import score
from lavis.structures import Batch, Prediction
from tests.end_to_end.tiny import ROOT, Corpus, command, experiment, metrics, predictions
from tests.forked import programs
from tests.video_factory import write_video

SECONDS = 12
FORMAT = "The format of your response should be: 'The event happens in <start> - <end>'."
STRUCTURAL = {"<ent>": 8.0, "<tst>": 6.0}
MECO = {"ent_inds", "tst_inds", "vl_sims", "scale"}


def questions() -> list[dict[str, Any]]:
    """Two rows of each task, in the benchmark's words."""
    rows = []
    for task in TASKS:
        for idx in range(2):
            row: dict[str, Any] = {"version": 1.0, "idx": idx, "task": task, "source": "toy", "video": f"v{idx}.mp4"}
            row |= {"duration": float(SECONDS), "q": f"You are given a video. Find the visual event: 'it'. {FORMAT}"}
            if task in ("rar", "eca", "rvq", "gvq"):
                row |= {"o": [[1, 4], [5, 9]] if task == "eca" else ["a cup", "a dog"], "p": idx}
            if task in ("rar", "tem"):
                row |= {"q": f"You are given a video. What happens again as in <vid>? {FORMAT}", "src": [3.4]}
            if task == "gvq":
                row["q"] = f"Now I give you the question: 'what is it?'. The options are: (A) a cup (B) a dog. {FORMAT}"
            if task in ("evs", "dvc", "slc"):
                row["q"] = f"You are given a video about cooking. Watch the video carefully and list it. {FORMAT}"
            if task not in ("rar", "eca", "rvq"):
                row["tgt"] = [2.0, 7.0] if task in ("tvg", "epm", "gvq") else [[2.0, 7.0], [8.0, 11.0]]
            if task == "vhd":
                row["tgt"] = [row["tgt"]]
            if task in ("dvc", "slc"):
                row["g"] = ["it moves", "it stops"]
            rows.append(row)
    return rows


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two clips, annotations of three benchmarks, and a checkpoint of a tiny model that says structural tokens."""
    made = Corpus(tmp_path_factory.mktemp("structural"))
    made.videos.mkdir()
    for n in range(2):
        write_video(made.videos / f"v{n}.mp4", num_frames=SECONDS, fps=1)
    made.rows["train"] = [
        {"video": f"v{n}", "qid": f"Clip_{n}", "query": "it moves", "duration": SECONDS, "relevant_windows": [[2, 7]],
         "items": ["it"]}
        for n in range(2)
    ]  # fmt: skip
    made.write_annotations()
    (made.folder / "etbench.json").write_text(json.dumps(questions()))
    rows = [
        {"qid": n, "query": "it moves", "vid": f"v{n % 2}", "duration": SECONDS, "relevant_windows": [[n, n + 6]]}
        for n in range(4)
    ]
    (made.folder / "charades.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rated = [{**row, "relevant_clip_ids": [1, 2], "saliency_scores": [[4, 3, 2], [1, 0, 4]]} for row in rows]
    (made.folder / "qvh.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rated))
    config = experiment(
        made,
        "tiny/meco_train",
        "tiny/meco",
        dataset={"format": {"name": "calce"}, "subtitles": None},
        run={"train_splits": ["train"], "valid_splits": [], "test_splits": [], "max_steps": 1},
    )
    assert main(["train", str(config)]) == 0
    trained = made.results / "tiny/meco_train/checkpoints/best.safetensors"
    talkative(trained, made.folder / "meco.safetensors", STRUCTURAL)
    return made


def talkative(source: Path, target: Path, tokens: Mapping[str, float]) -> None:
    """A copy of a checkpoint whose model says some tokens often."""
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    (name,) = [name for name in state if name.endswith("lm_head.weight")]
    for token, factor in tokens.items():
        row = load_model(str(source)).language_model.token_ids((token,))[token]
        state[name][row] *= factor / state[name][row].norm() * state[name].norm(dim=1).mean()
    save_file(state, target, metadata)


def options(corpus: Corpus, dataset: str, split: str, file: str) -> list[str]:
    return [
        f"datasets.{dataset}.annotations={{{split}: {corpus.folder / file}}}",
        f"datasets.{dataset}.videos={corpus.videos}",
        "model.generation.max_new_tokens=12",
        "run.device=cpu",
        "run.eval_precision=fp32",
        "run.num_workers=0",
        "run.hooks=[]",
        "run.batch_size=4",
    ]


def evaluate(
    corpus: Corpus, config: str, *more: str, results: str = "results", checkpoint: Path | None = None
) -> Path:
    folder = corpus.folder / results
    weights = corpus.folder / "meco.safetensors" if checkpoint is None else checkpoint
    arguments = ["evaluate", config, "--checkpoint", str(weights), "--options"]
    assert main([*arguments, *more, "--options", f"run.output_dir={folder}"]) == 0
    return folder / config.removeprefix("experiments/")


def test_all_tasks_of_etbench_by_one_command(corpus: Corpus) -> None:
    run = evaluate(corpus, "experiments/meco/etbench", *options(corpus, "et_bench", "test", "etbench.json"))
    rows = json.loads((run / "predictions/et_bench_test.json").read_text())
    assert [{k: v for k, v in row.items() if k not in MECO | {"a"}} for row in rows] == questions()
    assert all(row.keys() >= MECO | {"a"} for row in rows)
    assert any(row["ent_inds"] for row in rows), "some model says events"
    assert {len(sims) for row in rows for sims in row["vl_sims"]} == {SECONDS}
    assert {len(row["vl_sims"]) - len(row["ent_inds"]) - len(row["tst_inds"]) for row in rows} == {0}
    figures = metrics(run)["et_bench_test"]
    out = run / "preds"
    written = str(run / "predictions/et_bench_test.json")
    assert main(["submit", "--benchmark", "etbench", "--test", written, "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(f"{task}_etbench_0.json" for task in TASKS)
    headline = score("etbench", out).headline
    assert headline.keys() >= {"TVG (F1)", "VHD (F1)", "DVC (F1)", "TEM (Rec)"} or captions_available()
    assert {name: figures[name] for name in headline} == headline
    for mode in ("similarity", "text"):
        assert score("etbench", out, mode=mode, tasks=["tvg", "vhd", "tem"]).headline.keys() >= {"TVG (F1)", "VHD (F1)"}


def test_an_interrupted_evaluation_goes_on(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = ["tvg", "tal", "evs", "vhd", "tem", "eca"]  # no captions, which take long to score
    given = [*options(corpus, "et_bench", "test", "etbench.json"), f"datasets.et_bench.format.tasks={tasks}"]
    whole = evaluate(corpus, "experiments/meco/etbench", *given, results="whole")
    asked: list[str] = []
    answer, limit = VideoLLM.answer, [5]

    def interrupted(model: VideoLLM, batch: Batch, *more: Any) -> list[Prediction]:
        if len(asked) >= limit[0]:
            raise KeyboardInterrupt
        asked.extend(sample.id for sample in batch.samples)
        return answer(model, batch, *more)

    monkeypatch.setattr(VideoLLM, "answer", interrupted)
    with pytest.raises(AssertionError):
        evaluate(corpus, "experiments/meco/etbench", *given, results="half")
    first = len(asked)
    assert 5 <= first < 2 * len(tasks)
    limit[0] = 1000
    half = evaluate(corpus, "experiments/meco/etbench", *given, results="half")
    assert sorted(asked) == sorted(f"{task}/toy/{idx}" for task in tasks for idx in (0, 1)), "each is asked once"
    name = "predictions/et_bench_test.json"
    assert json.loads((half / name).read_text()) == json.loads((whole / name).read_text())


def test_drawn_answers_repeat(corpus: Corpus) -> None:
    given = [*options(corpus, "charades_sta", "test", "charades.jsonl"), "model.generation.temperature=2.0"]
    runs = [
        evaluate(corpus, "experiments/meco/charades_sta", *given, f"run.batch_size={size}", results=f"drawn{size}")
        for size in (4, 1)
    ]
    one, other = ([row["text"] for row in predictions(run, "charades_sta_test")] for run in runs)
    assert one == other, "drawn by the id of the sample, whatever it is asked with"
    greedy = evaluate(corpus, "experiments/meco/charades_sta", *given[:-1], results="greedy")
    assert one != [row["text"] for row in predictions(greedy, "charades_sta_test")]


def test_some_tasks_alone(corpus: Corpus) -> None:
    given = options(corpus, "et_bench", "test", "etbench.json")
    run = evaluate(corpus, "experiments/meco/etbench", *given, "--tasks", "tvg", "gvq", results="some")
    rows = json.loads((run / "predictions/et_bench_test.json").read_text())
    assert [row["task"] for row in rows] == ["tvg", "tvg", "gvq", "gvq"]
    arguments = ["evaluate", "experiments/meco/charades_sta", "--tasks", "tvg", "--options", "run.device=cpu"]
    assert main(arguments) == 2


@pytest.mark.parametrize(
    ("config", "dataset", "split", "file", "protocol"),
    [
        ("charades_sta", "charades_sta", "test", "charades.jsonl", "meco_charades"),
        ("qvhighlights", "qvhighlights", "val", "qvh.jsonl", "meco_qvhighlights"),
        ("qvhighlights_highlights", "qvhighlights", "val", "qvh.jsonl", "meco_qvhighlights"),
    ],
)
def test_grounding(corpus: Corpus, config: str, dataset: str, split: str, file: str, protocol: str) -> None:
    run = evaluate(corpus, f"experiments/meco/{config}", *options(corpus, dataset, split, file))
    name = f"{dataset}_{split}"
    rows = json.loads((run / f"predictions/{name}.json").read_text())
    assert all(row.keys() >= MECO | {"a", "qid", "query", "vid", "duration", "relevant_windows"} for row in rows)
    figures = metrics(run)[name]
    headline = score(protocol, rows).headline
    assert {key: figures[key] for key in headline} == headline
    # The model's own moments are those that are decoded offline.
    lines = [{"qid": row["id"], "pred_relevant_windows": row["moments"]} for row in predictions(run, name)]
    own = score(protocol, lines, rows).headline
    assert {key: value for key, value in headline.items() if key.startswith("MR")} == own


def test_video_mme(corpus: Corpus) -> None:
    (corpus.folder / "seconds.json").write_text(json.dumps({"v0": SECONDS, "v1": SECONDS}))
    common = {"duration": "short", "domain": "Life", "sub_category": "Pets", "task_type": "Counting"}
    rows = [
        {**common, "video_id": f"00{n}", "videoID": f"v{n}", "question_id": f"00{n}-1", "question": "How many?",
         "options": ["A. one", "B. two", "C. three", "D. four"], "answer": "B"}
        for n in range(2)
    ]  # fmt: skip
    (corpus.folder / "mme.json").write_text(json.dumps(rows))
    given = options(corpus, "video_mme", "test", "mme.json")
    durations = f"datasets.video_mme.format.durations={corpus.folder / 'seconds.json'}"
    run = evaluate(corpus, "experiments/meco/video_mme", *given, durations)
    assert metrics(run)["video_mme_test"]["skipped"] == 0
    answers = predictions(run, "video_mme_test")
    assert [row["id"] for row in answers] == ["000-1", "001-1"]
    assert metrics(run)["video_mme_test"]["total"] == 2


# --------------------------------------------------------------------------------------------------------- E.T. Chat


@pytest.fixture(scope="module")
def matching(corpus: Corpus) -> Path:
    """A checkpoint of a tiny E.T. Chat that says match tokens."""
    config = experiment(
        corpus,
        "tiny/etchat_train",
        "tiny/etchat",
        dataset={"format": {"name": "calce"}, "subtitles": None},
        run={"train_splits": ["train"], "valid_splits": [], "test_splits": [], "max_steps": 1},
    )
    assert main(["train", str(config)]) == 0
    target = corpus.folder / "etchat.safetensors"
    talkative(corpus.results / "tiny/etchat_train/checkpoints/best.safetensors", target, {"<vid>": 6.0})
    return target


@pytest.mark.parametrize(
    ("config", "dataset", "file", "protocol"),
    [
        ("etbench", "et_bench", "etbench.json", "etbench"),
        ("charades_sta", "charades_sta", "charades.jsonl", "etchat_charades"),
    ],
)
def test_match_tokens(corpus: Corpus, matching: Path, config: str, dataset: str, file: str, protocol: str) -> None:
    given = options(corpus, dataset, "test", file)
    run = evaluate(corpus, f"experiments/etchat/{config}", *given, checkpoint=matching)
    rows = json.loads((run / f"predictions/{dataset}_test.json").read_text())
    assert not any(row.keys() & MECO for row in rows)
    assert any(character.isdigit() for row in rows for character in row["a"]), "times are written out"
    if protocol == "etchat_charades":
        assert all(row["span"] == row["relevant_windows"][0] for row in rows)
    figures = metrics(run)[f"{dataset}_test"]
    headline = score(protocol, rows).headline
    assert {name: figures[name] for name in headline} == headline


def test_mvbench(corpus: Corpus, matching: Path) -> None:
    folder = corpus.folder / "mvbench"
    folder.mkdir()
    rows = [
        {"video": f"v{n}.mp4", "question": "Which?", "candidates": ["to push", "to pull"], "answer": "to pull"}
        for n in range(2)
    ]
    (folder / "action_antonym.json").write_text(json.dumps(rows))
    (folder / "seconds.json").write_text(json.dumps({f"v{n}.mp4": SECONDS for n in range(2)}))
    given = [
        *options(corpus, "mvbench", "test", "mvbench"),
        f"datasets.mvbench.format.durations={folder / 'seconds.json'}",
        "datasets.mvbench.format.folders={Action Antonym: .}",
    ]
    more = ["--tasks", "Action Antonym"]
    run = evaluate(corpus, "experiments/etchat/mvbench", *given, *more, checkpoint=matching)
    assert len(predictions(run, "mvbench_test")) == 2
    assert metrics(run)["mvbench_test"]["total"] == 2


# ------------------------------------------------------------------------------------------------------------ scripts


def script(corpus: Corpus, name: str, *arguments: object, processes: int = 1) -> Any:
    environment = programs(corpus.folder / "programs") | {"NUM_GPUS": str(processes)}
    return command("sh", ROOT / "run_scripts/MeCo" / name, *arguments, cwd=corpus.folder, **environment)


def test_script_of_etbench(corpus: Corpus) -> None:
    checkpoint = corpus.folder / "meco.safetensors"
    given = ["--options", *options(corpus, "et_bench", "test", "etbench.json")]
    done = script(corpus, "inference_etbench.sh", checkpoint, "tvg", "preds", "fp32", *given, processes=2)
    assert done.returncode == 0, done.stderr
    written = sorted(path.name for path in (corpus.folder / "preds").glob("*.json"))
    assert written == ["tvg_etbench_0.json"], "beside the checkpoint"
    assert "TVG (F1)" in done.stdout


def test_script_of_charades_and_qvhighlights(corpus: Corpus) -> None:
    checkpoint, folder = corpus.folder / "meco.safetensors", corpus.folder / "elsewhere"
    given = ["--options", *options(corpus, "charades_sta", "test", "charades.jsonl")]
    done = script(corpus, "inference_charade_qvh.sh", checkpoint, "charades", folder, *given)
    assert done.returncode == 0, done.stderr
    assert len(json.loads((folder / "charades/charades.json").read_text())) == 4
    assert "MR-full-R1@0.5" in done.stdout


@pytest.mark.parametrize("name", ["inference_etbench.sh", "inference_charade_qvh.sh"])
def test_scripts_say_what_they_want(corpus: Corpus, name: str) -> None:
    helped = script(corpus, name, "--help")
    assert helped.returncode == 0
    assert f"usage: {name} CHECKPOINT" in helped.stdout
    for arguments, message in (
        ([], "usage:"),
        (["nothing", "preds"], "there is no checkpoint nothing"),
        ([corpus.folder, "all"], "PRED_DIR is missing"),
        ([corpus.folder, "tvq", "preds"], "'tvq' is no task"),
        ([corpus.folder, "all", "preds", "fp8"], f"{name}: 'fp8' is no dtype"),
    ):
        refused = script(corpus, name, *arguments)
        assert refused.returncode == 2
        assert message in refused.stderr
