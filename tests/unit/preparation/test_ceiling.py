"""Ceilings: an exact codec reaches 100, finer units reach more, and published reference figures come out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis import cli
from lavis.common.registry import registry
from lavis.models.codecs.base import TimeCodec
from lavis.models.codecs.option_letter import OptionLetter
from lavis.models.codecs.relative_text import RelativeText
from lavis.models.codecs.seconds_text import SecondsText
from lavis.preparation.ceiling import (
    SHOWN,
    NoCeiling,
    ceilings,
    codec_ceiling,
    every,
    grid_ceiling,
    load_tokenizer,
    parts,
    table,
    window_figures,
)
from lavis.preparation.ceiling_samples import load_truth
from lavis.structures import ModelOutput, Moment, Prediction, Text, VideoSample

EXACT = SecondsText(style="seconds_floats", parser="mr_blip")


def sample(*windows: tuple[float, float], duration: float = 150, number: int = 0, **fields: Any) -> VideoSample:
    return VideoSample(str(number), "v", "q", duration, [Moment(*window) for window in windows], **fields)


def corpus(seed: int, count: int = 200) -> list[VideoSample]:
    """Videos of 20 to 180 s with one to three windows that do not overlap."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        duration = round(float(rng.uniform(20, 180)), 2)
        bounds = np.sort(rng.uniform(0, duration, 2 * int(rng.integers(1, 4)))).round(2).tolist()
        windows = [(a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True) if b > a]
        samples.append(sample(*(windows or [(0, duration)]), duration=duration, number=number))
    return samples


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_an_exact_codec_reaches_everything(seed: int) -> None:
    figures = codec_ceiling(corpus(seed, 30), EXACT)
    for name in ("mIoU", "R1@0.3", "R1@0.9", "mAP", "window_mIoU", "exact"):
        assert figures[name] == pytest.approx(100), name
    assert figures["error"] == pytest.approx(0, abs=1e-9)
    assert figures["unreadable"] == 0


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_finer_units_never_lower_the_overlap(seed: int) -> None:
    samples = corpus(seed)
    for coarse, fine in (
        (every(4), every(1)),
        (every(1), every(0.1)),
        (parts(30), parts(100)),
        (parts(100), parts(400)),
    ):
        low, high = grid_ceiling(samples, coarse), grid_ceiling(samples, fine)
        assert low["window_mIoU"] <= high["window_mIoU"]
        assert low["error"] >= high["error"]
        assert low["R1@0.9"] <= high["R1@0.9"]
    steps = [SecondsText(style="frame_indices", num_indices=count, replace_below=0) for count in (10, 40, 160)]
    reached = [codec_ceiling(samples, codec)["mIoU"] for codec in steps]
    assert reached == sorted(reached)


def test_figures_by_hand() -> None:
    figures = window_figures([[[0, 10], [20, 30]], [[0, 10]]], [[[20, 30], [0, 8]], []])
    assert figures["mIoU"] == 50
    assert figures["R1@0.9"] == 50
    assert figures["window_mIoU"] == pytest.approx(100 * (0.8 + 1 + 0) / 3)
    assert figures["exact"] == pytest.approx(100 / 3)
    assert figures["error"] == pytest.approx(2 / 4)
    assert figures["largest_error"] == 2
    assert (figures["queries"], figures["windows"]) == (2, 3)
    assert np.isnan(window_figures([[[0, 1]]], [[]])["error"])


def test_all_windows_of_a_query_are_written() -> None:
    figures = codec_ceiling([sample((1, 5), (10.2, 20), (30, 41))], SecondsText(replace_below=0))
    assert figures["windows"] == 3
    assert figures["exact"] == pytest.approx(200 / 3)


def test_a_codec_that_writes_no_windows_has_no_ceiling() -> None:
    with pytest.raises(NoCeiling, match="one of 0 options"):
        codec_ceiling([sample((1, 2))], OptionLetter())
    asked = sample((1, 2), options=["a", "b"], answer="b", prior=[Moment(1, 2)])
    with pytest.raises(NoCeiling, match="no windows"):
        codec_ceiling([asked], OptionLetter())
    with pytest.raises(ValueError, match="true window"):
        codec_ceiling([VideoSample("1", "v", "q", 9)], EXACT)


class Cheating(RelativeText):
    """Answers with the truth of the sample that it is given."""

    def decode(self, output: ModelOutput, sample: VideoSample) -> Prediction:
        return Prediction(sample.id, sample.moments or sample.prior or [])


def test_decoding_does_not_see_the_truth() -> None:
    with pytest.raises(NoCeiling, match="no windows"):
        codec_ceiling([sample((1, 2), prior=[Moment(1, 2)])], Cheating())


class Tokens(TimeCodec):
    """Times as one of 100 tokens, as a codec to come may write them."""

    def __init__(self, count: int = 100) -> None:
        self.count = count

    def format_time(self, seconds: float, sample: VideoSample) -> str:
        return f"<{round(seconds / sample.duration * self.count)}>"

    def format_duration(self, sample: VideoSample) -> str:
        return ""

    def format_windows(self, moments: Any, sample: VideoSample) -> str:
        return " ".join(self.format_time(t, sample) for m in moments for t in (m.start, m.end))

    def encode(self, sample: VideoSample) -> list[Text]:
        texts = [self.format_windows([moment], sample) for moment in sample.moments or ()]
        return [Text("It happens"), *(Text(f" {text}", learned=True) for text in texts)]

    def decode(self, output: ModelOutput, sample: VideoSample) -> Prediction:
        times = [int(w[1:-1]) / self.count * sample.duration for w in output.text.split() if w.startswith("<")]
        return Prediction(sample.id, [Moment(a, b) for a, b in zip(times[::2], times[1::2], strict=True)])

    def resolution(self, sample: VideoSample) -> float:
        return sample.duration / self.count / 2


def test_a_codec_to_come_takes_part_by_being_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.codecs._entries, "tokens_of_tomorrow", Tokens)
    samples = corpus(0)
    rows = {(row.name, *row.options.values()): row for row in ceilings(samples, "all")}
    assert rows["tokens_of_tomorrow",].figures == pytest.approx(rows["grid", "100 parts"].figures)
    (finer, *_) = ceilings(samples, "tokens_of_tomorrow", {"count": 1000})
    assert finer.figures is not None
    assert finer.figures["mIoU"] > 99


def test_every_codec_is_in_the_table() -> None:
    samples = corpus(1, 20)
    rows = ceilings(samples, "all")
    assert {row.name for row in rows} == {*registry.codecs.names(), "grid"}
    assert set(SHOWN) <= set(registry.codecs.names())
    text = table(rows)
    assert "no ceiling: it cannot write these samples" in text
    lines = [line for line in text.partition("\n\n")[0].splitlines() if "no ceiling" not in line]
    assert len({len(line) for line in lines}) == 1
    with pytest.raises(ValueError, match="need one codec"):
        ceilings(samples, "all", {"style": "seconds_floats"})


def test_numbers_that_the_tokenizer_splits_cost_something() -> None:
    samples = [sample((139, 150), number=1), sample((10, 20), number=2)]
    options = {"target_replacement": "number"}
    plain, *_ = ceilings(samples, "seconds_text", options)
    split, *_ = ceilings(samples, "seconds_text", options, load_tokenizer("asset:toy/t5_tokenizer"))
    assert plain.figures is not None
    assert split.figures is not None
    assert plain.figures["exact"] == 100
    assert split.figures["exact"] == 50


# --- Samples ----------------------------------------------------------------------------------------------------------

ROWS = [
    {"qid": 1, "query": "q", "vid": "v", "duration": 30, "relevant_windows": [[1.5, 4], [9, 6]]},
    {"qid": 2, "query": "q", "vid": "w", "duration": None, "relevant_windows": [[1, 4]]},
    {"qid": 3, "query": "q", "vid": "w", "duration": 30, "relevant_windows": [["1", 4]]},
    {"qid": 4, "query": "q", "vid": "w", "duration": 30, "relevant_windows": [[1, 40]]},
]


def rows_file(folder: Path, rows: list[Any]) -> str:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return str(path)


def test_a_file_is_read_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    truth = load_truth(rows_file(tmp_path, ROWS))
    windows = [[m.to_list() for m in s.moments or ()] for s in truth.samples]
    assert [s.id for s in truth.samples] == ["1", "4"]
    assert windows == [[[1.5, 4]], [[1, 40]]]
    assert isinstance(windows[1][0][0], int)
    assert sorted(truth.left_out.values()) == [1, 2]
    assert "layout rows" in truth.source


def test_the_configured_format_reads_a_file_if_it_fits(tmp_path: Path) -> None:
    path = rows_file(tmp_path, ROWS[3:])
    truth = load_truth("charades_sta", annotations=path)
    assert "format charades_sta" in truth.source
    assert [m.to_list() for m in truth.samples[0].moments or ()] == [[1, 30]]  # cut, as that format does
    other = load_truth("calce/charades_sta", annotations=path)
    assert "layout rows" in other.source
    assert "not in the configured format, calce" in other.source
    with pytest.raises(ValueError, match="must be a text"):
        load_truth("charades_sta", annotations=path, format_name="calce")


def test_what_there_is_not_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="neither an annotation file nor a data set"):
        load_truth("charades")
    with pytest.raises(ValueError, match="no split 'val'"):
        load_truth("charades_sta", split="val")
    monkeypatch.setenv("LAVIS_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="LAVIS_DATA"):
        load_truth("charades_sta")
    release = tmp_path / "charades" / "release"
    release.mkdir(parents=True)
    (release / "charades_sta_test.txt").write_text("AA 2.2 9##a\n", encoding="utf-8")
    (release / "Charades_v1_test.csv").write_text("id,length\nAA,30.5\n", encoding="utf-8")
    assert [s.duration for s in load_truth("charades_sta").samples] == [30.5]


# --- Reference figures ------------------------------------------------------------------------------------------------


def test_whole_seconds_on_charades_sta(data_dir: Path) -> None:
    """The reference: mIoU 93.8, R1@0.9 84.2, of times rounded to the nearest second (halves to even)."""
    released = load_truth("charades_sta", annotations=data_dir / "charades/charades_test_release.jsonl").samples
    rounded = load_truth(str(data_dir / "charades/calce_test.json")).samples
    assert len(released) == len(rounded) == 3720
    codec, plain = SecondsText(replace_below=0), SecondsText(replace_below=0, parser="mr_blip")
    found = [ceiling(samples) for samples in (released, rounded) for ceiling in (grid_of_seconds, of(plain))]
    for figures in (*found, codec_ceiling(rounded, codec)):
        assert round(figures["mIoU"], 1) == 93.8
        assert round(figures["R1@0.9"], 1) == 84.2
    # CALCE's reader cuts windows to the video, which helps where durations are not whole.
    cut = codec_ceiling(released, codec)
    assert (round(cut["mIoU"], 1), round(cut["R1@0.9"], 1)) == (94.0, 85.5)


def grid_of_seconds(samples: Sequence[VideoSample]) -> dict[str, float]:
    return grid_ceiling(samples, every(1))


def of(codec: TimeCodec) -> Callable[[Sequence[VideoSample]], dict[str, float]]:
    return lambda samples: codec_ceiling(samples, codec)


# --- Command ----------------------------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = rows_file(tmp_path, ROWS), tmp_path / "ceiling.json"
    options = ["--codec", "seconds_text", "--codec-options", "style=frame_indices", "num_indices=60"]
    assert cli.main(["ceiling", path, *options, "--output", str(output)]) == 0
    text = capsys.readouterr().out
    assert "seconds_text style=frame_indices num_indices=60" in text
    assert "left out 2 queries without a duration or a usable window" in text
    content = json.loads(output.read_text("utf-8"))
    assert content["rows"][0]["options"] == {"style": "frame_indices", "num_indices": 60}
    assert content["rows"][0]["figures"]["queries"] == 2
    assert cli.main(["ceiling", path, "--codec", "all"]) == 0
    assert cli.main(["ceiling", path, "--codec", "second_text"]) == 2
    assert "seconds_text" in capsys.readouterr().err
    assert cli.main(["ceiling", path, "--codec", "seconds_text", "--codec-options", "style=minutes"]) == 2
