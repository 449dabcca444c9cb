"""Folders as the READMEs of the original projects lay them out, with one row a file and empty videos.

Paths stand here as the READMEs, scripts and configuration files write them, and not as our table does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

TALK = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A red cup."}]
TVR = {"qid": 1, "query": "a man sits", "duration": 30, "vid": "v1", "relevant_windows": [[2, 8]]}
CALCE = {
    "video": "v1",
    "qid": "Q_1",
    "query": "a man sits",
    "duration": 30,
    "items": ["man"],
    "relevant_windows": [[2, 8]],
}
MR_BLIP = {"video": "v1", "qid": "Q_1", "query": "a man sits", "duration": 30, "relevant_windows": [[2, 8]]}
QA = {
    "video": "v1", "qid": "Q_1", "duration": 30, "question": "why?", "num_option": 2, "a0": "x", "a1": "y", "answer": 0,
}  # fmt: skip
ET = {"task": "tvg", "source": "coin", "video": "coin/v1.mp4", "duration": 30.0, "tgt": [2, 8]}
MARKED = [{"from": "human", "value": "<image>\nWhen?"}, {"from": "gpt", "value": "<vid> - <vid> seconds."}]
MECO = [{"from": "human", "value": "<image>\nWhen?"}, {"from": "gpt", "value": "A man sits.<ent>"}]
BENCH = {
    "version": 1.0, "idx": 0, "task": "tvg", "source": "qvhighlights", "video": "qvhighlights/v1.mp4",
    "duration": 30.0, "q": "Where?", "tgt": [2, 8],
}  # fmt: skip
ASKED = {"question_id": "1", "video": "v1.mp4", "conversation": [{"role": "user", "content": "When?", "time": 0}]}
SAID = [{"time": 5, "text": "A man sits.", "timespan": [2, 8]}]


class Folder:
    """Writes files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def rows(self, path: str, *rows: Any) -> None:
        """A JSON list, or JSON lines."""
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        self.text(path, lines if path.endswith(".jsonl") else json.dumps(list(rows)))

    def value(self, path: str, value: Any) -> None:
        """JSON."""
        self.text(path, json.dumps(value))

    def text(self, path: str, text: str = "") -> None:
        """A file; empty ones stand for videos."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def notes(self, path: str, *videos: str) -> None:
        """Lengths of videos as ``process_data/videos_metadata.py`` and MMDuet write them."""
        self.value(
            path, {video: {"duration": 30.0, "fps": 25.0, "path": video, "frame_count": 750.0} for video in videos}
        )


def calce(folder: Folder) -> None:
    """The repository, with ``QVHighlights/{videos,srts}`` in it."""
    for split in ("train", "val", "test_dummy"):
        folder.rows(f"lavis/datasets/annotations/qvh/{split}.json", CALCE)
    for split in ("train", "test"):
        folder.rows(f"lavis/datasets/annotations/charades/{split}.json", CALCE)
    folder.text("QVHighlights/videos/v1.mp4")
    folder.text("QVHighlights/srts/v1.srt")
    folder.text("Charades-STA/videos/v1.mp4")


def mr_blip(folder: Folder) -> None:
    """What its notebook writes, and the folders of its configuration files."""
    for name in ("train", "val", "test_dummy"):
        folder.rows(f"QVHighlights/lavis/{name}.json", MR_BLIP)
    for name in ("train", "test_float"):
        folder.rows(f"Charades_STA/lavis/{name}.json", MR_BLIP)
    for name in ("train", "val_float", "test_float"):
        folder.rows(f"ActivityNet/lavis/{name}.json", MR_BLIP)
    for name in ("train", "val", "nextgqa/test"):
        folder.rows(f"NExT_QA/lavis/{name}.json", QA)
    for name in ("QVHighlights", "Charades", "ANet/Anet_videos_15fps_short256", "NExT"):
        folder.text(f"raw/{name}/v1.mp4")


def meco(folder: Folder) -> None:
    """MeCo/data."""
    folder.rows("llamavid/llava_558k_with_webvid.json", {"id": 1, "video": "a/v1.mp4", "conversations": TALK})
    folder.text("webvid/videos/a/v1.mp4")
    folder.notes("webvid/videos_metadata.json", "a/v1.mp4")
    folder.rows(
        "llamavid/llava_v1_5_mix665k_with_video_chatgpt.json",
        {"id": 1, "video": "activitynet/v1.mp4", "conversations": TALK},
    )
    folder.text("video_chatgpt/activitynet/v1.mp4")
    folder.notes("video_chatgpt/videos_metadata.json", "activitynet/v1.mp4")
    folder.rows("ET-Instruct-164K/et_instruct_164k_vid.json", {**ET, "conversations": MARKED})
    folder.rows("ET-Instruct-164K/et_instruct_164k_meco.json", {**ET, "conversations": MECO})
    folder.text("ET-Instruct-164K/videos/coin/v1.mp4")
    folder.rows("ETBench/annotations/etbench_txt_v1.0.json", BENCH)
    folder.text("ETBench/videos_compressed/qvhighlights/v1.mp4")
    folder.rows("Charades/annotations/r2-tuning/charades_test.jsonl", TVR)
    folder.text("Charades/videos/v1.mp4")
    folder.rows("QVhighlights/annotations/r2-tuning/qvhighlights_val.jsonl", TVR)
    folder.text("QVhighlights/videos/v1.mp4")


HAWKEYE_IT = {
    "caption/textvr": "textvr", "caption/videochat": "webvid", "caption/webvid": "webvid",
    "caption/youcook2": "youcook2", "classification/k710": "kinetics", "classification/ssv2": "ssv2",
    "conversation/videochat1": "webvid", "conversation/videochat2": "internvid",
    "conversation/videochatgpt": "activitynet", "reasoning/next_qa": "nextqa", "reasoning/clevrer_qa": "clevrer",
    "reasoning/clevrer_mc": "clevrer", "vqa/ego_qa": "egoqa", "vqa/tgif_frame_qa": "tgif",
    "vqa/tgif_transition_qa": "tgif", "vqa/webvid_qa": "webvid", "temporal/internvid_grounding": "internvid-g",
    "temporal/internvid_caption": "internvid-g",
}  # fmt: skip
"""Folder of the annotations to that of the videos (``configs/instruction_data.py``)."""
NAMED_AS = {"webvid": "101/1012345.mp4", "clevrer": "video_02000-03000/video_02238.mp4"}
WRITTEN_AS = {"webvid": "x/1012345.mp4", "clevrer": "video_02238.mp4"}


def hawkeye(folder: Folder) -> None:
    """HawkEye/data."""
    for name, videos in HAWKEYE_IT.items():
        row = {"video": WRITTEN_AS.get(videos, "v1.mp4"), "QA": [{"i": "", "q": "Who?", "a": "A man."}]}
        folder.rows(f"HawkEye-IT/video/{name}/train.json", row)
        file = NAMED_AS.get(videos, "v1.mp4")
        folder.text(f"videos/{videos}/{file}")
        folder.notes(f"videos/{videos}_metadata.json", file)
    for name, video in (("charades_sta", "v1.mp4"), ("nextgqa", "1/v1.mp4"), ("anetc", "v_1")):
        row = {"video": video, "question": "a man sits", "answer": [2, 8]}
        folder.rows(f"test-anno/{name}-recursive_grounding.json", {**row, **({"duration": 30} if "/" in video else {})})
    choice = {"question": "Why?", "candidates": ["x.", "y."], "answer": "y."}
    for name, video in (("nextqa", "1/v1.mp4"), ("star", "v1.mp4"), ("tvqa", "bbt_frames/c1")):
        folder.rows(f"test-anno/{name}-test.json", {**choice, "video": video})
    folder.text("videos/charades/v1.mp4")
    folder.notes("videos/charades_metadata.json", "v1.mp4")
    folder.text("videos/nextqa/1/v1.mp4")
    folder.notes("videos/nextqa_metadata.json", "v1.mp4", "1/v1.mp4")
    for number in range(90):
        for place in ("activitynet/v_1", "tvqa/bbt_frames/c1"):
            folder.text(f"videos/{place}/{number:05d}.jpg")
    mvbench(folder)


def mvbench(folder: Folder) -> None:
    """MVBench as it is downloaded."""
    from lavis.datasets.formats.mvbench import TASKS, snake

    files = []
    for name, task in TASKS.items():
        episodic = name == "Episodic Reasoning"
        video = "bbt_frames/c1" if episodic else "v1.mp4"
        row = {"video": video, "question": "Why?", "candidates": ["x", "y"], "answer": "y"}
        folder.rows(f"MVBench/json/{snake(name)}.json", {**row, **({"start": 2, "end": 8} if task.windowed else {})})
        files.append(f"{task.folder}/{video}")
        for number in range(90 if episodic else 0):
            folder.text(f"MVBench/video/{files[-1]}/{number:05d}.jpg")
        if not episodic:
            folder.text(f"MVBench/video/{files[-1]}")
    folder.notes("MVBench/video_metadata.json", *files)


def mmduet(folder: Folder) -> None:
    """MMDuet/datasets."""
    captions = {"v1.mp4": {"a0": SAID}}
    grounding = {"video_uid": "v1.mp4", "query": "a man", "timestamps": [[2, 8]]}
    turns = [{"role": "user", "time": 1, "content": "What?"}]
    turns += [{"role": "assistant", "time": 5, "content": "A man.", "timespan": [2, 8]}]
    folder.value("shot2story/annotations/dvc_train-human_anno-0.25_0.5_earlier.json", captions)
    folder.rows(
        "shot2story/annotations/magqa_train-0.25_0.5-earlier.json", {"video_uid": "v1.mp4", "conversation": turns}
    )
    folder.value("coin/annotations/train-0.25_0.5_earlier-120s_240s.json", captions)
    for name in ("didemo", "hirest_grounding", "queryd"):
        folder.rows(f"{name}/annotations/train.json", grounding)
    folder.rows("shot2story/annotations/magqa_test.json", ASKED)
    folder.rows("charades/annotations/test-random_prompt.json", ASKED)
    folder.rows("qvh/annotations/highlight_val-random_prompt.json", ASKED)
    folder.rows("qvh/annotations/highlight_val_release.jsonl", TVR)
    folder.rows("youcook2/annotations/val-random_prompt.json", ASKED)
    for name in ("shot2story", "coin", "didemo", "hirest_grounding", "queryd", "charades", "qvh", "youcook2"):
        folder.text(f"{name}/videos/v1.mp4")
        folder.notes(f"{name}/videos_metadata.json", "v1.mp4")


def grounded_videollm(folder: Folder) -> None:
    """The folder ``data_path`` of its download scripts; the lengths lie where our tool writes them."""
    said = [{"from": "human", "value": "<image>\nWhen?"}, {"from": "gpt", "value": "From <2> to <8>."}]
    row = {
        "video_id": "v1",
        "question_id": 1,
        "video_file": "InternVid-G/v1.mp4",
        "conversation": said,
        "dataset_name": "x",
    }
    for stage in ("mix_pretrain", "mix_grounded", "mix_sft"):
        folder.rows(f"{stage}/{stage}.json", row)
    folder.text("InternVid-G/v1.mp4")
    folder.notes(f"../{folder.root.name}_metadata.json", "InternVid-G/v1.mp4")


MAKERS: dict[str, Callable[[Folder], None]] = {
    "calce": calce, "mr_blip": mr_blip, "meco": meco, "hawkeye": hawkeye, "mmduet": mmduet,
    "grounded_videollm": grounded_videollm,
}  # fmt: skip
