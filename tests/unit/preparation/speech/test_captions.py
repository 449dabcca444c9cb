"""The job with a transcriber of the test: files, resuming, quarantine, figures; nothing is loaded or downloaded."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lavis.preparation.collection.items import Item, find_videos
from lavis.preparation.collection.run import TooManyFailures
from lavis.preparation.speech import captions
from lavis.preparation.speech.audio import Samples
from lavis.preparation.speech.captions import caption_name, extract_captions
from lavis.preparation.speech.transcribers.base import (
    Listening,
    Transcriber,
    Transcript,
    Utterance,
    transcribers,
)
from lavis.preparation.speech.videos import listed_videos
from lavis.processors.subtitles import read_srt
from tests.conftest import ROOT
from tests.speech_video import bursts, onsets, write_speech_video
from tests.video_factory import write_video


@transcribers.register("of_the_test")
class Bursts(Transcriber):
    """Says a word for every burst of sound."""

    heard: ClassVar[list[int]] = []
    word: ClassVar[str] = "beep"

    def __init__(self, listening: Listening) -> None:
        if listening.language == "xx":
            raise ValueError(f"{listening.model} does not know the language xx")
        self.listening = listening

    @classmethod
    def find(cls, model: str) -> Path:
        if not Path(model).is_dir():
            raise ValueError(f"no model {model}")
        return Path(model)

    def transcribe(self, samples: Samples) -> Transcript:
        self.heard.append(len(samples))
        said = [
            Utterance(at, at + 0.2, f" {self.word} {'one two'.split()[n]}.", (), -0.25, 0.1)
            for n, at in enumerate(onsets(samples))
        ]
        return Transcript(said, "en" if said else None, 0.2 * len(said))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    (folder / "deep").mkdir(parents=True)
    write_speech_video(folder / "a.mp4", bursts(4, (1, 2.5)), picture_start=5, sound_start=6)
    write_speech_video(folder / "deep" / "b.mkv", bursts(2, ()), sound="pcm_s16le")
    write_video(folder / "mute.mp4")
    return folder


def run(videos: Path, out: Path, model: Path, **options: Any) -> Any:
    Bursts.heard.clear()
    captions._loaded.cache_clear()
    listening = Listening(str(model), **options.pop("listening", {}))
    options = {"executor": "serial", "transcriber": "of_the_test"} | options
    return extract_captions(options.pop("items", None) or find_videos(videos), out, listening, **options)


def test_a_file_for_every_video_and_an_empty_one_without_speech(videos: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "srts"
    report = run(videos, out, model)
    text = (out / "a.srt").read_text()
    assert text.startswith("1\n00:00:0") and "beep one.\n\n2\n" in text and text.endswith("beep two.\n")
    lines, speech = read_srt(out / "a.srt")
    assert [line.start for line in lines] == pytest.approx([2, 3.5], abs=0.01) and len(speech) == 1
    assert (out / "deep" / "b.srt").read_bytes() == (out / "mute.srt").read_bytes() == b""
    assert (report.without_sound, report.without_speech, report.languages) == (1, 1, {"en": 1})
    assert report.quality.lines == 2 and report.quality.log_probability == pytest.approx(-0.25)
    shown = report.to_text()
    assert "empty captions: 1 videos without sound, 1 without speech" in shown
    assert "x real time per core" in shown and "10,000 h of video would take" in shown
    json.dumps(report.to_json())


def test_a_second_run_does_what_is_new_or_changed(videos: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "srts"
    run(videos, out, model)
    again = run(videos, out, model)
    assert again.summary.new == 0 and not Bursts.heard and again.quality.lines == 2
    (out / "a.srt").unlink()
    assert run(videos, out, model).summary.new == 1 and (out / "a.srt").exists()
    assert run(videos, out, model, listening={"threads": 2, "device": "cpu"}).summary.new == 0
    assert run(videos, out, model, max_chars=4).summary.new == 3
    (model / "config.json").write_text('{"other": 1}')
    assert run(videos, out, model, max_chars=4).summary.new == 3


def test_captions_of_other_origin_are_kept(videos: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "srts"
    out.mkdir()
    (out / "a.srt").write_text("by hand")
    first = run(videos, out, model)
    assert first.theirs == ["a.mp4"] and (out / "a.srt").read_text() == "by hand" and len(first.summary.outcomes) == 2
    assert "1 caption files of other origin left as they are (--overwrite): a.mp4" in first.to_text()
    assert run(videos, out, model, overwrite=True).theirs == [] and "beep" in (out / "a.srt").read_text()
    (out / "a.srt").write_text("corrected")
    assert run(videos, out, model, listening={"beam_size": 1}).theirs == ["a.mp4"]
    assert (out / "a.srt").read_text() == "corrected"


def test_a_file_written_just_before_kill_9_is_ours(videos: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "srts"
    run(videos, out, model)
    (out / ".collection" / "captions" / "journal-all.jsonl").unlink()
    report = run(videos, out, model)
    assert report.theirs == [] and report.summary.new == 3


def test_a_model_that_cannot_be_loaded_ends_the_job_and_blames_no_video(
    videos: Path, tmp_path: Path, model: Path
) -> None:
    out = tmp_path / "srts"
    with pytest.raises(ValueError, match=r"model does not know the language xx$"):
        run(videos, out, model, listening={"language": "xx"}, budget=3)
    assert not list((out / ".collection" / "captions").glob("*.jsonl"))


def test_bad_files_go_to_quarantine_until_there_are_too_many(videos: Path, tmp_path: Path, model: Path) -> None:
    (videos / "bad.mp4").write_bytes(b"no video")
    report = run(videos, tmp_path / "srts", model, budget=1)
    assert [each.item for each in report.summary.failed] == ["bad.mp4"]
    assert not (tmp_path / "srts" / "bad.srt").exists()
    row = json.loads(report.summary.quarantine.read_text())
    assert row["item"] == "bad.mp4" and "not a readable video" in row["error"]
    with pytest.raises(TooManyFailures, match=r"bad\.mp4"):
        run(videos, tmp_path / "srts", model, budget=0)


def test_parts_of_a_job_make_the_whole(videos: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "srts"
    parts = [run(videos, out, model, shard=f"{i}/2") for i in (1, 2)]
    assert sum(len(part.summary.outcomes) for part in parts) == 3
    assert len(list(out.rglob("*.srt"))) == 3


def test_word_errors_against_a_reference(videos: Path, tmp_path: Path, model: Path) -> None:
    truth = tmp_path / "truth"
    truth.mkdir()
    (truth / "a.txt").write_text("Beep one, boop two")
    report = run(videos, tmp_path / "srts", model, reference=truth)
    assert report.compared.errors.rate == 0.25 and (report.compared.videos, report.compared.lacking) == (1, 2)
    assert "word error rate: 25.00% (1 errors, 4 words of 1 references; 2 videos without one)" in report.to_text()
    (truth / "a.txt").rename(truth / "other.txt")
    with pytest.raises(ValueError, match="no reference for any video"):
        run(videos, tmp_path / "srts", model, reference=truth)
    with pytest.raises(ValueError, match="no folder of references"):
        run(videos, tmp_path / "srts", model, reference=tmp_path / "absent")


def test_what_cannot_be_done_is_said_before_anything_is(videos: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "srts"
    with pytest.raises(ValueError, match=r"a\.mp4 and a\.mkv would share a\.srt"):
        run(videos, out, model, items=[Item("a.mp4", videos / "a.mp4"), Item("a.mkv", videos / "a.mp4")])
    with pytest.raises(ValueError, match="outside the folder of captions"):
        run(videos, out, model, items=[Item("../../etc/passwd.mp4", videos / "a.mp4")])
    with pytest.raises(ValueError, match="no model"):
        run(videos, out, tmp_path / "absent")
    with pytest.raises(ValueError, match="unknown transcriber 'faster_wisper'.*Did you mean 'faster_whisper'"):
        run(videos, out, model, transcriber="faster_wisper")
    with pytest.raises(ValueError, match="beam_size must be at least 1"):
        Listening("x", beam_size=0)
    with pytest.raises(ValueError, match="such as en; got 'English'"):
        Listening("x", language="English")
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "package", "cure"),
    [("faster_whisper", "faster_whisper", r"pip install 'lavis\[asr\]'"), ("transformers", "transformers", "README")],
)
def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, name: str, package: str, cure: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"transcriber {name} needs the package {package}.*{cure}"):
        transcribers.get(name).find("tiny")


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(ValueError, match=r"no config\.json and no generation_config\.json"):
        transcribers.get("transformers").find(str(tmp_path))
    with pytest.raises(ValueError, match="no such folder"):
        transcribers.get("transformers").find(str(tmp_path / "absent"))


def test_lists_stay_below_the_folder(videos: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a.mp4\n\ndeep/b\nabsent.mp4\n")
    assert [item.name for item in listed_videos(videos, names)] == ["a.mp4", "deep/b.mkv", "absent.mp4"]
    assert len(listed_videos(videos)) == 3
    for bad in ("../../etc/passwd", "/etc/passwd"):
        names.write_text(f"a.mp4\n{bad}\n")
        with pytest.raises(ValueError, match=r"names\.txt, line 2: .* leads out of"):
            listed_videos(videos, names)
    names.write_text("\n")
    with pytest.raises(ValueError, match="no name in it"):
        listed_videos(videos, names)
    with pytest.raises(FileNotFoundError):
        listed_videos(tmp_path / "absent", names)


def test_names_of_captions() -> None:
    assert caption_name("deep/v_1.2_60.0_210.0.mp4") == "deep/v_1.2_60.0_210.0.srt"


def test_the_script(videos: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("extract_captions", ROOT / "process_data" / "extract_captions.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with pytest.raises(SystemExit):
        script.main(["--help"])
    assert "Examples:" in capsys.readouterr().out
    command = [str(videos), "--out", str(tmp_path / "srts"), "--transcriber", "of_the_test", "--executor", "serial"]
    assert script.main([*command, "--model", str(model), "--report", str(tmp_path / "r.json")]) == 0
    assert "3 of 3 done" in capsys.readouterr().out
    assert json.loads((tmp_path / "r.json").read_text())["quality"]["lines"] == 2
    assert script.main([*command, "--model", "absent/absent/absent"]) == 1
    assert "no model" in capsys.readouterr().err
