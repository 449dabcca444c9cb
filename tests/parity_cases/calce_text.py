"""Times and windows as text: CALCE and MR.BLIP's recorded formats, readings and tokenisations, equal to the letter."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lavis.models.codecs._windows import clean_labelled, clean_mr_blip, read_calce, to_seconds, window_list
from lavis.models.codecs.base import TimeCodec
from lavis.models.codecs.relative_text import RelativeText
from lavis.models.codecs.seconds_text import SecondsText, replacements_for, split_numbers
from lavis.scoring.windows.overlap import seconds_overlap
from lavis.structures import ModelOutput, Moment, VideoSample

Row = dict[str, Any]
Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """All cases of a folder; a section of a file that nothing here can check is a failing case."""
    for name in ("text", "text_mr_blip", "timestamps", "annoying"):
        path = golden / "unit" / f"{name}.json"
        content = json.loads(path.read_text())
        sections = content if isinstance(content, dict) else {"": content}
        for section, rows in sections.items():
            title = f"unit/{name}" + (f" {section}" if section else "")
            yield title, checked(_checker(name, section), rows, title)
    yield from _tokenizer_cases(golden)
    for path in sorted(golden.glob("*/model.json")):
        if "annoying_numbers_replacement" in json.loads(path.read_text()):
            yield f"{path.parent.name}/model annoying numbers", lambda path=path: _annoying_of_tokenizer(golden, path)


def _checker(name: str, section: str) -> Callable[[Row], tuple[Any, Any]]:
    """What gives (ours, recorded) for a row of a section."""
    known: dict[tuple[str, str], Callable[[Row], tuple[Any, Any]]] = {
        ("text", "calce_post_process"): _post_process,
        ("text", "moment_str_to_list"): lambda row: (window_list(row["text"]), row["out"]),
        ("text", "tal_post_process"): _labelled,
        ("text", "convert_to_absolute_time"): _absolute,
        ("text", "get_iou"): _seconds_overlap,
        ("text", "frame_indices"): _frame_indices,
        ("text_mr_blip", "mr_blip_post_process"): _post_process_mr_blip,
        ("text_mr_blip", "timestamps"): _timestamps,
        ("timestamps", ""): _timestamps,
        ("annoying", ""): lambda row: (
            {str(k): v for k, v in replacements_for(row["annoying"]).items()},
            row["out"],
        ),
    }

    def unknown(row: Row) -> tuple[Any, Any]:
        raise AssertionError(f"no check is written for the section {section!r} of {name}.json")

    return known.get((name, section), unknown)


def checked(check: Callable[[Row], tuple[Any, Any]], rows: list[Row], title: str) -> Callable[[], float]:
    """A callable that compares every row and names the first that differs."""

    def compare() -> float:
        assert rows, f"{title} holds no rows"
        for number, row in enumerate(rows):
            ours, recorded = check(row)
            if raised(recorded):
                continue  # ours is defined where the original raises; the unit tests say how
            assert ours == recorded, f"{title}[{number}] {row}: {ours!r} instead of {recorded!r}"
        return 0.0

    return compare


def raised(recorded: Any) -> bool:
    """Whether the record is of an exception."""
    return isinstance(recorded, dict) and "error" in recorded


def _post_process(row: Row) -> tuple[Any, Any]:
    windows = read_calce(row["text"], row["duration"])
    if windows is None:
        windows = [[-1, -1]] if row["duration"] is None else [[0, row["duration"]]]
    if row["duration"] is not None and not raised(row["out"]):
        sample = sample_of(row["duration"])
        prediction = SecondsText(replace_below=0).decode(ModelOutput(row["text"]), sample)
        # What reading gives no window for is answered by the whole video.
        expected = row["out"] or [[0, row["duration"]]]
        assert [m.to_list() for m in prediction.moments] == expected, f"{row}: {prediction.moments}"
    return windows, row["out"]


def _post_process_mr_blip(row: Row) -> tuple[Any, Any]:
    cleaned = clean_mr_blip(row["text"])
    return (cleaned, window_list(cleaned)), (row["out"], row["parsed"])


def _labelled(row: Row) -> tuple[Any, Any]:
    cleaned = clean_labelled(row["text"])
    return (cleaned, window_list(cleaned, size=3)), (row["out"], row["parsed"])


def _absolute(row: Row) -> tuple[Any, Any]:
    windows = to_seconds(window_list(row["text"]), row["duration"], integers=row["format"] == "relative_integers")
    return [str(windows)], row["out"]


def _seconds_overlap(row: Row) -> tuple[Any, Any]:
    windows = [window_list(w) if isinstance(w, str) else w for w in (row["gt"], row["pred"])]
    return seconds_overlap(*windows, row["n_frms"]), row["out"]


def _frame_indices(row: Row) -> tuple[Any, Any]:
    codec = SecondsText("frame_indices", num_indices=row["amount"], replace_below=0)
    indices, targets, durations, back = [], [], [], []
    for times, windows, duration in zip(row["times"], row["windows"], row["durations"], strict=True):
        sample = sample_of(duration, window_list(windows))
        indices.append([int(codec.format_time(t, sample)) for t in times])
        targets.append("".join(text.text for text in codec.encode(sample)))
        assert codec.format_windows(sample.moments or [], sample) == targets[-1]
        durations.append(int(codec.format_duration(sample)))
        back.append([m.to_list() for m in codec.decode(ModelOutput(targets[-1]), sample).moments])
    return ([indices, targets, durations], back), (row["out"], row["back"][1])


def _timestamps(row: Row) -> tuple[Any, Any]:
    style = row["fn"].removeprefix("get_timestamps_as_")
    codec = codec_of(style, {int(k): v for k, v in row.get("annoying", {}).items()})
    values, prompts, durations = [], [], []
    for times, duration in zip(row["times"], row["durations"], strict=True):
        sample = sample_of(duration)
        values.append([float(codec.format_time(t, sample)) for t in times])
        prompts.append(codec.format_times(times, sample))
        durations.append(float(codec.format_duration(sample)))
    # One recorded list goes on after the frames with the duration, which no prompt shows.
    recorded = [list(map(float, v[: len(t)])) for v, t in zip(row["timestamps"], row["times"], strict=True)]
    expected = row.get("out_durations")
    return (values, prompts, expected and durations), (recorded, row["prompt"], expected)


def codec_of(style: str, annoying: dict[int, int]) -> TimeCodec:
    """The codec of one of MR.BLIP's time formats, bound to a tokenizer that splits the given numbers."""
    if style.startswith("relative"):
        return RelativeText(style)  # type: ignore[arg-type]
    codec = SecondsText(style, parser="mr_blip", target_replacement="none")  # type: ignore[arg-type]
    codec.bind(SplittingTokenizer(annoying))
    if style == "seconds_integers":
        assert codec.replacements == annoying, f"{codec.replacements} instead of {annoying}"
    return codec


class SplittingTokenizer:
    """Splits the given numbers, and no others, into digits."""

    def __init__(self, split: Any) -> None:
        self.split = set(split)

    def convert_tokens_to_ids(self, token: str) -> int:
        return 3

    def __call__(self, texts: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
        return {"input_ids": [[10, 11] if int(text) in self.split else [10 + int(text)] for text in texts]}


def sample_of(duration: float, windows: list[list[float]] | None = None) -> VideoSample:
    """A sample of which only times matter."""
    moments = None if windows is None else [Moment.from_pair(window) for window in windows]
    return VideoSample("sample", "video.mp4", "a query", duration, moments)


def _tokenizer_cases(golden: Path) -> Iterator[Case]:
    path = golden / "unit" / "tokenizer.json"
    content = json.loads(path.read_text())
    yield "unit/tokenizer t5", lambda: _t5(golden, content)
    yield "unit/tokenizer bert", lambda: _bert(golden, content)


def t5_tokenizer(golden: Path) -> Any:
    """The recorded T5 tokenizer."""
    from transformers import T5Tokenizer

    return T5Tokenizer.from_pretrained(str(golden / "tokenizers" / "t5_tiny"))


def _t5(golden: Path, content: Row) -> float:
    tokenizer = t5_tokenizer(golden)
    assert len(tokenizer) == content["t5_len"], f"{len(tokenizer)} tokens instead of {content['t5_len']}"

    def compare(row: Row) -> tuple[Any, Any]:
        ids = tokenizer(row["text"], add_special_tokens=False)["input_ids"]
        with_end = tokenizer(row["text"])["input_ids"]
        decoded = tokenizer.decode(with_end, skip_special_tokens=True)
        return (ids, with_end, decoded), (row["ids"], row["ids_with_eos"], row["decoded"])

    return checked(compare, content["t5"], "unit/tokenizer t5")()


def _bert(golden: Path, content: Row) -> float:
    from transformers import BertTokenizer

    tokenizer = BertTokenizer.from_pretrained(str(golden / "tokenizers" / "bert_tiny"))
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})
    assert len(tokenizer) == content["bert_len"], f"{len(tokenizer)} tokens instead of {content['bert_len']}"
    assert tokenizer.bos_token_id == content["bert_bos_id"]

    def compare(row: Row) -> tuple[Any, Any]:
        ids = tokenizer(row["text"], padding="max_length", truncation=True, max_length=len(row["ids"]))["input_ids"]
        return ids, row["ids"]

    return checked(compare, content["bert"], "unit/tokenizer bert")()


def _annoying_of_tokenizer(golden: Path, path: Path) -> float:
    recorded = json.loads(path.read_text())["annoying_numbers_replacement"]
    codec = SecondsText()
    codec.bind(t5_tokenizer(golden))
    ours = {str(k): v for k, v in codec.replacements.items()}
    assert ours == recorded, f"{ours} instead of {recorded}"
    assert list(ours) == list(recorded), "the order differs, and targets are replaced in order"
    assert split_numbers(t5_tokenizer(golden), 200) == [int(k) for k in recorded]
    return 0.0
