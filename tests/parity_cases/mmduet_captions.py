"""MMDuet's dense captioning: units of its scorers, and whole evaluations from responses to printed lines."""

from __future__ import annotations

import json
import re
import unittest
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from lavis.scoring.base import ScoringError
from lavis.scoring.captions import mmduet, ngrams
from lavis.scoring.captions.dense import Events
from lavis.scoring.captions.matching import event_iou
from lavis.scoring.captions.soda import assignment
from lavis.scoring.captions.stories import Story, Truth
from lavis.scoring.captions.tools import captions_available
from lavis.scoring.pairing import read
from lavis.scoring.protocols.dense_captioning import DenseCaptioning
from lavis.scoring.reading import Given, chosen_form, open_rows
from lavis.scoring.scorer import score
from tests.kept_captions import caption_tools

Case = tuple[str, Callable[[], float]]
Record = Mapping[str, Any]

TOLERANCE = 1e-9
_PRINTED = re.compile(r"(\S+) (-?\d+\.\d+)")


def cases(golden: Path) -> Iterator[Case]:
    """All cases of the metrics folder: files with units of scorers, and files with whole evaluations."""
    for path in sorted((golden / "metrics").glob("dvc*.json")):
        content = json.loads(path.read_text())
        if not isinstance(content, Mapping):
            continue
        name = f"metrics/{path.stem}"
        if "ptb_captions" in content:
            yield from _units(name, content)
        elif _is_result(content):
            yield from _evaluation(name, path, content)
        elif content and all(map(_is_result, content.values())):
            for key, inner in content.items():
                yield from _evaluation(f"{name} {key}", path.with_name(f"{key}_result.json"), inner)
        elif "result" in path.stem:
            yield name, lambda name=name, content=content: _unknown(name, content)


def _is_result(content: Any) -> bool:
    return isinstance(content, Mapping) and ("reformatted_pred" in content or "error" in content)


def _unknown(name: str, content: Record) -> float:
    raise AssertionError(f"no check is written for {name} with the keys {sorted(content)}")


def _units(name: str, content: Record) -> Iterator[Case]:
    checks = {
        "ptb_tokens": lambda: _tokens(content["ptb_captions"], content["ptb_tokens"]),
        "meteor_pairs_ref_hyp_score_swapped": lambda: _meteor(content["meteor_pairs_ref_hyp_score_swapped"]),
        "cider_corpus": lambda: _cider(content["cider_pairs"], content["cider_corpus"], content["cider_each"]),
        "soda_dp": lambda: max(_best(case["scores"], case["max_score"]) for case in content["soda_dp"]),
        "iou": lambda: max(_overlap(*case) for case in content["iou"]),
    }
    for key, check in checks.items():
        if key in content:
            yield f"{name} {key}", check


def _tokens(captions: list[str], recorded: Mapping[str, list[str]]) -> float:
    with needed_tools() as tools:
        ours = tools.tokenize(captions)
    for number, words in recorded.items():
        assert [ours[int(number)]] == words, f"{captions[int(number)]!r}: {ours[int(number)]!r} instead of {words}"
    return 0.0


def _meteor(recorded: list[Any]) -> float:
    right = [[(hypothesis, (reference,))] for reference, hypothesis, *_ in recorded]
    swapped = [[(reference, (hypothesis,))] for reference, hypothesis, *_ in recorded]
    with needed_tools() as tools:
        ours = np.array([found.total for found in tools.meteor(right + swapped)])
    return close(ours, [row[2] for row in recorded] + [row[3] for row in recorded], "METEOR")


def _cider(pairs: list[Any], corpus: float, each: list[float]) -> float:
    found = ngrams.cider([(hypothesis, (reference,)) for reference, hypothesis in pairs])
    return max(close([found.total], [corpus], "CIDEr of the corpus"), close(found.each, each, "CIDEr of pairs"))


def _best(scores: list[list[float]], recorded: float | None) -> float:
    """The original leaves out the value where it is 0."""
    return close([assignment(np.array(scores))[0]], [recorded or 0.0], "SODA's sum")


def _overlap(first: list[float], second: list[float], recorded: float) -> float:
    iou = event_iou(np.array([first], dtype=float), np.array([second], dtype=float), ordered=True)
    return close(iou[0], [recorded], f"IoU of {first} and {second}")


def _evaluation(name: str, path: Path, recorded: Record) -> Iterator[Case]:
    if recorded.get("error"):
        yield f"{name} (the original stops)", lambda: _survives(_inputs(path))
        return
    files = _inputs(path)
    if files is not None:
        yield f"{name} reading", lambda: _reading(*files, recorded)
    yield f"{name} inputs", lambda: _scorer_inputs(recorded)
    yield f"{name} printed", lambda: _printed(files, recorded)
    yield f"{name} per video and paragraphs", lambda: _values(recorded)


def _inputs(path: Path) -> tuple[Path, Path] | None:
    """Predictions and gold beside a result: its own, or those of the plain run."""
    predictions = [path.with_name(path.name.replace("result", "pred")).with_suffix(end) for end in (".jsonl", ".json")]
    gold = [path.with_name(path.name.replace("result", "gold")), path.with_name("dvc_gold.json")]
    found = next((file for file in predictions if file.is_file()), None)
    truth = next((file for file in gold if file.is_file() and file != path), None)
    return (found, truth) if found is not None and truth is not None else None


def _protocol(predictions: Given) -> DenseCaptioning:
    """The original reads percents where the file's name tells it to."""
    percent = "vtimellm" in str(predictions) if isinstance(predictions, Path) else False
    return DenseCaptioning(variant="mmduet", text_times="percent" if percent else "seconds")


def _reading(predictions: Path, gold: Path, recorded: Record) -> float:
    protocol = _protocol(predictions)
    answers = {answer.id: answer for answer in _records(protocol.answer_forms, predictions)}
    want = recorded["reformatted_pred"]
    assert sorted(answers) == sorted(want), f"videos {sorted(answers)} instead of {sorted(want)}"
    durations = {truth.id: truth.duration for truth in _records(protocol.truth_forms, gold)}
    for name, events in want.items():
        told = protocol.events(answers[name], durations.get(name))
        assert told.captions == [event["caption"] for event in events], f"{name}: captions {told.captions}"
        assert told.windows.tolist() == [event["timestamp"] for event in events], f"{name}: {told.windows.tolist()}"
    truths = {truth.id: truth.stories[0] for truth in _records(protocol.truth_forms, gold)}
    for row in recorded["reformatted_gold"]["annotations"]:
        story = truths[row["image_id"]]
        assert story.windows.tolist() == row["segments"], f"{row['image_id']}: {story.windows.tolist()}"
        text = ". ".join(caption.removesuffix(".") for caption in mmduet.true_captions(story.captions))
        assert text == row["pure_cap"], f"{row['image_id']}: {text}"
    return 0.0


def _records(forms: Any, path: Path) -> list[Any]:
    source = open_rows(path, "rows")
    return list(read(source, chosen_form(source, forms, "rows")).records)


def _scorer_inputs(recorded: Record) -> float:
    videos = _videos(recorded)
    pairs = mmduet.paragraphs(videos)
    told = {
        "predicted_segments": [video.predicted.windows.tolist() for video in videos],
        "gt_segments": [video.true.windows.tolist() for video in videos],
        "predicted_captions": [video.predicted.captions for video in videos],
        "gt_captions": [mmduet.true_captions(video.true.captions) for video in videos],
        "para_inputs": [[predicted for predicted, _ in pairs], [[true] for _, true in pairs]],
        "keys": [row["image_id"] for row in recorded["reformatted_gold"]["annotations"]],
    }
    for key, ours in told.items():
        if key in recorded:
            assert ours == recorded[key], f"{key}: {ours!r:.300} instead of {recorded[key]!r:.300}"
    return 0.0


def _printed(files: tuple[Path, Path] | None, recorded: Record) -> float:
    need_java()
    if files is not None:
        report = score(_protocol(files[0]), *files)
    else:
        report = score("dense_captioning", recorded["reformatted_pred"], recorded["reformatted_gold"], variant="mmduet")
    printed = [match.groups() for match in map(_PRINTED.fullmatch, recorded["stdout"]) if match]
    ours = [(name, str(value)) for name, value in report.figures.items()]
    assert ours == printed, f"{ours} instead of {printed}"
    return 0.0


def _values(recorded: Record) -> float:
    videos = _videos(recorded)
    with needed_tools() as tools:
        paragraphs = mmduet.paragraph_scores(videos, tools, ngrams=True)
        values = mmduet.per_video(videos, tools, corrected=False)
    worst = close(
        [paragraphs[name].total for name in recorded["para"]], list(recorded["para"].values()), "paragraph scores"
    )
    want = {name: column for name, column in recorded["dense"].items() if name != "key"}
    assert list(values) == list(want), f"figures {list(values)} instead of {list(want)}"
    return max(worst, *(close(values[name], column, name) for name, column in want.items()))


def _survives(files: tuple[Path, Path] | None) -> float:
    """Ours gives figures or an explanation."""
    if files is None:
        raise unittest.SkipTest("its predictions and gold are not here")
    with suppress(ScoringError):
        score(_protocol(files[0]), *files)
    return 0.0


def _videos(recorded: Record) -> list[mmduet.Video]:
    """The videos in the order of the gold, as recorded after reformatting."""
    protocol = _protocol(recorded["reformatted_pred"])
    truths: list[Truth] = _memory(protocol.truth_forms, recorded["reformatted_gold"])
    answers: dict[str, Story] = {
        answer.id: answer for answer in _memory(protocol.answer_forms, recorded["reformatted_pred"])
    }
    videos = []
    for truth in truths:
        story = truth.stories[0]
        predicted = protocol.events(answers.get(truth.id), truth.duration)
        videos.append(mmduet.Video(predicted, Events(story.windows, list(story.captions))))
    return videos


def _memory(forms: Any, rows: Given) -> list[Any]:
    source = open_rows(rows, "rows")
    return list(read(source, chosen_form(source, forms, "rows")).records)


def needed_tools() -> Any:
    """Tokeniser and METEOR; the comparison is left out, visibly, where they cannot run."""
    need_java()
    return caption_tools()


def need_java() -> None:
    """Leaves the comparison out, visibly, where tokeniser and METEOR cannot run."""
    reason = captions_available()
    if reason:
        raise unittest.SkipTest(reason)


def close(ours: Any, recorded: Any, what: str) -> float:
    """Largest difference.

    Raises:
        AssertionError: if it is above ``TOLERANCE``.
    """
    ours, recorded = np.asarray(ours, dtype=float), np.asarray(recorded, dtype=float)
    assert ours.shape == recorded.shape, f"{what}: {ours.shape} instead of {recorded.shape}"
    difference = np.abs(np.nan_to_num(ours, nan=-7.0) - np.nan_to_num(recorded, nan=-7.0)).max(initial=0.0)
    assert difference <= TOLERANCE, f"{what}: {ours.tolist()} instead of {recorded.tolist()}"
    return float(difference)
