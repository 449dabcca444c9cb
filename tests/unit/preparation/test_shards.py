"""``make_shards`` and the data set that reads what it makes."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.common.io import read_json
from lavis.common.tar_shards import index_path, read_index
from lavis.datasets._sample_rows import from_row, to_row
from lavis.datasets.build import build_dataset
from lavis.datasets.shards import ShardsDataset, shards_of
from lavis.preparation.shards import index_folder, make_shards, verify_shards
from lavis.processors.readers.base import VideoDecodeError
from lavis.runners.data import train_loader
from lavis.structures import Frames, Moment, Subtitle, Turn, VideoSample, Views

FULL = VideoSample(
    id="full", video="", query="a dog «runs»", duration=12, moments=[Moment(2, 4.5, 0.5), Moment(6, 7)],
    subtitles=[Subtitle(0, 1.5, "hello")], speech=[Moment(0, 1.5)], items=["dog"], prior=[Moment(0, 3)],
    clip=Moment(1, 11), turns=[Turn("user", "where?"), Turn("assistant", "there", 3.0, True)], options=["a", "b"],
    answer="there", kind="seen", saliency=[[1, 2], [3, 4]], extra={"media": "video"},
)  # fmt: skip


def media(folder: Path, count: int = 7, each: int = 2) -> list[VideoSample]:
    """``each`` samples on each of ``count`` files of some bytes."""
    folder.mkdir(exist_ok=True)
    found = []
    for i in range(count):
        path = folder / f"v{i}.mp4"
        path.write_bytes(bytes([i]) * (1000 + 100 * i))
        found += [VideoSample(f"v{i}q{k}", str(path), f"query {k}", 10, [Moment(k, k + 2)]) for k in range(each)]
    return found


def content(sample: VideoSample, train: bool) -> Views:
    """The first byte of the file as a frame."""
    data = Path(sample.video).read_bytes()
    if len(data) % 100:
        raise VideoDecodeError(sample.video, "is odd")
    return {"frames": Frames(torch.full((1, 3, 2, 2), data[0]), [0.0])}


def opened(index: Path, **options: Any) -> ShardsDataset:
    node = {"name": "shards", "annotations": {"train": str(index)}, **options}
    dataset = build_dataset("tars", node, "train", content, True)
    assert isinstance(dataset, ShardsDataset)
    return dataset


def test_a_sample_keeps_all_its_fields() -> None:
    row = json.loads(json.dumps(to_row(FULL)))
    assert from_row(row, "", "") == FULL
    small = VideoSample("s", "v.mp4", "q", 5)
    assert to_row(small) == {"id": "s", "query": "q", "duration": 5}
    assert repr(from_row(to_row(small), "v.mp4", "")) == repr(small)


@pytest.mark.parametrize(
    "row",
    [[], {"id": "a"}, {**to_row(FULL), "odd": 1}, {**to_row(FULL), "moments": [[5]]}, {**to_row(FULL), "video": "v"}],
)
def test_rows_of_another_form_are_refused(row: Any) -> None:
    with pytest.raises(ValueError, match=r"field|sample"):
        from_row(row, "", "")


def test_samples_come_out_as_they_went_in(tmp_path: Path) -> None:
    samples = [*media(tmp_path / "videos"), FULL]
    done = make_shards(samples, tmp_path / "out", media_per_shard=3, shuffle=False)
    assert (done.made, done.kept, dict(done.figures)["samples"]) == (3, 0, 15)
    dataset = opened(tmp_path / "out")
    assert [replace(s, video="", dataset="") for s in dataset.samples] == [replace(s, video="") for s in samples]
    assert dataset.counts == {"rows": 15, "shards": 3, "media": 7, "samples": 15, "skipped": 0}
    for number in (0, 13, 5, 4):
        item = dataset[number]
        assert item is not None
        assert int(item[1]["frames"].pixels[0, 0, 0, 0]) == number // 2
        assert item[0] == dataset.samples[number], "the sample names its member, wherever that was unpacked"
    assert verify_shards(tmp_path / "out") == []


def test_order_follows_from_the_seed(tmp_path: Path) -> None:
    samples = media(tmp_path / "videos")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_shards(samples, tmp_path / name, media_per_shard=3, seed=seed, workers=1 + (name == "b"))
    a, b, c = ([p.read_bytes() for p in sorted((tmp_path / name).glob("[is]*.*"))] for name in "abc")
    assert a == b
    assert a != c
    assert sorted(s.id for s in opened(tmp_path / "c").samples) == sorted(s.id for s in samples)


def test_shards_have_a_size(tmp_path: Path) -> None:
    make_shards(media(tmp_path / "videos"), tmp_path / "out", shard_mb=3000 / 2**20, shuffle=False)
    sizes = [sum(r.members["mp4"].size for r in read_index(s)[1]) for s in shards_of(tmp_path / "out")]
    assert sizes == [2100, 2500, 2900, 1600]
    rows = read_json(tmp_path / "out" / "index.json")["shardlist"]
    assert [row["filesize"] for row in rows] == [s.stat().st_size for s in shards_of(tmp_path / "out")]


def test_only_what_is_missing_or_changed_is_made_again(tmp_path: Path) -> None:
    samples = media(tmp_path / "videos")
    out = tmp_path / "out"
    make_shards(samples, out, media_per_shard=2, shuffle=False)
    first = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    again = make_shards(samples, out, media_per_shard=2, shuffle=False)
    assert (again.made, again.kept) == (0, 4)
    index_path(out / "shard-000001.tar").unlink()
    (out / "shard-000002.tar").write_bytes(b"cut")
    (tmp_path / "videos" / "v0.mp4").write_bytes(b"x" * 500)
    again = make_shards(samples, out, media_per_shard=2, shuffle=False)
    assert (again.made, again.kept) == (3, 1)
    assert (out / "shard-000003.tar").stat().st_mtime_ns == first["shard-000003.tar"]
    smaller = make_shards(samples[:4], out, media_per_shard=2, shuffle=False)
    assert smaller.kept == 1
    assert len(list(out.glob("*.tar"))) == len(shards_of(out)) == 1
    assert verify_shards(out) == []


def test_parts_make_what_one_run_makes(tmp_path: Path) -> None:
    samples = media(tmp_path / "videos")
    make_shards(samples, tmp_path / "whole", media_per_shard=2)
    parts = [make_shards(samples, tmp_path / "parts", media_per_shard=2, part=f"{i}/3") for i in (1, 2, 3)]
    assert [done.index is not None for done in parts] == [False, False, True]
    for path in (tmp_path / "whole").glob("[is]*.*"):
        assert path.read_bytes() == (tmp_path / "parts" / path.name).read_bytes()


KILLED = """
import os, signal, sys
from pathlib import Path
from lavis.preparation import shards
from lavis.structures import VideoSample
slow = shards.PlannedShard.contents
def contents(self):
    for row in slow(self):
        if sys.argv[3:] == ["kill"] and list(Path(sys.argv[2]).glob("*.jsonl")):
            os.kill(os.getpid(), signal.SIGKILL)  # in the middle: some shards are done
        yield row
shards.PlannedShard.contents = contents
videos = sorted(Path(sys.argv[1]).glob("*.mp4"))
samples = [VideoSample(p.stem, str(p), "q", 5, answer="a") for p in videos]
shards.make_shards(samples, sys.argv[2], media_per_shard=2, workers=2)
"""


def test_goes_on_after_a_kill(tmp_path: Path, root: Path) -> None:
    media(tmp_path / "videos", 12)
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "videos"), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    assert subprocess.run([*command, "kill"], cwd=root, env=environment, check=False).returncode == -signal.SIGKILL
    assert list(out.glob("*.jsonl")) and not (out / "index.json").exists()
    for name in ("shard-000001.tar.7.0a1b.part", "shard-000001.jsonl.x9.part", "other-000001.tar.7.0a1b.part"):
        (out / f".{name}").write_bytes(b"half")  # as a kill leaves them, if it comes at such a moment
    assert subprocess.run(command, cwd=root, env=environment, check=False).returncode == 0
    assert [path.name for path in out.glob(".*.part")] == [".other-000001.tar.7.0a1b.part"]
    assert len(opened(out)) == 12
    assert verify_shards(out) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: [], "no samples"),
        (lambda s: [s[0], s[0]], "two samples have the id"),
        (lambda s: [replace(s[0], video=s[0].video + "x")], "is not there .sample v0q0"),
        (lambda s: [replace(s[0], video=str(Path(s[0].video).parent))], "folder of frames"),
    ],
)
def test_what_cannot_go_into_shards(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_shards(change(media(tmp_path / "videos")), tmp_path / "out")
    assert not list(tmp_path.glob("out/*.tar"))


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    samples = media(tmp_path / "videos", 1)
    for options in ({"media_per_shard": 0}, {"shard_mb": 0}, {"workers": 0}, {"part": "3/2"}):
        with pytest.raises(ValueError, match=r"at least|I/N"):
            make_shards(samples, tmp_path / "out", **options)  # type: ignore[arg-type]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    make_shards(media(tmp_path / "videos"), tmp_path / "out", media_per_shard=3, shuffle=False)
    return tmp_path / "out"


def test_a_damaged_member_is_named(made: Path) -> None:
    shard = made / "shard-000000.tar"
    member = read_index(shard)[1][1].members["mp4"]
    data = bytearray(shard.read_bytes())
    data[member.offset + 5] ^= 1
    shard.write_bytes(data)
    with pytest.raises(VideoDecodeError, match=r"v1q0: .*shard-000000.tar/000000001.mp4: its bytes are not those"):
        opened(made)[2]
    skipping = opened(made, on_decode_error="skip")
    assert skipping[2] is None
    assert skipping[0] is not None
    assert skipping.skipped_ids == ["v1q0"]
    (fault,) = verify_shards(made)
    assert "shard-000000.tar, member 000000001.mp4" in fault


def test_what_cannot_be_decoded_is_named_by_its_member(tmp_path: Path) -> None:
    samples = media(tmp_path / "videos", 2)
    (tmp_path / "videos" / "v1.mp4").write_bytes(b"odd")
    make_shards(samples, tmp_path / "out", shuffle=False)
    with pytest.raises(VideoDecodeError, match=r"sample v1q0: .*shard-000000.tar/000000001.mp4: is odd"):
        opened(tmp_path / "out")[2]


def test_missing_and_cut_shards_are_told_before_the_first_step(made: Path) -> None:
    shard = made / "shard-000001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1000])
    with pytest.raises(ValueError, match=r"shard-000001.tar: has \d+ bytes"):
        opened(made)
    shard.unlink()
    with pytest.raises(ValueError, match=r"shard-000001.tar: cannot be opened"):
        opened(made)
    with pytest.raises(ValueError, match="no such index"):
        opened(made / "other.json")


@pytest.mark.parametrize(
    "name", ["pipe:cat x", "http://x/y.tar", "/etc/x.tar", "../x.tar", "a/x.tar", ".x.tar", "", "x\\y.tar", "x\0.tar"]
)
def test_an_index_names_files_beside_it_alone(made: Path, name: str) -> None:
    index = made / "index.json"
    index.write_text(index.read_text().replace("shard-000001.tar", json.dumps(name)[1:-1]))
    with pytest.raises(ValueError, match="no file beside it"):
        opened(made)


def test_a_shard_that_is_named_twice_is_refused(made: Path) -> None:
    index = made / "index.json"
    index.write_text(index.read_text().replace("shard-000001.tar", "shard-000000.tar"))
    with pytest.raises(ValueError, match=r"names the shard 'shard-000000.tar' twice"):
        opened(made)


def test_shards_of_others_can_be_indexed(made: Path) -> None:
    before = opened(made).samples
    for path in (*made.glob("*.jsonl"), made / "index.json"):
        path.unlink()
    assert index_folder(made)["samples"] == 14
    assert opened(made).samples == before


def test_what_is_unpacked_stays_small_and_goes(made: Path, tmp_path: Path) -> None:
    dataset = opened(made, scratch=str(tmp_path / "scratch"), scratch_mb=0)
    for number in range(len(dataset)):
        assert dataset[number] is not None
        assert len([p for p in (tmp_path / "scratch").rglob("*") if p.is_file()]) == 1
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy[0] is not None
    del copy
    assert dataset[13] is not None
    del dataset
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_are_whole_equal_and_resumable(made: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over two ranks with two loader processes each: every sample once, and from the middle what would have come."""
    from lavis.common import distributed

    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    dataset = opened(made)

    def epoch(rank: int, start: int = 0) -> list[list[str]]:
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        loader, sampler = train_loader([dataset], batch_size=1, num_workers=workers, seed=3)
        sampler.set_position(1, start)
        return [[sample.id for sample in batch.samples] for batch in loader]

    whole = [epoch(0), epoch(1)]
    assert [len(batches) for batches in whole] == [7, 7]
    seen = [identity for batches in whole for batch in batches for identity in batch]
    assert sorted(seen) == sorted(sample.id for sample in dataset.samples)
    assert epoch(1, start=4) == whole[1][4:]


def test_the_script(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from process_data.make_shards import main

    media(tmp_path / "videos", 3)
    rows = [
        {"video": f"v{i}", "qid": f"q{i}", "query": "a", "duration": 9, "relevant_windows": [[0, 2]]} for i in range(4)
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    out = str(tmp_path / "out")
    common = ["--annotations", str(tmp_path / "a.json"), "--format", "mr_blip", "--videos", str(tmp_path / "videos")]
    assert main([out, *common, "--video-suffix", ".mp4"]) == 1
    assert "v3" in capsys.readouterr().err
    assert main([out, *common, "--video-suffix", ".mp4", "--skip-missing"]) == 0
    assert "samples 3" in capsys.readouterr().out
    assert main([out, "--verify"]) == 0
    (tmp_path / "out" / "shard-000000.tar").write_bytes(b"")
    assert main([out, "--verify"]) == 1
    assert "shard-000000.tar" in capsys.readouterr().out
    assert main([out]) == 1
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "Examples:" in capsys.readouterr().out
