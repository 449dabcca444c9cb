"""E.T. Bench's questions as MeCo asks them: exact strings, all tasks, both styles of telling times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lavis.common.registry import registry
from lavis.datasets.formats._et_questions import REWORDED, described
from lavis.scoring.etbench.records import TASKS
from lavis.structures import VideoSample

RESPONSE = (
    "The format of your response should be: 'The event happens in <start time> - <end time>'. You must represent start "
    "and end times in seconds. For example: 'The event happens in 10.2 - 12.8 seconds'."
)
FIND = "You are given a video about daily activities. Find the visual event described by the sentence: 'he sits'. "
ABOUT = "You are given a video about cooking. "
WATCH = "Watch the video carefully and list what happens. The format of your response should be: '<start> - <end>'."
ASKED = "Now I give you the question: 'where is it?'. The options are: (A) a (B) b. The format of your response should"

PLUS = "Enclose the clip segment in the localization token and use the transition token for any transitional parts."
DENSE = (
    "Densely summarize the video by localizing clips that depict a series of major activity events and briefly "
    "describing each event. The event descriptions should "
)
CLIP = FIND.replace("visual event", "clip")
EXPECTED = {
    ("tvg", "s"): f"{CLIP}Provide a detailed description of the clip.",
    ("eca", "s"): f"{CLIP}Provide a detailed description of the clip.",
    ("epm", "s"): f"{CLIP}Provide a detailed description of the clip and give the answer.",
    ("tal", "s"): f"{CLIP}Provide a concise description for each clip with action-centric temporal and spatial "
    "details.",
    ("vhd", "s"): f"{CLIP}Provide a detailed summary rich in important visual activities for the user to better "
    "understand the moment.",
    ("tem", "s"): f"{CLIP}Provide a detailed description of the moment.",
    ("evs", "s"): f"{ABOUT}Summarize the video into a brief synopsis by focusing on the clips that contain the most "
    "important visual cues related to the topic.",
    ("dvc", "hirest"): f"{ABOUT}{DENSE}start with action verbs.",
    ("dvc", "youcook2"): f"{ABOUT}{DENSE}be in an imperative form.",
    ("slc", "s"): f"{ABOUT}Localize a series of clips that contain the major steps in the video and briefly describe "
    "each clip.",
}


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize(("task", "source"), list(EXPECTED))
def test_a_request_for_a_description_takes_the_place_of_the_format(task: str, source: str, plus: bool) -> None:
    question = ABOUT + WATCH if task in ("evs", "dvc", "slc") else FIND + RESPONSE
    assert described(question, task, source, plus=plus) == EXPECTED[task, source] + (PLUS if plus else "")


def test_a_grounded_question() -> None:
    start = (
        "Watch the video carefully with the question 'where is it?' in mind and find the clip that contains the "
        "answer. Provide your analysis of the clip that supports your answer and finally provide the answer by "
        "choosing from the given options and end your response with 'Therefore, the answer is ...'. Here are the "
        "options:\n"
    )
    options = ["a", "b", "c", "d", "e"]
    assert described(ABOUT + ASKED, "gvq", "qa_ego4d", options) == f"{start}(A) a (B) b (C) c (D) d (E) e"
    four = described(ABOUT + ASKED, "gvq", "qa_ego4d", options, gvq_options="four", plus=True)
    assert four == f"{start}(A) a (B) b (C) c (D) d{PLUS}"
    assert described(ASKED, "gvq", "s", ["{query}", "y"]).endswith("\n(A) {query} (B) y")


@pytest.mark.parametrize("task", ["rar", "rvq"])
def test_choices_without_a_window_stay(task: str) -> None:
    assert described(FIND + RESPONSE, task, "s", plus=True) == FIND + RESPONSE


def test_a_question_of_other_words_is_kept_whole() -> None:
    assert described("When does he sit? ", "tvg", "s") == (
        "When does he sit? Provide a detailed description of the clip."
    )
    assert "the question where is it? in mind" in described("where is it?", "gvq", "s", ["a", "b"])
    assert described("", "tvg", "s").endswith("clip.")


def test_every_task_is_known() -> None:
    assert {*REWORDED, "rar", "rvq"} == set(TASKS)


# --------------------------------------------------------------------- as read from files


def rows() -> list[dict[str, Any]]:
    common = {"version": 1.0, "idx": 0, "source": "s", "video": "s/a.mp4", "duration": 35.0}
    return [
        {**common, "task": "tvg", "q": FIND + RESPONSE, "tgt": [1, 5]},
        {**common, "task": "gvq", "q": ASKED, "tgt": [1, 5], "o": ["a", "b", "c", "d", "e"], "p": 4},
        {**common, "task": "rar", "q": "What happens at <vid>?", "src": [3.0], "o": ["a", "b"], "p": 0},
        {**common, "task": "eca", "q": f"Is it <vid> - <vid>? {RESPONSE} or <vid>?", "src": [1.0, 2.5, 4.0],
         "o": [[1.0, 2.5], [3, 4]], "p": 0},
    ]  # fmt: skip


def read(folder: Path, **options: Any) -> list[VideoSample]:
    file = folder / "etbench.json"
    file.write_text(json.dumps(rows()))
    samples: list[VideoSample] = registry.formats.get("et_bench")(**options).read(file).samples
    return samples


def test_the_format_rewords_and_keeps_the_record(tmp_path: Path) -> None:
    samples = read(tmp_path, style="vid", questions="described", gvq_options="four")
    assert [s.extra["etbench"] for s in samples] == rows()
    assert samples[0].query == EXPECTED["tvg", "s"]
    assert samples[1].query.endswith("(D) d")
    assert samples[1].options == ["a", "b", "c", "d", "e"]
    assert samples[2].query == "What happens at <vid>?"
    assert samples[3].query == "Is it <vid> - <vid>? Provide a detailed description of the clip."
    assert [s.extra.get("src") for s in samples] == [None, None, [3.0], [1.0, 2.5]]


def test_questions_stay_as_they_are_written_by_default(tmp_path: Path) -> None:
    assert [s.query for s in read(tmp_path, style="vid")] == [row["q"] for row in rows()]


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format.questions"):
        read(tmp_path, questions="described_by_me")
    with pytest.raises(ValueError, match="format.gvq_options"):
        read(tmp_path, questions="described", gvq_options="five")
    with pytest.raises(ValueError, match="set format.questions to described"):
        read(tmp_path, plus=True)
